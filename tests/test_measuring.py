"""Slices, conditions, groups, folds, learning curves, coverages, comparisons: evaluation beside metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score

import shinso
from shinso import cli
from shinso.calibration import (
    Calibration,
    calibrate_classes,
    calibrate_numbers,
    conformal_quantile,
    kept_ranks,
)
from shinso.columns.category import Category
from shinso.columns.number import Number
from shinso.comparison import correct
from shinso.config import DataConfig
from shinso.data.filters import parse
from shinso.data.folds import deal_groups, folded
from shinso.data.table import Table
from shinso.errors import ShinsoError
from shinso.fairness import check, fairness, groups_in
from shinso.mitigation import reweighed, shift, thresholds_for
from shinso.repeating import foreseen, power_law
from shinso.slices import Measured, by_slices, cells_of, worst_slices
from small_runs import FAST, houses

# ---------------------------------------------------------------- conditions

ROWS = {
    "age": np.array([30.0, 70.0, np.nan, 61.0]),
    "性別": np.array(["女", "男", None, "女"], object),
    "home town": np.array(["Nara", "new york", "Nara", None], object),
    "day": np.array(["2024-01-01", "2024-06-01", "NaT", "2023-01-01"], "datetime64[us]"),
    "n": np.array([1, 2, 3, 4]),
}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("age>60", [1, 3]),
        ("age >= 61 and 性別=女", [3]),
        ("age<40 or 性別 is missing", [0, 2]),
        ("not (age<40 or n=3)", [1, 3]),
        ("age is not missing", [0, 1, 3]),
        ("'home town' in (Nara, 'new york')", [0, 1, 2]),
        ("'home town' != Nara", [1]),
        ("day>=2024-01-01", [0, 1]),
        ("n=1 or n=2 and n=3", [0]),
        ("n <> 1", [1, 2, 3]),
    ],
)
def test_conditions_choose_rows(text: str, rows: list[int]) -> None:
    mask = parse(text, list(ROWS))(ROWS.__getitem__)
    assert np.flatnonzero(mask).tolist() == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("agee>60", "Did you mean 'age'"),
        ("age>", "at its end: expected a value"),
        ("age 60", "expected one of"),
        ("age>60 n=1", "expected the end"),
        ("(age>60", r"expected '\)'"),
        ("age>sixty", "holds numbers"),
        ("day>soon", "holds dates"),
        ("性別>女", "not ordered"),
        ("age is", "expected 'missing'"),
        ("age>'", "cannot be read"),
        ("(" * 60 + "n=1", "too many parentheses"),
        ("not " * 60 + "n=1", "not too often"),
        ("n=1 or " * 300, "at most 1000 characters"),
        ("__import__('os').system('x')", "There is no column"),
    ],
)
def test_wrong_conditions_are_explained(text: str, message: str) -> None:
    with pytest.raises(ShinsoError, match=message):
        parse(text, list(ROWS))(ROWS.__getitem__)


@given(st.text(alphabet="ageno ()<>=!'\"andr159is,missing女", max_size=40))
@settings(max_examples=200, deadline=None)
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        mask = parse(text, list(ROWS))(ROWS.__getitem__)
    except ShinsoError:
        return
    assert mask.shape == (4,) and mask.dtype == bool


# ---------------------------------------------------------------- slices and groups


def judged_rows(rows: int = 4000, seed: int = 0) -> Measured:
    """A classifier that is right in 90% of the rows, but in 60% of those of old people in Nara."""
    rng = np.random.default_rng(seed)
    age, town = rng.uniform(0, 90, rows), rng.choice(["Kyoto", "Osaka", "Nara"], rows)
    sex = rng.choice(["f", "m"], rows)
    truth = rng.integers(0, 2, rows)
    weak = (age > 67.5) & (town == "Nara")
    right = rng.random(rows) < np.where(weak, 0.6, 0.9)
    said = np.where(right, truth, 1 - truth)
    probability = np.where(said == 1, 0.9, 0.1)
    table = Table.read({"age": age.tolist(), "town": town.tolist(), "sex": sex.tolist(), "y": truth.tolist()})
    column = Category(name="y").fit(np.array(["no", "yes"], object))
    both = np.stack([1 - probability, probability], axis=1)
    return Measured(table, (column,), ("age", "town", "sex"), {"y": truth}, {"y": both})


def test_slices_are_measured_as_scikit_learn_does() -> None:
    measured = judged_rows()
    found = by_slices(measured, ["town", "age>60 and sex=f"])
    assert [one["slice"] for one in found][-2:] == ["age>60 and sex=f", "not (age>60 and sex=f)"]
    said = measured.predictions["y"].argmax(1)
    for one in found:
        if one["by"] == "town":
            rows = measured.values("town") == one["slice"].removeprefix("town=")
            metric = one["outputs"]["y"]["metrics"]["accuracy"]
            assert one["rows"] == rows.sum() and metric["low"] < metric["value"] < metric["high"]
            expected = accuracy_score(measured.truths["y"][rows], said[rows])
            assert metric["value"] == pytest.approx(expected, abs=1e-9)
    assert sum(one["rows"] for one in found if one["by"] == "town") == 4000


def test_the_worst_slice_is_found_and_chance_is_not() -> None:
    worst = worst_slices(judged_rows())["y"][0]
    assert worst["slice"].startswith("age from 6") and worst["slice"].endswith("town=Nara")
    assert worst["value"] == pytest.approx(0.4, abs=0.06) and worst["others"] < 0.12 and worst["p"] < 1e-10
    plain, alarms = judged_rows(), 0
    for seed in range(8):
        flips = np.random.default_rng(100 + seed).random(4000) < 0.1
        said = np.where(flips, 1 - plain.truths["y"], plain.truths["y"])
        even = Measured(plain.table, plain.columns, plain.given, plain.truths, {"y": np.eye(2)[said]})
        alarms += bool(worst_slices(even)["y"])
    assert alarms <= 2  # each with a chance of one in twenty


def test_worst_slices_of_a_number() -> None:
    measured = judged_rows()
    rng = np.random.default_rng(0)
    truth = rng.normal(size=4000)
    wide = np.where(measured.values("sex") == "f", 3.0, 1.0)
    number = Measured(measured.table, (Number(name="y"),), measured.given, {"y": truth},
                      {"y": truth + wide * rng.normal(size=4000)})  # fmt: skip
    assert worst_slices(number)["y"][0]["slice"] == "sex=f"


def test_cells_are_values_quarters_and_what_is_missing() -> None:
    names, codes = cells_of(np.array(["a", None, "b", "a"], object), 5)
    assert names is not None and [names[c] for c in codes] == ["=a", " is missing", "=b", "=a"]
    names, codes = cells_of(np.arange(100.0), 5)
    assert names is not None and len(names) == 5 and np.bincount(codes).tolist() == [25, 25, 25, 25]
    assert cells_of(np.array([Path("a"), Path("b")], object), 5)[0] is None


def test_a_day_alone_and_a_gap_throughout_are_cells() -> None:
    """Data of a single day have no quarters, a column without values none at all."""
    names, codes = cells_of(np.array(["2026-11-21"] * 3, "datetime64[us]"), 5)
    assert names == [" from 2026-11-21 to 2026-11-21", " is missing"] and codes.tolist() == [0, 0, 0]
    names, codes = cells_of(np.array(["2026-11-21", "NaT"], "datetime64[us]"), 5)
    assert codes.tolist() == [0, 1]
    names, codes = cells_of(np.array(["NaT"] * 3, "datetime64[us]"), 5)
    assert names == [" is missing"] and codes.tolist() == [0, 0, 0]


def test_gaps_are_what_they_say() -> None:
    measured = judged_rows()
    found = fairness(measured, "sex")["outputs"]["y"]
    truth, said, sex = measured.truths["y"], measured.predictions["y"].argmax(1), measured.values("sex")
    rates = [recall_score(truth[sex == g], said[sex == g]) for g in ("f", "m")]
    gap = found["gaps"]["equal_opportunity"]
    assert gap["value"] == pytest.approx(abs(rates[0] - rates[1]), abs=1e-9)
    assert gap["low"] <= gap["value"] <= gap["high"] and found["positive"] == "yes"
    chosen = [(said[sex == g] == 1).mean() for g in ("f", "m")]
    assert found["gaps"]["demographic_parity"]["value"] == pytest.approx(abs(chosen[0] - chosen[1]), abs=1e-9)
    several = fairness(measured, "age")
    assert len(several["groups"]) == 4


def test_an_unfair_gap_is_seen_and_closed_by_thresholds() -> None:
    rng = np.random.default_rng(0)
    sex = rng.choice(["f", "m"], 8000)
    truth = rng.random(8000) < 0.4
    score = np.clip(0.35 + 0.3 * truth - 0.15 * (sex == "f") + rng.normal(0, 0.12, 8000), 0.01, 0.99)
    groups = groups_in("sex", np.asarray(sex, object))
    said = score >= 0.5
    before = abs(said[truth & (sex == "f")].mean() - said[truth & (sex == "m")].mean())
    assert before > 0.3
    learned, rest = np.arange(4000), np.arange(4000, 8000)
    thresholds, reached = thresholds_for(
        "equal_opportunity",
        groups.labels,
        groups.codes_n[learned],
        truth[learned].astype(int),
        score[learned],
    )
    moved = shift(np.stack([1 - score, score], 1)[rest], np.asarray(sex, object)[rest], thresholds)
    said, truth, sex = moved.argmax(1) == 1, truth[rest], sex[rest]
    after = abs(said[truth & (sex == "f")].mean() - said[truth & (sex == "m")].mean())
    assert after < before / 2 and reached["gap"] < 0.02


def test_groups_of_one_are_refused() -> None:
    with pytest.raises(shinso.DataError, match="only one group"):
        groups_in("sex", np.array(["f"] * 50 + ["m"] * 3, object))


def test_reweighing_makes_group_and_label_independent() -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 5000)
    label = (rng.random(5000) < 0.2 + 0.3 * group).astype(int)
    drawn = reweighed(group, label, rng)
    shares = [label[drawn][group[drawn] == g].mean() for g in range(3)]
    assert np.ptp(shares) < 0.005 and abs(len(drawn) - 5000) <= 6
    assert abs(label[drawn].mean() - label.mean()) < 0.005


def test_requirements_are_judged_with_their_intervals() -> None:
    accuracy = {"value": 0.9, "low": 0.85, "high": 0.94}
    gaps = {"equal_opportunity": {"value": 0.04, "low": 0.0, "high": 0.09}}
    outputs = {"y": {"metrics": {"accuracy": accuracy}}}
    result = {"outputs": outputs, "fairness": {"outputs": {"y": {"gaps": gaps}}}}
    asked = ["accuracy>0.8", "accuracy>0.88", "accuracy>=0.95", "equal_opportunity<0.05"]
    holds = {one["require"]: (one["holds"], one["surely"]) for one in check(asked, result)}
    assert list(holds.values()) == [(True, True), (True, False), (False, False), (True, False)]
    form = "a name, a sign"
    wrongs = {
        "accuracy": form,
        "acuracy>1": "Did you mean 'accuracy'",
        "accuracy>nan": form,
        "accuracy>1e999": form,
    }
    for wrong, message in wrongs.items():
        with pytest.raises(shinso.SettingError, match=message):
            check([wrong], result)


# ---------------------------------------------------------------- folds, curves, comparisons


def test_folds_test_each_row_once_and_keep_the_shares() -> None:
    table = Table.read({"y": ["a"] * 80 + ["b"] * 20, "x": list(range(100))})
    splits = folded(table, DataConfig(), table.values("y"), np.arange(100), 5, 0)
    assert sorted(np.concatenate([s.test for s in splits]).tolist()) == list(range(100))
    for s in splits:
        assert (s.test >= 80).sum() == 4
        assert len(set(s.train) | set(s.validation) | set(s.test)) == 100
        assert len(s.train) + len(s.validation) + len(s.test) == 100
    with pytest.raises(shinso.SettingError, match="2 to 25 folds"):
        folded(table, DataConfig(), None, np.arange(100), 40, 0)


def test_folds_by_group_and_by_time() -> None:
    table = Table.read({"g": [i // 5 for i in range(100)], "t": list(range(99, -1, -1))})
    group = table.values("g")
    for s in folded(table, DataConfig(group="g"), None, np.arange(100), 4, 0):
        parts = [set(group[rows].tolist()) for rows in (s.train, s.validation, s.test)]
        assert not (parts[0] & parts[2]) and not (parts[0] & parts[1]) and not (parts[1] & parts[2])
    time = table.values("t")
    for s in folded(table, DataConfig(time="t"), None, np.arange(100), 4, 0):
        assert time[s.train].max() < time[s.validation].min() <= time[s.validation].max() < time[s.test].min()
    assert (
        np.bincount(deal_groups(np.repeat(np.arange(9), 4), 3, np.random.default_rng(0))).tolist() == [12] * 3
    )


def test_the_law_of_a_learning_curve_is_found() -> None:
    rows = np.array([100.0, 200, 400, 800, 1600])
    points = [{"value": e, "low": e - 0.002, "high": e + 0.002} for e in power_law(rows, 3.0, 0.5, 0.05)]
    found = foreseen(rows, points, "rmse")
    assert found["law"]["power"] == pytest.approx(0.5, abs=0.01)
    assert found["law"]["floor"] == pytest.approx(0.05, abs=0.01)
    expected = 1 - float(power_law(np.array([3200.0]), 3, 0.5, 0.05)[0] / points[-1]["value"])
    gain = found["gain_of_twice"]
    assert gain["value"] == pytest.approx(expected, abs=0.01) and gain["low"] < expected < gain["high"]
    assert found["verdict"].startswith("More data would help")
    flat = [{"value": 0.9, "low": 0.895, "high": 0.905}] * 5
    assert "hardly" in foreseen(rows, flat, "accuracy")["verdict"]


def test_differences_are_corrected_for_the_runs_that_were_tried() -> None:
    def outputs() -> dict[str, Any]:
        return {"y": {"differences": {"accuracy": {"p": 0.02}, "log_loss": {"p": 0.6}}}}

    alone, many = outputs(), outputs()
    correct(alone, [], 2)
    correct(many, [{("y", "accuracy"): 0.5, ("y", "log_loss"): 0.5}], 3)
    assert alone["y"]["differences"]["accuracy"]["real"] and not many["y"]["differences"]["accuracy"]["real"]
    assert many["y"]["differences"]["accuracy"]["corrected_p"] == pytest.approx(0.08)
    told = outputs()
    correct(told, [], 10)
    assert told["y"]["differences"]["accuracy"]["corrected_p"] == pytest.approx(0.02 * 18)


# ---------------------------------------------------------------- coverage


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95])
def test_any_coverage_can_be_had_from_what_is_stored(coverage: float) -> None:
    rng = np.random.default_rng(0)
    truth, said = rng.normal(size=6000), np.zeros(6000)
    fitted = Calibration.restore(
        json.loads(json.dumps(calibrate_numbers(truth[:3000], said[:3000]).to_dict()))
    )
    low, high = fitted.at(coverage).interval(said[3000:])  # type: ignore[misc]
    assert ((low <= truth[3000:]) & (truth[3000:] <= high)).mean() == pytest.approx(coverage, abs=0.025)
    probabilities = rng.dirichlet([1, 1, 1], 6000)
    labels = np.array([rng.choice(3, p=p) for p in probabilities])
    classes = calibrate_classes(labels[:3000], probabilities[:3000]).at(coverage)
    sets = classes.sets(classes.apply(probabilities[3000:]))
    assert sets is not None
    assert sets[np.arange(3000), labels[3000:]].mean() >= coverage - 0.025


def test_stored_errors_give_the_exact_quantile_or_the_next() -> None:
    errors = np.random.default_rng(0).random(5000)
    stored = calibrate_numbers(errors, np.zeros(5000))
    exact = conformal_quantile(errors, 0.7)
    assert exact is not None and exact - 1e-6 <= stored.at(0.7).widths[0] <= exact + 0.01
    assert len(kept_ranks(5000)) < 600 and kept_ranks(5000)[-1] == 5000
    with pytest.raises(shinso.SettingError, match=r"the most is 0\.9"):
        calibrate_numbers(errors[:30], np.zeros(30)).at(0.999)
    with pytest.raises(shinso.SettingError, match="between 0 and 1"):
        stored.at(1.5)
    with pytest.raises(shinso.SettingError, match="keeps no errors"):
        Calibration(widths=(1.0,)).at(0.8)


# ---------------------------------------------------------------- the verbs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> shinso.Run:
    folder = tmp_path_factory.mktemp("measuring")
    data = houses(400)
    lines = [
        "area,city,dear",
        *(f"{a},{c},{d}" for a, c, d in zip(data["area"], data["city"], data["dear"], strict=True)),
    ]
    (folder / "houses.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return shinso.train(folder / "houses.csv", predict="dear", quiet=True, settings=FAST, out=folder / "run")


def test_evaluates_its_own_rows_by_slice_group_and_fold(
    run: shinso.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = "--by city --by area>100 --protect city --folds 2 --curve --require accuracy>0.2 --quiet"
    arguments = ["evaluate", str(run.path), *asked.split()]
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    said = ["city=Kyoto", "not (area>100)", "by city, positive 'yes'", "equal_opportunity"]
    said += ["cross-validated in 2 folds by class", "by training rows", "accuracy>0.2 holds"]
    assert [one for one in said if one not in out] == []
    assert cli.main([*arguments[:2], "--require", "accuracy>0.9999", "--quiet", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["passed"] is False


def test_own_rows_measure_as_training_did(run: shinso.Run) -> None:
    again = run.evaluate(by="city")
    first = run.evaluation["outputs"]["dear"]["metrics"]
    assert again["part"] == "test"
    for name, metric in again["outputs"]["dear"]["metrics"].items():
        assert metric["value"] == pytest.approx(first[name]["value"], abs=1e-6), name


def test_predicts_sets_and_leaves_out_what_is_unsure(run: shinso.Run) -> None:
    data = houses(60)
    found = shinso.predict(run, data, coverage=0.9, abstain=True, quiet=True)
    assert set(map(len, found["dear set"])) <= {1, 2}
    for answer, possible in zip(found["dear"], found["dear set"], strict=True):
        assert answer == (possible[0] if len(possible) == 1 else None)
    with pytest.raises(shinso.SettingError, match="needs --coverage"):
        shinso.predict(run, data, abstain=True, quiet=True)


def test_thresholds_are_stored_and_applied_when_asked(run: shinso.Run) -> None:
    data = houses(120)
    with pytest.raises(shinso.RunError, match="keeps no thresholds"):
        shinso.predict(run, data, fair=True, quiet=True)
    stored = shinso.mitigate(run, protect="city", quiet=True)
    assert set(stored["thresholds"]) <= {"Kyoto", "Osaka", "Nara"} and stored["goal"] == "equal_opportunity"
    plain, fair = shinso.predict(run, data, quiet=True), shinso.predict(run, data, fair=True, quiet=True)
    limits = [stored["thresholds"].get(city, 0.5) for city in data["city"]]
    expected = ["yes" if p >= limit else "no" for p, limit in zip(plain["dear: yes"], limits, strict=True)]
    assert fair["dear"] == expected and fair["dear: yes"] == plain["dear: yes"]
    assert shinso.evaluate(run, data, protect="city", fair=True, quiet=True)["fair"]["protect"] == "city"
    with pytest.raises(shinso.SettingError, match="Did you mean 'equal_opportunity'"):
        shinso.mitigate(run, protect="city", goal="equal_oportunity", quiet=True)


def test_training_can_draw_rows_anew_for_a_protected_column(small_train: Callable[..., shinso.Run]) -> None:
    plain, drawn = (
        small_train(houses(), predict="dear"),
        small_train(houses(), predict="dear", protect="city"),
    )
    assert drawn.metrics[-1]["loss"] != plain.metrics[-1]["loss"]
    with pytest.raises(shinso.SettingError, match="for a predicted category"):
        small_train(houses(), predict="price", protect="city")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "citty"}, "Did you mean 'city'"),
        ({"by": "area>1e9"}, "No row of"),
        ({"by": "area>"}, "expected a value"),
        ({"protect": "sex"}, "There is no column 'sex'"),
        ({"require": "equal_opportunity<0.1"}, "need --protect"),
        ({"folds": 1}, "2 to 50 folds"),
        ({"protect": "city", "positive": "maybe"}, "no label 'maybe'"),
    ],
)
def test_wrong_questions_are_explained(run: shinso.Run, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ShinsoError, match=message):
        shinso.evaluate(run, quiet=True, **options)


def test_a_run_on_data_in_memory_says_what_it_needs(small_train: Callable[..., shinso.Run]) -> None:
    run = small_train(houses(), predict="dear")
    with pytest.raises(shinso.RunError, match="in memory"):
        shinso.evaluate(run, by="city", quiet=True)


@pytest.mark.parametrize("verb", ["evaluate", "explain", "doctor"])
def test_data_without_a_column_that_the_run_needs(verb: str, run: shinso.Run, tmp_path: Path) -> None:
    lines = (run.path.parent / "houses.csv").read_text("utf-8").splitlines()
    lacking = tmp_path / "lacking.csv"
    lacking.write_text("\n".join(line.partition(",")[2] for line in lines) + "\n", "utf-8")
    out = tmp_path / "out"
    asked = {"out": out} if verb != "doctor" else {"report": out}
    with pytest.raises(shinso.DataError, match=r"no column 'area'.*It has: 'city', 'dear'\."):
        getattr(shinso, verb)(run, lacking, quiet=True, **asked)
    assert not out.exists()


def test_mistakes_on_the_command_line_end_with_status_two(
    run: shinso.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (run.path.parent / "houses.csv").read_text("utf-8").splitlines()
    one = tmp_path / "kyoto.csv"
    one.write_text("\n".join(line for line in lines if "Kyoto" in line or line == lines[0]) + "\n", "utf-8")
    for arguments, words in (
        (["evaluate", str(run.path), str(one), "--protect", "city"], "only one group of at least 10 rows"),
        (["evaluate", str(run.path), "--by", "area>1e9"], "Check the spelling of its values, or widen it"),
        (["evaluate", str(run.path), "--by", "area>>9"], "expected the end"),
        (["explain", str(run.path), str(one), "--method", "gradcam"], "every model: shap, occlusion, lime"),
        (["doctor", str(run.path), str(one)], "its content has changed. Put the old data back"),
    ):
        assert cli.main([*arguments, "--quiet"]) == 2
        said = capsys.readouterr()
        assert words in said.err and said.out == "" and "Traceback" not in said.err
