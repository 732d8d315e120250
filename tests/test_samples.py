"""Sample data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shinso.data.samples import SAMPLES, samples
from shinso.data.table import Table
from shinso.errors import DataError, SettingError

EXPECTED = {
    "digits": (1797, "label", 2),
    "iris": (150, "species", 5),
    "wine": (178, "cultivar", 14),
    "breast_cancer": (569, "diagnosis", 31),
    "diabetes": (442, "progression", 11),
}


@pytest.mark.parametrize("name", list(SAMPLES))
def test_every_sample_can_be_read(name: str, tmp_path: Path) -> None:
    rows, target, columns = EXPECTED[name]
    path = samples(name, tmp_path / name)
    table = Table.read(path)
    assert len(table) == rows and target in table.names and len(table.names) == columns
    assert not table.quarantine and path.is_relative_to(tmp_path / name)
    assert len(Table.read(tmp_path / name)) == rows  # the folder will do as well


def test_digits_keep_their_grey(tmp_path: Path) -> None:
    from PIL.Image import open as open_image
    from sklearn.datasets import load_digits

    samples("digits", tmp_path / "digits")
    with open_image(tmp_path / "digits" / "0" / "0000.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (8, 8) and np.array_equal(np.round(pixels / 255 * 16), load_digits().images[0])


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        samples("iris", tmp_path)
    with pytest.raises(DataError, match="not empty"):
        samples("iris", tmp_path / "x.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]


def test_unknown_sample(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"Did you mean 'digits'\?"):
        samples("digit", tmp_path / "x")
    assert not (tmp_path / "x").exists()
