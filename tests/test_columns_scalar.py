"""Numbers, categories, label sets and times: what they learn, and that one value and many encode alike."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shinso.columns.base import Column, Values, object_array
from shinso.columns.category import MOST_LABELS, Category, label_of
from shinso.columns.datetime import SIZE, Datetime, find_format
from shinso.columns.labels import Labels
from shinso.columns.number import KNOTS, Number, parse_number
from shinso.errors import DataError

SCALARS: tuple[type[Column], ...] = (Number, Category, Labels, Datetime)
kinds = pytest.mark.parametrize("kind", SCALARS, ids=lambda k: k.kind)


def fitted(kind: type[Column], rows: int = 300, seed: int = 0) -> tuple[Column, Values]:
    values = kind.examples(np.random.default_rng(seed), rows)
    return kind(name="c").fit(values), values


def same(column: Column, values: Values) -> np.ndarray[Any, Any]:
    """Encode `values` at once, having checked that one by one gives the same."""
    many = column.encode_many(values)
    one = [column.encode(v) for v in values]
    assert isinstance(many, np.ndarray) and len(many) == len(values)
    assert all(a.dtype == many.dtype and a.shape == many.shape[1:] for a in one)
    if one:
        np.testing.assert_array_equal(many, np.stack(one))
    return many


@kinds
def test_one_and_many_encode_alike(kind: type[Column]) -> None:
    column, values = fitted(kind)
    encoded = same(column, values)
    assert column.collate(list(encoded[:7])).shape == (7, *encoded.shape[1:])
    assert column.encode_many(values[:0]).shape == (0, *encoded.shape[1:])  # type: ignore[union-attr]
    missing = column.encode(None)
    assert missing == -1 if kind is Category else np.isnan(missing).all()


@kinds
def test_columns_survive_json_and_are_equal_by_value(kind: type[Column]) -> None:
    column, values = fitted(kind)
    data = json.loads(json.dumps(column.to_dict(), allow_nan=False))
    assert data.pop("kind") == kind.kind
    again = kind.restore(data)
    assert again == column and again != fitted(kind, seed=1)[0]
    np.testing.assert_array_equal(again.encode_many(values), column.encode_many(values))


@kinds
def test_what_is_shown_and_told_is_plain(kind: type[Column]) -> None:
    column, values = fitted(kind)
    json.dumps([column.json_schema(), column.summary(values), column.summary(values[:0])], allow_nan=False)
    assert column.summary(values)["rows"] == 300 and 10 < column.summary(values)["missing"] < 60
    present = next(v for v in values if v is not None and v == v)
    for part in column.parts(present):
        hidden = column.hide(present, part)
        assert np.shape(column.encode(hidden)) == np.shape(column.encode(present))
    assert column.show(present) and "<" not in column.show("<script>")


@kinds
def test_its_own_examples_match_best(kind: type[Column]) -> None:
    values = kind.examples(np.random.default_rng(0), 200)
    scores = {k.kind: k.matches(values) for k in SCALARS}
    assert max(scores, key=lambda k: scores[k]) == kind.kind and all(0 <= s <= 1 for s in scores.values())


@kinds
def test_fitting_nothing_or_only_missing_values_works(kind: type[Column]) -> None:
    for values in (object_array([]), object_array([None, None])):
        column = kind(name="c").fit(values)
        same(column, values)
        json.dumps(column.to_dict(), allow_nan=False)


# Numbers

finite = st.floats(allow_nan=False, allow_infinity=False)
raw_number = st.one_of(
    finite, st.integers(-(10**12), 10**12), st.booleans(), st.none(), st.just(math.nan),
    finite.map(repr), st.integers(-(10**9), 10**9).map(lambda n: f" {n:,} "),
)  # fmt: skip


@given(st.lists(raw_number, max_size=30))
@settings(deadline=None, max_examples=150)
def test_any_numbers_encode_alike(values: list[Any]) -> None:
    array = object_array(values)
    column = Number(name="n").fit(array)
    encoded = same(column, array)
    assert encoded.dtype == np.float32 and not np.isinf(encoded).any()
    assert math.isfinite(column.mean) and math.isfinite(column.std) and column.std > 0


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
@settings(deadline=None, max_examples=100)
def test_numbers_come_back_and_keep_their_order(values: list[float]) -> None:
    array = np.array(values)
    column = Number(name="n").fit(array)
    encoded = same(column, array)
    back = np.array([column.decode(e) for e in encoded])
    np.testing.assert_allclose(back, array, rtol=2e-6, atol=2e-6 * max(column.std, abs(column.mean)))
    assert (np.diff(encoded[np.argsort(array)]) >= 0).all()
    assert list(column.knots) == sorted(set(column.knots)) and len(column.knots) <= KNOTS
    assert {min(values), max(values)} <= set(column.knots)


@pytest.mark.parametrize("kind", [np.float64, np.int64, np.bool_, object])
def test_every_kind_of_array_encodes(kind: Any) -> None:
    values = np.array([0, 1, 1, 0, 1]).astype(kind)
    encoded = same(Number(name="n").fit(values), values)
    np.testing.assert_allclose(encoded.mean(), 0, atol=1e-6)
    np.testing.assert_allclose(encoded.std(), 1, atol=1e-6)


@pytest.mark.parametrize(
    "text, number",
    [("39", 39), (" 5 ", 5), ("1,234", 1234), ("-1,234,567.5", -1234567.5), ("1e3", 1000), ("−2", -2),
     ("１２", 12), (True, 1), (np.int64(3), 3), (np.float32(0.5), 0.5)],
)  # fmt: skip
def test_numbers_are_read(text: Any, number: float) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize("text", ["", "  ", "NA", "n/a", "?", "null", "NaN", None, math.nan])
def test_missing_numbers_are_read(text: Any) -> None:
    assert np.isnan(Number(name="n").encode(text))


@pytest.mark.parametrize("bad", ["many", "1,23", [1.0], b"\x00", math.inf, "-inf", "1e999", 10**400])
def test_what_is_no_number_is_an_error_that_names_the_column(bad: Any) -> None:
    column = Number(name="price")
    with pytest.raises(DataError, match="'price'"):
        column.encode(bad)
    with pytest.raises(DataError, match="'price'"):
        column.encode_many(object_array([1.0, bad, None]))
    with pytest.raises(DataError, match="infinite"):
        column.fit(np.array([1.0, np.inf]))


def test_wild_values_do_not_spoil_the_scale() -> None:
    values = np.random.default_rng(0).normal(10, 2, 10_000)
    values[:3] = (1e30, -1e30, 1e300)
    column = Number(name="n").fit(values)
    assert 9.5 < column.mean < 10.5 and 1.8 < column.std < 3 and column.high == 1e300
    assert np.isfinite(column.encode_many(values)).all()


def test_zeros_do_not_crowd_out_the_other_values() -> None:
    rng = np.random.default_rng(0)
    gains = np.where(rng.random(20_000) < 0.92, 0.0, rng.integers(1, 40, 20_000) * 250.0)
    assert Number(name="n").fit(gains).knots == tuple(np.unique(gains).tolist())
    spread = np.where(rng.random(20_000) < 0.92, 0.0, rng.normal(5000, 900, 20_000).round(3))
    knots = Number(name="n").fit(spread).knots
    assert len(knots) > 100 and np.diff(knots)[1:].max() < 600


def test_number_or_not() -> None:
    def score(*values: Any) -> float:
        return Number.matches(object_array(values))

    assert score("1", "2.5", None, "") > 0.8 and score("1,000", "3") > 0.8
    assert score("00123", "00456") == 0 and score("a", "1") == 0 and score("", None) == 0
    assert Number.matches(np.array([1.5])) > Category.matches(np.array([1.5]))
    assert score(True, False) == 0 < Category.matches(np.array([True, False]))


def test_small_tables_get_few_knots() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    counts = [len(Number(name="n").fit(values[:rows]).knots) for rows in (50, 240, 600, 5000)]
    assert counts == [9, 11, 26, KNOTS]
    assert len(Number(name="n").fit(np.arange(600) % 20).knots) == 20


# Categories


def test_one_label_for_all_ways_to_write_it() -> None:
    column = Category(name="c").fit(object_array([1, 1.0, "1", " 1.0 ", True, 0, "0", False, None]))
    assert column.labels == ("0", "1") and column.counts == (3, 5)
    encoded = same(column, object_array([1, 1.0, "1", True, np.bool_(True), np.int64(1), "0", 0.0, False]))
    assert encoded.tolist() == [1] * 6 + [0] * 3


def test_truth_values() -> None:
    column = Category(name="c").fit(np.array([True, False, True]))
    assert column.labels == ("False", "True")
    assert same(column, object_array([True, "True", "true", 1, "1", 0, False])).tolist() == [1] * 5 + [0] * 2
    words = Category(name="c").fit(object_array(["true", "false"]))
    assert same(words, object_array([True, False])).tolist() == [1, 0]


def test_labels_are_sorted_and_numbers_by_value() -> None:
    column = Category(name="c").fit(object_array(["b", "10", "9", "a", "-1", "2.5", "nan"]))
    assert column.labels == ("-1", "2.5", "9", "10", "a", "b")
    assert column.missing == pytest.approx(1 / 7)


def test_floats_and_integers_give_the_same_labels() -> None:
    whole, floats = np.array([3, 1, 2]), np.array([3.0, 1.0, np.nan, 2.0])
    assert Category(name="c").fit(whole).labels == Category(name="c").fit(floats).labels == ("1", "2", "3")


def test_labels_never_met_and_missing() -> None:
    column = Category(name="c").fit(object_array(["a", "b"]))
    assert same(column, object_array(["b", "x", None, "", math.nan])).tolist() == [1, 2, -1, -1, -1]
    assert column.summary(object_array(["x", "a", None]))["unseen"] == 1
    assert column.decode(np.array([0.4, 0.6])) == "b"


def test_the_rarest_of_very_many_labels_are_folded() -> None:
    values = object_array([f"id{i}" for i in range(MOST_LABELS + 500)] + ["often"] * 3)
    column = Category(name="c").fit(values)
    assert len(column.labels) == MOST_LABELS and column.folded == 501 and "often" in column.labels
    assert column.summary(values)["unseen"] == 501 and column.summary(values)["folded"] == 501


@pytest.mark.parametrize("bad", [[1], {"a": 1}, b"x", np.zeros(2)])
def test_what_can_be_no_label_is_an_error(bad: Any) -> None:
    column = Category(name="city").fit(object_array(["a"]))
    with pytest.raises(DataError, match="'city'"):
        column.encode(bad)
    with pytest.raises(DataError, match="'city'"):
        column.encode_many(object_array(["a", bad]))


@given(st.lists(st.one_of(st.text(max_size=4), st.integers(), finite, st.booleans(), st.none())))
@settings(deadline=None, max_examples=150)
def test_any_labels_encode_alike(values: list[Any]) -> None:
    array = object_array(values)
    column = Category(name="c").fit(array)
    encoded = same(column, array)
    assert len(set(column.labels)) == len(column.labels) == len(column.counts)
    assert (encoded < len(column.labels)).all() and sum(column.counts) == (encoded >= 0).sum()
    hot = np.eye(len(column.labels))
    for code in set(encoded[encoded >= 0].tolist()):
        assert column.encode(column.decode(hot[code])) == code
    assert all(label_of(label) == label for label in column.labels)


def test_category_or_not() -> None:
    rng = np.random.default_rng(0)
    assert Category.matches(rng.integers(0, 2, 500)) == Category.matches(rng.integers(1, 6, 500)) == 0.5
    assert Category.matches(rng.integers(0, 1000, 500)) == Category.matches(rng.normal(size=500)) == 0
    assert Category.matches(object_array(rng.choice(["a", "b"], 500).tolist())) == 0.9
    names = object_array([f"person {i}" for i in range(500)])
    assert Category.matches(names) < 0.2


# Label sets


def test_lists_and_strings_are_the_same_labels() -> None:
    column = Labels(name="t").fit(object_array([["b", "a"], [], ["a"], None]))
    assert column.labels == ("a", "b") and column.counts == (2, 1)
    encoded = same(column, object_array([["a"], "a|b", "", np.array(["b"], object), ["x"], None]))
    np.testing.assert_array_equal(encoded[:5], [[1, 0], [1, 1], [0, 0], [0, 1], [0, 0]])
    assert np.isnan(encoded[5]).all()
    assert column.decode(np.array([0.2, 0.5])) == ["b"] and column.hide(["a", "b"], "a") == ["b"]


def test_the_separator_is_learned() -> None:
    column = Labels(name="t").fit(object_array(["red; blue", "blue", "green;red"]))
    assert column.separator == ";" and column.labels == ("blue", "green", "red")
    assert Labels.matches(object_array(["red; blue", "blue", "green;red"] * 5)) > 0.9
    assert Labels.matches(object_array(["what; a sentence", "another one", "a third"])) == 0


def test_what_is_no_list_of_labels_is_an_error() -> None:
    for bad in (3, {"a": 1}, [["a"]]):
        with pytest.raises(DataError, match="'tags'"):
            Labels(name="tags").encode(bad)


# Times


@pytest.mark.parametrize(
    "texts, form, first",
    [
        (["2024-01-31", "2024-02-01T10:00:00Z"], "iso", "2024-01-31T00:00:00"),
        (["2024/01/31 08:05", "2024/02/01 10:00"], "%Y/%m/%d %H:%M", "2024-01-31T08:05:00"),
        (["31/01/2024", "01/02/2024"], "%d/%m/%Y", "2024-01-31T00:00:00"),
        (["01/31/2024 01:05 PM"], "%m/%d/%Y %I:%M %p", "2024-01-31T13:05:00"),
        (["01-01-2011", "02-01-2011", "03-01-2011", "01-02-2011"], "%d-%m-%Y", "2011-01-01T00:00:00"),
        (["01-01-2011", "01-02-2011", "01-03-2011", "02-01-2011"], "%m-%d-%Y", "2011-01-01T00:00:00"),
        (["2024年1月31日"], "%Y年%m月%d日", "2024-01-31T00:00:00"),
        (["31.01.2024"], "%d.%m.%Y", "2024-01-31T00:00:00"),
        (["Jan 31, 2024"], "%b %d, %Y", "2024-01-31T00:00:00"),
    ],
)
def test_forms_of_dates(texts: list[str], form: str, first: str) -> None:
    assert find_format(texts) == form
    column = Datetime(name="d").fit(object_array(texts))
    same(column, object_array([*texts, None, ""]))
    wanted = datetime.datetime.fromisoformat(first)
    assert abs(column.decode(column.encode(texts[0])[:1]) - wanted) < datetime.timedelta(seconds=2)
    assert Datetime.matches(object_array(texts)) > 0.9


def test_all_ways_to_give_a_time() -> None:
    column = Datetime(name="d").fit(np.array(["2024-01-01T00:00", "2024-01-03T12:30"], "datetime64[us]"))
    tokyo = datetime.timezone(datetime.timedelta(hours=9))
    ways = object_array([
        "2024-01-02T03:00", "2024-01-02 03:00:00Z", "2024-01-02T12:00:00+09:00",
        datetime.datetime(2024, 1, 2, 3), datetime.datetime(2024, 1, 2, 12, tzinfo=tokyo),
        np.datetime64("2024-01-02T03"), 1704164400, 1704164400000, 1704164400.0,
    ])  # fmt: skip
    encoded = same(column, ways)
    assert (encoded == encoded[0]).all() and encoded.shape == (9, SIZE)
    date = object_array([datetime.date(2024, 1, 2)])
    np.testing.assert_array_equal(same(column, date)[0], column.encode("2024-01-02"))


def test_calendar_features_mean_what_they_say() -> None:
    column = Datetime(name="d").fit(np.array(["2024-01-01", "2024-12-31"], "datetime64[us]"))
    assert column.step == 86400
    new_year, saturday = column.encode("2024-01-01"), column.encode("2024-06-15T06:00")
    np.testing.assert_allclose(
        new_year[1:11], [0, 0, 0, 0, 0, 1, 1, 1, 1, 1], atol=1e-6
    )  # a Monday at midnight
    assert new_year[11] == 0 and saturday[11] == 1 and saturday[4] == pytest.approx(1)  # a quarter of the day
    assert saturday[6] < -0.9  # half of the year


def test_what_is_no_time_is_an_error() -> None:
    column = Datetime(name="day").fit(object_array(["31/01/2024", "01/02/2024"]))
    for bad in ("soon", "2024-13-01", [1], True, "20240131"):
        with pytest.raises(DataError, match=r"'day'.*%d/%m/%Y"):
            column.encode(bad)
    assert Datetime.matches(object_array(["20240131", "20240201"])) == 0
    assert Datetime.matches(object_array(["soon", "2024-01-31"])) == 0


@given(
    st.lists(
        st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2262, 1, 1)), min_size=1, max_size=9
    )
)
@settings(deadline=None, max_examples=80)
def test_any_times_encode_alike(times: list[datetime.datetime]) -> None:
    values = np.array(times, "datetime64[us]")
    column = Datetime(name="d").fit(values)
    encoded = same(column, values)
    assert np.isfinite(encoded).all() and (np.abs(encoded[:, 1:11]) <= 1).all()
    for time, code in zip(times, encoded, strict=True):
        assert abs((column.decode(code) - time).total_seconds()) <= 1 + 1e-6 * column.std + 1e-6 * column.step
