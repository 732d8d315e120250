"""Series: every accepted form, gaps, lengths, statistics, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shinso.columns.base import object_array
from shinso.columns.series import MAX_READINGS, Series, sparkline
from shinso.errors import DataError

NAN = float("nan")


def series(**fields: Any) -> Series:
    return Series(name="load", **fields)


@pytest.mark.parametrize(
    "value",
    [
        [1, 2.0, None, 4], (1, 2, NAN, 4), [[1], [2], [None], [4]], np.array([1, 2, NAN, 4]), "1 2 NaN 4",
        np.array([[1], [2], [NAN], [4]], np.float32), np.array([1, 2, None, 4], object), "1;2;;4",
        "1, 2, ?, 4",
        "[1, 2, null, 4]", " [[1], [2], [NaN], [4]] ", "1;2;na;4;", "1\t2\tnull\t4",
        object_array([np.array([1.0]), np.array([2.0]), np.array([NAN]), np.array([4.0])]),
    ],
    ids=str,
)  # fmt: skip
def test_one_variable_in_any_form(value: Any) -> None:
    array = series().encode(value)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, np.array([[1], [2], [NAN], [4]], np.float32))


@pytest.mark.parametrize(
    "value",
    [
        [[1, 2], [3, None]], np.array([[1, 2], [3, NAN]]), "1 2; 3 nan", "1,2;3,na", "[[1, 2], [3, null]]",
        object_array([np.array([1.0, 2.0]), np.array([3.0, NAN])]), [np.array([1, 2]), np.array([3, NAN])],
    ],
    ids=str,
)  # fmt: skip
def test_several_variables_in_any_form(value: Any) -> None:
    array = series(variables=2, mean=(0.0, 0.0), std=(1.0, 1.0)).encode(value)
    np.testing.assert_array_equal(array, np.array([[1, 2], [3, NAN]], np.float32))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "T > 0"), ("", "T > 0"), ("[]", "T > 0"), ([1, "a"], "takes numbers"), ("1;a;3", "between"),
        ([[1, 2], [3]], "rows of equal length"), ("1 2;3", "equal length"), ([1, float("inf")], "infinite"),
        ("1;1e999;2", "infinite"), ([[[1.0]]], "T > 0"), (5, "list of numbers"), (1.5, "list of numbers"),
        ({"a": 1}, "list of numbers"), ([1 + 2j], "takes numbers"), (np.array([1 + 2j]), "complex"),
        (np.array(["a"]), "array of"), ("[1, 2", "JSON"), ("[" * 100_000, "JSON"), ([[1, 2]], "variables"),
        (b"1;2", "list of numbers"), ([10**400], "takes numbers"), (["1", None, "x"], "takes numbers"),
    ],
    ids=lambda v: str(v)[:20],
)  # fmt: skip
def test_what_is_no_series_is_refused(value: Any, says: str) -> None:
    with pytest.raises(DataError, match=says) as error:
        series().encode(value)
    assert "'load'" in str(error.value) and len(str(error.value)) < 300


def test_a_huge_series_is_refused_before_it_is_copied() -> None:
    huge = np.lib.stride_tricks.as_strided(np.zeros(1), (MAX_READINGS + 1,), (0,))
    with pytest.raises(DataError, match="at most"):
        series().encode(huge)


def test_statistics_are_by_variable_and_skip_gaps() -> None:
    values = object_array([[[1, 10], [3, None]], [[5, 10]], None])
    column = series().fit(values)
    assert column.variables == 2 and column.length == 2
    assert column.mean == (3.0, 10.0)
    assert column.std[0] == pytest.approx(np.std([1, 3, 5]))
    assert column.std[1] == 1.0, "a constant variable keeps its unit"


def test_standardising_is_undone_by_decoding() -> None:
    rng = np.random.default_rng(0)
    values = object_array([rng.normal(50, 7, (n, 3)) for n in (5, 8, 11)])
    column = series().fit(values)
    every = np.concatenate([column.encode(v) for v in values])
    np.testing.assert_allclose(every.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(every.std(0), 1, rtol=1e-5)
    np.testing.assert_allclose(column.decode(column.encode(values[0])), values[0], rtol=1e-5)


def test_one_variable_decodes_to_a_flat_list() -> None:
    assert series(mean=(10.0,), std=(2.0,)).decode(np.array([[0.0], [1.0]], np.float32)) == [10.0, 12.0]


def test_of_a_long_series_the_latest_readings_are_read() -> None:
    assert series(max_length=2).encode([1, 2, 3]).ravel().tolist() == [2, 3]
    assert series(max_length=2).fit(object_array([[1, 2, 3]])).length == 2


def test_a_series_without_any_reading_is_as_good_as_missing() -> None:
    column = series().fit(object_array([[None, None], [1.0, 2.0]]))
    assert np.isnan(column.encode([None])).all() and column.mean == (1.5,)
    assert np.isnan(column.encode(None)).all()


def test_fitting_says_what_is_wrong() -> None:
    with pytest.raises(DataError, match="every row is missing"):
        series().fit(object_array([None, None]))
    with pytest.raises(DataError, match="series of 1 variables; received 2"):
        series().fit(object_array([[1, 2], [[1, 2]]]))


@pytest.mark.parametrize(
    ("values", "is_series"),
    [
        ([[1.0, 2.0], None], True), (["1;2;3;4", "5;6;7;8"], True), (["[1, 2, 3, 4]"], True),
        ([np.arange(5)], True), ([np.zeros((4, 2))], True), (["1 2"], False), (["2024-01-01"], False),
        (["3.5"], False), (["a b c d"], False), ([["a", "b"]], False), ([[True, False]], False),
        ([None], False),
        ([[1.0]], False), ([[[1, 2], [3]]], False), ([{"a": 1}], False), ([np.zeros((4, 4, 3))], False),
        (["1;2;3;4", "hello"], False), ([[{"x1": 0}, {"x1": 1}]], False),
    ],
    ids=str,
)  # fmt: skip
def test_inference(values: list[Any], is_series: bool) -> None:
    assert Series.matches(object_array(values)) == (0.9 if is_series else 0.0)


def test_spans_cover_the_series_and_are_hidden_by_the_mean() -> None:
    column = series(mean=(5.0,), std=(2.0,))
    value = list(range(40))
    parts = column.parts(value)
    assert len(parts) == 16 and parts[0] == (0, 2) and parts[-1][1] == 40  # type: ignore[index]
    assert column.hide(value, (0, 2)) == [5.0, 5.0, *map(float, range(2, 40))]
    assert value == list(range(40))
    assert column.hide(value, "value") is None and column.hide(None, (0, 1)) is None
    assert column.parts([1.0]) == [(0, 1)] and column.parts(None) == ["value"]


def test_summaries_count_gaps() -> None:
    column = series().fit(object_array([[1.0, 3.0]]))
    facts = column.summary(object_array([[1.0, None], [3.0], None]))
    assert facts["rows"] == 3 and facts["missing"] == 1 and facts["length"] == [1, 1.5, 2]
    assert facts["missing_readings"] == pytest.approx(1 / 3) and facts["mean"] == [2.0]
    assert column.summary(object_array([None])) == {"rows": 1, "missing": 1}


def test_a_drawing_leaves_gaps_open_and_stays_small() -> None:
    shown = series().show([1, 2, None, 4, 5])
    assert shown.count("<polyline") == 2 and "5 readings" in shown
    assert "nan" not in series().show([None, None, None])
    assert len(series().show(np.zeros(100_000))) < 10_000
    assert sparkline(np.array([[1.0]]), "<b>").count("<b>") == 0


@pytest.mark.parametrize("words", ["1;2", "1,5;2,5", "[0.1, -2e3]", "1 2 3"])
def test_json_requests_fit_the_schema(words: str) -> None:
    schema = series().fit(object_array([[1.0, 2.0]])).json_schema()
    assert schema["items"] == {"type": ["number", "null"]}
    two = series().fit(object_array([[[1.0, 2.0]]])).json_schema()
    assert two["items"]["minItems"] == 2
    json.dumps([schema, two, words])


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=30))
def test_a_list_and_its_texts_mean_the_same(values: list[float | None]) -> None:
    column = series()
    direct = column.encode(values)
    as_json = column.encode(json.dumps(values))
    words = ["" if v is None else repr(v) for v in values]
    np.testing.assert_array_equal(direct, as_json)
    if len(values) > 1 and any(words):
        np.testing.assert_array_equal(direct, column.encode(";".join(words) + ";" * (words[-1] == "")))


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    column = series()
    try:
        array = column.encode(text)
    except DataError as error:
        assert "'load'" in str(error)
        return
    assert array.ndim == 2 and array.shape[1] == 1 and not np.isinf(array).any()
