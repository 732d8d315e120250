"""Planted faults, one after another: does the audit or the doctor name them, and is all quiet without them?

    python benchmarks/faults.py --data DIR [--seed N] [--log FILE.jsonl] [--minutes N] [NAME ...]

DIR holds the unpacked data sets (adult, bike_sharing, california_housing, ETTh1, fashion_mnist, sst2,
titanic). A fault is found where a check that is meant for it gives a warning. Prints a line a case and the
sums; exit status 1 below 22 of 24, or where a healthy case has a severe finding. With --log each case is a
line of FILE, and those that stand there with the same seed are not run again: with --minutes no case is begun
after that time (exit status 3), so that the whole can be run in parts. A case that breaks is a fault missed,
or a false finding.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import shinso
from shinso.data.table import Table
from shinso.errors import ShinsoError
from shinso.run import RunDirectory

sys.path.insert(0, str(Path(__file__).parent))
Data = dict[str, list[Any]]
QUICK = {"train.threads": 1, "train.precision": "fp32", "data.audit": False}
ASKED = 22 / 24


@dataclass(frozen=True)
class Place:
    """Where data lie, where to write, and the seed of everything drawn."""

    data: Path
    folder: Path
    seed: int

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def table(self, name: str, rows: int) -> Data:
        """Some rows of a data set, drawn anew with each seed; of a single file in their order."""
        table = Table.read(self.data / name)
        count = len(table)
        chosen = np.sort(self.rng.permutation(count)[:rows])
        return {column: list(table.values(column, chosen)) for column in table.names}


@dataclass(frozen=True)
class Case:
    """One fault: what makes it, and the checks that should name it."""

    name: str
    checks: tuple[str, ...]
    look: Callable[[Place], list[Mapping[str, Any]]]  # findings


# ---------------------------------------------------------------- data


def adult(place: Place, rows: int = 4_000) -> Data:
    data = place.table("adult/adult-train.csv", rows)
    names = "age work weight school years marriage job role race sex gain loss hours country income".split()
    return dict(zip(names, data.values(), strict=True))


def housing(place: Place, rows: int = 4_000) -> Data:
    data = place.table("california_housing/housing.csv", rows)
    order = place.rng.permutation(len(data["longitude"]))
    return {name: [values[i] for i in order] for name, values in data.items()}


def reviews(place: Place, rows: int = 3_000) -> Data:
    return place.table("sst2/train.csv", rows)


def digits(place: Place, rows: int = 1_797) -> Data:
    found = load_digits()
    images = (found.images * 15.9).astype(np.uint8)[..., None]
    order = place.rng.permutation(len(images))[:rows]
    return {"image": [images[i] for i in order], "digit": [f"d{found.target[i]}" for i in order]}


def fashion(place: Place, rows: int = 10_000) -> Data:
    return place.table("fashion_mnist/test", rows)


def extended(data: Data, rows: Sequence[int]) -> Data:
    return {name: [*values, *(values[i] for i in rows)] for name, values in data.items()}


def two_files(place: Place, train: Data, test: Data) -> tuple[Path, Path]:
    """As CSV files."""
    paths = place.folder / "train.csv", place.folder / "test.csv"
    for path, data in zip(paths, (train, test), strict=True):
        lines = [",".join(data)]
        lines += [",".join("" if v is None or v != v else f'"{v}"' for v in row)
                  for row in zip(*data.values(), strict=True)]  # fmt: skip
        path.write_text("\n".join(lines) + "\n", "utf-8")
    return paths


def taken(data: Data, rows: Sequence[int]) -> Data:
    return {name: [values[i] for i in rows] for name, values in data.items()}


def audited(data: Any, predict: str, **options: Any) -> list[Mapping[str, Any]]:
    found = shinso.audit(data, predict=predict, quiet=True, **options)["findings"]
    return [{**one, "level": one["severity"], "said": one["message"]} for one in found]


# ---------------------------------------------------------------- faults of the data


def leaking(place: Place) -> list[Mapping[str, Any]]:
    data = adult(place)
    wrong = place.rng.random(len(data["income"])) < 0.005
    data["code"] = [
        f"A{int((v == data['income'][0]) ^ w)}" for v, w in zip(data["income"], wrong, strict=True)
    ]
    return audited(data, "income")


def doubled(share: float) -> Callable[[Place], list[Mapping[str, Any]]]:
    def look(place: Place) -> list[Mapping[str, Any]]:
        data = housing(place, 5_000)
        train, test = list(range(4_000)), list(range(4_000, 5_000))
        again = place.rng.choice(4_000, round(1_000 * share), replace=False).tolist()
        paths = two_files(place, taken(data, train), taken(data, [*test[len(again) :], *again]))
        return audited(paths[0], "median_house_value", test=paths[1], only="duplicates")

    return look


def flipped(make: Callable[[Place], Data], target: str) -> Callable[[Place], list[Mapping[str, Any]]]:
    def look(place: Place) -> list[Mapping[str, Any]]:
        data = make(place)
        labels, rng = np.asarray(data[target], object).astype(str), place.rng
        wrong, names = rng.random(len(labels)) < 0.05, np.unique(labels)
        told = [rng.choice(names[names != v]) if w else v for v, w in zip(labels, wrong, strict=True)]
        data[target] = [str(v) for v in told]
        subject = Table.read(data)
        found = shinso.audit(
            data, predict=target, only="label_errors", quiet=True, fix=place.folder / "c.jsonl"
        )
        log = (place.folder / "c.jsonl.log.jsonl").read_text("utf-8")
        rows = np.array([int(n) for n in re.findall(r'"row": (\d+)', log)], np.int64) - 1
        assert len(subject) == len(labels)
        hits = int(wrong[rows].sum())
        precision, recall = hits / max(1, len(rows)), hits / int(wrong.sum())
        said = f"precision {precision:.3f}, recall {recall:.3f} of {int(wrong.sum())}"
        good = precision >= 0.5 and recall >= 0.6 and found["findings"]
        return [
            {"check": "label_errors" if good else "label_errors missed", "level": "warning", "said": said}
        ]

    return look


def flipped_images(place: Place) -> list[Mapping[str, Any]]:
    def make(place: Place) -> Data:
        data = fashion(place)
        return {"image": [pixels(path) for path in data["image"]], "label": data["label"]}

    return flipped(make, "label")(place)


def shuffled_series(place: Place) -> list[Mapping[str, Any]]:
    data = place.table("ETTh1/ETTh1.csv", 6_000)
    order = place.rng.permutation(len(data["OT"]))
    return audited(taken(data, order.tolist()), "OT")


def bleeding(place: Place) -> list[Mapping[str, Any]]:
    rng, people = place.rng, 120
    person = rng.integers(0, people, 2_400)
    own, ill = rng.normal(size=(people, 5)), rng.choice(["ill", "well"], people)
    values = own[person] + rng.normal(0, 0.6, (2_400, 5))
    data: Data = {f"reading{i}": values[:, i].tolist() for i in range(5)}
    return audited({"patient": [f"P{p:03d}" for p in person], **data, "state": ill[person].tolist()}, "state")


def named_rows(place: Place) -> list[Mapping[str, Any]]:
    data = adult(place)
    numbers = place.rng.permutation(len(data["age"])) + 100_000
    return audited({"reference": [f"K-{n}" for n in numbers], **data}, "income")


def near_texts(place: Place) -> list[Mapping[str, Any]]:
    data = reviews(place)
    long = [i for i, text in enumerate(data["sentence"]) if len(text) > 60]
    again = place.rng.choice(long, 150, replace=False).tolist()
    data = extended(data, again)
    for i in range(150):
        data["sentence"][-1 - i] = data["sentence"][-1 - i].replace(" the ", "  The ").rstrip(" .") + " !"
    return audited(data, "sentiment", only="near_duplicates")


def near_images(place: Place) -> list[Mapping[str, Any]]:
    data = fashion(place, 2_000)
    images = [np.asarray(pixels(path)) for path in data["image"]]
    again = place.rng.choice(len(images), 100, replace=False).tolist()
    noise = place.rng.normal(0, 2, (100, *images[0].shape))
    changed = [(images[i] * 0.93 + 6 + n).clip(0, 255).astype(np.uint8)
               for i, n in zip(again, noise, strict=True)]  # fmt: skip
    labels = [*data["label"], *(data["label"][i] for i in again)]
    return audited({"image": [*images, *changed], "label": labels}, "label", only="near_duplicates")


def pixels(path: Path) -> Any:
    return np.asarray(Image.open(path).convert("L"))[..., None]


def shifted(place: Place) -> list[Mapping[str, Any]]:
    data = housing(place, 4_000)
    west = np.array(data["longitude"]) < np.quantile(data["longitude"], 0.25)
    paths = two_files(place, *(taken(data, np.flatnonzero(side).tolist()) for side in (~west, west)))
    return audited(paths[0], "median_house_value", test=paths[1], only="shift")


def other_spelling(place: Place) -> list[Mapping[str, Any]]:
    data = adult(place)
    test = taken(data, list(range(3_000, 4_000)))
    test["income"] = [f"{value}." for value in test["income"]]
    paths = two_files(place, taken(data, list(range(3_000))), test)
    return audited(paths[0], "income", test=paths[1], only="shift")


def telling_gaps(place: Place) -> list[Mapping[str, Any]]:
    data = adult(place)
    rich = np.array([">" in str(v) for v in data["income"]])
    gone = place.rng.random(len(rich)) < np.where(rich, 0.6, 0.1)
    data["hours"] = [None if g else v for v, g in zip(data["hours"], gone, strict=True)]
    return audited(data, "income")


def summed(place: Place) -> list[Mapping[str, Any]]:
    return audited(place.table("bike_sharing/Bike Sharing Dataset.csv", 5_000), "cnt", only="leaks")


def rare(place: Place) -> list[Mapping[str, Any]]:
    data = adult(place, 8_000)
    rich = [i for i, v in enumerate(data["income"]) if ">" in str(v)]
    kept = sorted({*range(8_000)} - set(rich[40:]))
    return audited(taken(data, kept), "income", only="imbalance")


def contradicting(place: Place) -> list[Mapping[str, Any]]:
    data = reviews(place)
    again = place.rng.choice(len(data["sentence"]), 240, replace=False).tolist()
    data = extended(data, again)
    for i in range(240):
        data["sentiment"][-1 - i] = "negative" if data["sentiment"][-1 - i] == "positive" else "positive"
    return audited(data, "sentiment", only="contradictions")


# ---------------------------------------------------------------- faults of the training


def doctored(place: Place, data: Data, predict: str, **options: Any) -> list[Mapping[str, Any]]:
    settings = {**QUICK, "train.epochs": 8, "train.batch_size": 64, **options.pop("settings", {})}
    run = shinso.train(
        data,
        predict=predict,
        out=place.folder / "run",
        quiet=True,
        seed=place.seed,
        settings=settings,
        **options,
    )
    allow = [options["model"]] if ":" in options.get("model", "") else []
    return shinso.doctor(run, data, allow=allow, quiet=True)["findings"]  # type: ignore[no-any-return]


def on_digits(model: str = "Plain", **settings: Any) -> Callable[[Place], list[Mapping[str, Any]]]:
    def look(place: Place) -> list[Mapping[str, Any]]:
        given = {"train.learning_rate": 3e-3, "train.augment": "none", "train.optimizer": "adamw", **settings}
        data = digits(place)
        return doctored(place, data, "digit", model=f"faulty_models:{model}", settings=given)

    return look


def on_adult(**settings: Any) -> Callable[[Place], list[Mapping[str, Any]]]:
    def look(place: Place) -> list[Mapping[str, Any]]:
        small = {"model.width": 64, "model.members": 4, **settings}
        return doctored(place, adult(place, 3_000), "income", settings=small)

    return look


def edited(name: str, change: Callable[[Any], None]) -> Callable[[Place], list[Mapping[str, Any]]]:
    """A healthy run of which a file was changed, as another program might have written it."""

    def look(place: Place) -> list[Mapping[str, Any]]:
        data, small = adult(place, 3_000), {**QUICK, "model.width": 64, "model.members": 4, "train.epochs": 6}
        run = shinso.train(data, predict="income", out=place.folder / "run", quiet=True, settings=small)
        document = json.loads((run.path / name).read_text("utf-8"))
        change(document)
        directory = RunDirectory(run.path)
        directory.write_json(name, document)
        directory.seal()
        return shinso.doctor(run, data, quiet=True)["findings"]  # type: ignore[no-any-return]

    return look


def unscaled(document: Any) -> None:
    for column in document["given"]:
        if column["kind"] == "number":
            column["mean"], column["std"] = column["mean"] - 50 * column["std"], column["std"]


def weighed(document: Any) -> None:
    document["class_weights"] = {"income": [1.0, 60.0]}


def memorised(place: Place) -> list[Mapping[str, Any]]:
    rng = place.rng
    noise = rng.normal(size=(400, 40))
    truth = noise[:, 0] + rng.normal(0, 1.5, 400) > 0
    data: Data = {f"n{i}": noise[:, i].tolist() for i in range(40)}
    settings = {"train.epochs": 60, "model.width": 64, "model.members": 2}
    return doctored(place, {**data, "y": np.where(truth, "a", "b").tolist()}, "y", settings=settings)


def mirrored(place: Place) -> list[Mapping[str, Any]]:
    """Pictures that get brighter to the left or to the right, and an augmentation that mirrors them."""
    rng = place.rng
    slopes = rng.choice([-1, 1], 600)
    line = np.linspace(-60, 60, 12)[None, :, None]
    images = [(100 + s * line + rng.normal(0, 20, (12, 12, 1))).clip(0, 255).astype(np.uint8) for s in slopes]
    data: Data = {"image": images, "side": np.where(slopes > 0, "right", "left").tolist()}
    settings = {"train.augment": "flip", "train.learning_rate": 3e-3}
    return doctored(place, data, "side", model="faulty_models:Plain", settings=settings)


def constant(place: Place) -> list[Mapping[str, Any]]:
    """A target that has nothing to do with what is given."""
    data = adult(place, 2_000)
    order = place.rng.permutation(2_000)
    data["income"] = [data["income"][i] for i in order]
    return doctored(place, data, "income", settings={"model.width": 32, "model.members": 2})


FAULTS: tuple[Case, ...] = (
    Case("a column gives the label away", ("leaks",), leaking),
    Case("1% of the test rows are training rows", ("duplicates",), doubled(0.01)),
    Case("5% of the test rows are training rows", ("duplicates",), doubled(0.05)),
    Case("20% of the test rows are training rows", ("duplicates",), doubled(0.2)),
    Case("5% flipped labels, adult", ("label_errors",), flipped(lambda p: adult(p, 32_561), "income")),
    Case("5% flipped labels, fashion_mnist", ("label_errors",), flipped_images),
    Case("a series in random order", ("time",), shuffled_series),
    Case("patients on both sides", ("groups",), bleeding),
    Case("a column that names the row", ("identifiers",), named_rows),
    Case("nearly equal texts across the split", ("near_duplicates",), near_texts),
    Case("nearly equal images across the split", ("near_duplicates",), near_images),
    Case("a test set from elsewhere", ("shift",), shifted),
    Case("labels spelled otherwise in the test set", ("shift",), other_spelling),
    Case("gaps that tell the label", ("missingness",), telling_gaps),
    Case("columns whose sum is the target", ("leaks",), summed),
    Case("a class with 40 rows", ("imbalance",), rare),
    Case("equal texts with other labels", ("contradictions",), contradicting),
    Case("a learning rate 100 times too high", ("learning rate",), on_digits(**{"train.learning_rate": 0.3})),
    Case("a learning rate 100 times too low", ("learning rate",), on_digits(**{"train.learning_rate": 3e-5})),
    Case("the same, a table, too low", ("learning rate",), on_adult(**{"train.learning_rate": 2e-5})),
    Case("a layer that is not trained", ("frozen layers",), on_digits("Frozen")),
    Case("a stray detach", ("frozen layers", "gradients"), on_digits("Cut")),
    Case("dead units", ("dead units",), on_digits("Dead")),
    Case("a reader that forgets its input", ("uses its inputs",), on_digits("Blind")),
    Case("a network far too small", ("one batch", "baseline"), on_digits("Narrow")),
    Case("twelve layers of sigmoids", ("gradients", "one batch"), on_digits("Saturated")),
    Case("pixels that nobody scaled", ("gradients", "input normalised"), on_digits("Raw")),
    Case("numbers far off zero", ("input normalised",), edited("schema.json", unscaled)),
    Case("one class weighs 60 times", ("loss weighting",), edited("data.json", weighed)),
    Case("400 rows learned by heart", ("train/validation gap",), memorised),
    Case("pictures mirrored that must not be", ("augmentation",), mirrored),
    Case("labels that nothing tells", ("uses its inputs",), constant),
    Case("ended far too early", ("trained to the end", "learning rate"), on_digits(**{
        "train.epochs": 1, "train.warmup": 1.0, "train.learning_rate": 3e-4,
    })),
)  # fmt: skip


# ---------------------------------------------------------------- healthy


def healthy_digits(place: Place) -> list[Mapping[str, Any]]:
    data = digits(place)
    settings = {"train.learning_rate": 3e-3, "train.epochs": 20, "train.augment": "none"}
    trained = doctored(place, data, "digit", model="faulty_models:Plain", settings=settings)
    return [*audited(data, "digit"), *trained]


def healthy_table(
    make: Callable[[Place], Data], target: str, given: str | None = None
) -> Callable[[Place], list[Mapping[str, Any]]]:
    def look(place: Place) -> list[Mapping[str, Any]]:
        data = make(place)
        options: dict[str, Any] = {} if given is None else {"given": given}
        quick = {"model.width": 64, "model.members": 4}
        if given is not None:
            quick = {}
        return [*audited(data, target, **options), *doctored(place, data, target, settings=quick, **options)]

    return look


def healthy_titanic(place: Place) -> list[Mapping[str, Any]]:
    data = place.table("titanic/train.csv", 891)
    types = {"Survived": "category"}
    trained = doctored(place, data, "Survived", types=types, settings={"train.epochs": 5})
    return [*audited(data, "Survived", types=types), *trained]


def healthy_forecast(place: Place) -> list[Mapping[str, Any]]:
    data = place.table("ETTh1/ETTh1.csv", 20_000)
    data = {name: values[:6_000] for name, values in data.items()}
    return doctored(place, data, "OT", past=48, ahead=12, settings={"train.epochs": 4})


HEALTHY: dict[str, Callable[[Place], list[Mapping[str, Any]]]] = {
    "digits": healthy_digits,
    "adult": healthy_table(lambda p: adult(p, 3_000), "income"),
    "california_housing": healthy_table(lambda p: housing(p, 3_000), "median_house_value"),
    "titanic": healthy_titanic,
    "sst2": healthy_table(lambda p: reviews(p, 1_000), "sentiment", given="sentence"),
    "a forecast": healthy_forecast,
}


def named(case: Case, findings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The findings that name the fault: of its checks, and more than a remark (copies: any)."""
    loud = ("severe", "warning", "note") if case.checks[0] == "duplicates" else ("severe", "warning")
    return [one for one in findings if one["check"] in case.checks and one["level"] in loud]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--minutes", type=float)
    options, started = parser.parse_args(), time.perf_counter()
    known = logged(options.log, options.seed)
    looks = {case.name: partial(fault, case) for case in FAULTS}
    looks |= {f"healthy {name}": partial(quiet, look) for name, look in HEALTHY.items()}
    for name, look in looks.items():
        if name in known or (options.names and not any(part in name for part in options.names)):
            continue
        if options.minutes is not None and time.perf_counter() - started > 60 * options.minutes:
            return 3
        known[name] = run(options, name, look)
    return summed_up([known[name] for name in looks if name in known])


def logged(log: Path | None, seed: int) -> dict[str, dict[str, Any]]:
    """The cases that were run with this seed, by name."""
    lines = log.read_text("utf-8").splitlines() if log is not None and log.exists() else []
    return {entry["case"]: entry for entry in map(json.loads, lines) if entry["seed"] == seed}


def run(options: Any, name: str, look: Callable[[Place], tuple[bool, str]]) -> dict[str, Any]:
    """One case in a folder of its own; prints it, and adds it to the log."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            good, said = look(Place(options.data, Path(folder), options.seed))
        except (ShinsoError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            good, said = False, f"{type(error).__name__}: {error}"
    seconds = round(time.perf_counter() - started)
    entry = {"seed": options.seed, "case": name, "good": good, "said": said, "seconds": seconds}
    marks = ("FALSE ", "quiet ") if name.startswith("healthy") else ("MISSED", "found ")
    print(f"{marks[good]} {name}: {said}  {seconds} s", flush=True)
    if options.log is not None:
        with options.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
    return entry


def fault(case: Case, place: Place) -> tuple[bool, str]:
    """Whether the fault is named, and by which words; else what was said in their place."""
    findings = case.look(place)
    hit = named(case, findings)
    return bool(hit), words(hit or [one for one in findings if one["level"] in ("severe", "warning")])


def quiet(look: Callable[[Place], list[Mapping[str, Any]]], place: Place) -> tuple[bool, str]:
    """Whether nothing severe is said of a healthy case; what is said (with mere warnings)."""
    findings = look(place)
    severe = [one for one in findings if one["level"] == "severe"]
    return not severe, words(severe or [one for one in findings if one["level"] == "warning"])


def words(findings: Sequence[Mapping[str, Any]]) -> str:
    """The first of some findings."""
    return "; ".join(f"{one['check']} ({one['level']}): {one['said'][:90]}" for one in findings[:3])


def summed_up(entries: Sequence[Mapping[str, Any]]) -> int:
    """Print the sums; gives the exit status."""
    healthy = [one for one in entries if one["case"].startswith("healthy")]
    faults = [one for one in entries if not one["case"].startswith("healthy")]
    found, false = sum(one["good"] for one in faults), [one["case"] for one in healthy if not one["good"]]
    missed = [one["case"] for one in faults if not one["good"]]
    print(f"{found} of {len(faults)} faults are named; missed: {', '.join(missed) or 'none'}")
    calm = len(healthy) - len(false)
    print(f"{calm} of {len(healthy)} healthy cases are quiet; {', '.join(false) or 'all'}")
    return int(bool(false) or found < ASKED * len(faults))


if __name__ == "__main__":
    sys.exit(main())
