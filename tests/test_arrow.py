"""Arrow and NumPy by their buffers: as pyarrow converts them, and without pandas."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shinso.data.arrow import from_numpy, from_texts, to_numpy

NUMBERS = st.lists(st.one_of(st.none(), st.integers(-(2**53), 2**53)), max_size=30)
TIMES = st.lists(st.one_of(st.none(), st.datetimes()), max_size=30)


@settings(deadline=None)  # the first conversion by pyarrow imports pandas
@given(NUMBERS, st.sampled_from([pa.int64(), pa.float64()]), st.integers(0, 9))
def test_numbers_are_those_of_pyarrow(values: list[int | None], kind: pa.DataType, start: int) -> None:
    array = pa.array(values, kind)[start:]  # a slice begins within a byte of the bitmap
    np.testing.assert_array_equal(to_numpy(array), array.to_numpy(zero_copy_only=False))
    chunked = pa.chunked_array([array, array[:2]])
    np.testing.assert_array_equal(to_numpy(chunked).astype(float), chunked.to_numpy().astype(float))


@settings(deadline=None)  # the first conversion by pyarrow imports pandas
@given(TIMES, st.integers(0, 9))
def test_times_are_those_of_pyarrow(values: list[object], start: int) -> None:
    array = pa.array(values, pa.timestamp("us"))[start:]
    np.testing.assert_array_equal(to_numpy(array), array.to_numpy(zero_copy_only=False))
    assert from_numpy(to_numpy(array)).equals(pa.array(values, pa.timestamp("us"))[start:])


@settings(deadline=None)  # the first conversion by pyarrow imports pandas
@given(st.lists(st.booleans(), max_size=40), st.integers(0, 9))
def test_booleans_are_those_of_pyarrow(values: list[bool], start: int) -> None:
    array = from_numpy(np.array(values, bool))
    assert array.equals(pa.array(values, pa.bool_()))
    np.testing.assert_array_equal(to_numpy(array[start:]), np.array(values[start:], bool))


@pytest.mark.parametrize("kind", ["int8", "int32", "int64", "uint8", "float32", "float64", "datetime64[us]"])
def test_there_and_back(kind: str) -> None:
    values = np.arange(5).astype(kind)[::2]  # not contiguous
    array = from_numpy(values)
    np.testing.assert_array_equal(to_numpy(array), values)
    assert to_numpy(array).dtype == np.dtype(kind)
    assert to_numpy(pa.chunked_array([], array.type)).dtype == np.dtype(kind)


def test_missing_numbers_are_null() -> None:
    assert from_numpy(np.array([1.0, np.nan])).to_pylist() == [1.0, None]
    assert from_texts(["あ", None, ""], pa.large_string()).to_pylist() == ["あ", None, ""]
    with pytest.raises(ValueError, match="missing boolean"):
        to_numpy(pa.array([True, None]))


def test_tables_and_folders_are_read_without_pandas(tmp_path) -> None:
    """It is a third of a second and 30 MB; pyarrow imports it at its first conversion."""
    (tmp_path / "rows.csv").write_text(
        "x,when,word,label\n" + "1.5,2024-01-02,a b,yes\n,2024-02-02,c,no\n" * 20
    )
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(6):
            Image.new("L", (4, 4), i).save(tmp_path / "images" / name / f"{i}.png")
    code = (
        "import sys\nfrom shinso.data.sources import load\nfrom shinso.config import DataConfig\n"
        "from shinso.data.values import codes_of, to_values\nfrom pathlib import Path\n"
        "for given in sys.argv[1:]:\n"
        "    data = load(Path(given), DataConfig()).data\n"
        "    for name in data.column_names:\n"
        "        codes_of(to_values(data[name], whole=False, name=name))\n"
        "assert 'pandas' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "rows.csv"), str(tmp_path / "images")], check=True
    )
