"""Made-up runs that look like real ones: what the report is looked at and tested with."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from shinso.calibration import calibrate
from shinso.columns.base import object_array
from shinso.columns.category import Category
from shinso.columns.image import Image
from shinso.columns.number import Number
from shinso.columns.text import Text
from shinso.metrics import coverage, evaluate_predictions, gain
from shinso.reporting.data import ColumnFacts, Mistake, ReportData

Rng = np.random.Generator
SECONDS = {"read": 0.31, "prepare": 0.22, "encode": 0.54, "train": 11.84, "evaluate": 0.41, "baselines": 1.72}
ENVIRONMENT = {
    "python": "3.11.9",
    "torch": "2.13.0+cpu",
    "numpy": "2.4.6",
    "system": "Linux-6.1-x86_64",
    "cores": 2,
    "processor": "AMD EPYC 9R45",
    "plan": {"device": "cpu", "precision": "bf16", "threads": 2},
}
SETTINGS: dict[str, Any] = {
    "effort": "balanced",
    "minutes": None,
    "seed": 0,
    "data": {"split": "8:1:1", "stratify": True},
    "model": {"name": "residual-s", "width": 64, "depth": 3, "dropout": 0.1},
    "train": {"optimizer": "muon", "learning_rate": 0.02, "batch_size": 256, "epochs": 12, "ema": 0.99},
}


def guesses(rng: Rng, truth: Any, classes: int, sure: float, confusable: dict[int, int] | None = None) -> Any:
    """(n, C) probabilities of a network that is right most of the time, and overlooks what is confusable."""
    logits = rng.gumbel(size=(len(truth), classes))
    logits[np.arange(len(truth)), truth] += sure
    for a, b in (confusable or {}).items():
        logits[truth == a, b] += sure * 0.72
    odds = np.exp(0.9 * (logits - logits.max(1, keepdims=True)))
    return odds / odds.sum(1, keepdims=True)


def history(
    name: str, epochs: int, steps: int, start: float, end: float, score: Any, seconds: float
) -> list[Any]:
    """Lines of metrics.jsonl; `score(loss)` gives the metrics of an epoch."""
    rng = np.random.default_rng(0)
    lines, best = [], math.inf
    for epoch in range(epochs):
        share = (epoch + 1) / epochs
        loss = end + (start - end) * math.exp(-5 * share) * rng.uniform(0.95, 1.05)
        seen = loss * (1.02 + 0.25 * max(0.0, share - 0.5)) + 0.02
        lines.append(
            {
                "step": (epoch + 1) * steps,
                "epoch": epoch,
                "loss": {name: loss},
                "best": seen < best,
                "learning_rate": 0.02 * min(1.0, 8 * share) * (0.5 + 0.5 * math.cos(math.pi * share)),
                "validation": {name: score(seen)},
                "seconds": seconds * share,
            }
        )
        best = min(best, seen)
    return lines


def rival(kind: str, name: str, truth: Any, mine: Any, theirs: Any, labels: Any = ()) -> dict[str, Any]:
    """A row of a baseline."""
    metrics = evaluate_predictions(kind, truth, theirs, labels)["metrics"]
    return {"name": name, "metrics": metrics, "seconds": 0.4, "gain": gain(kind, truth, mine, theirs, labels)}


@cache
def digits() -> ReportData:
    """A folder of small images in ten classes."""
    rng = np.random.default_rng(0)
    images, truth = load_digits(return_X_y=True)
    images, truth = images[:360], truth[:360]
    labels = tuple("0123456789")
    odds = guesses(rng, truth, 10, 7.5, {8: 1, 3: 9, 9: 5})
    files = object_array([(p.reshape(8, 8) * 15.9).astype(np.uint8)[:, :, None].repeat(3, 2) for p in images])
    photo = Image(name="image").fit(files)
    label = Category(name="label").fit(object_array([labels[t] for t in truth]))
    output = evaluate_predictions("category", truth, odds, labels)
    counts = np.bincount(truth, minlength=10) / len(truth)
    output["baselines"] = [
        rival("category", "majority class", truth, odds, np.tile(counts, (360, 1)), labels),
        rival("category", "logistic regression", truth, odds, guesses(rng, truth, 10, 5.2, {8: 1}), labels),
        {"name": "gradient boosting", "skipped": "None of the given columns is a number, category or date."},
    ]
    wrong = np.flatnonzero(odds.argmax(1) != truth)
    wrong = wrong[np.argsort(-odds[wrong].max(1))][:24]
    mistakes = [
        Mistake(
            truth=labels[truth[i]],
            predicted=labels[odds[i].argmax()],
            probability=float(odds[i].max()),
            row=f"digits/test/{labels[truth[i]]}/{i:05d}.png",
            cells={"image": photo.show(files[i])},
        )
        for i in wrong
    ]
    return ReportData(
        name="digits",
        source="1,797 images in the folder digits",
        created="2026-11-20 14:05",
        version="0.1.0",
        columns=[
            ColumnFacts(
                name="image",
                kind="image",
                role="given",
                summary=photo.summary(files),
                example=photo.show(files[0]),
            ),
            ColumnFacts(
                name="label",
                kind="category",
                role="predict",
                summary=label.summary(object_array([labels[t] for t in truth])),
                example="7",
            ),
        ],
        evaluation={
            "part": "test",
            "rows": {"train": 1257, "validation": 180, "test": 360},
            "outputs": {"label": output},
        },
        history=history("label", 12, 5, 2.3, 0.06, lambda v: {"log_loss": v, "accuracy": 1 - v / 3}, 11.8),
        calibration={
            "label": calibrate("category", truth, odds**1.2 / (odds**1.2).sum(1, keepdims=True)).to_dict()
        },
        mistakes={"label": mistakes},
        notes=[
            {
                "level": "info",
                "message": "3 images are the same as another one and were kept",
                "column": "image",
                "count": 3,
            }
        ],
        quarantine=[
            {
                "file": "digits/4/0192.png",
                "row": "digits/4/0192.png",
                "column": "image",
                "reason": "the file ends early",
                "value": "",
            }
        ],
        seconds=SECONDS,
        parameters=412_234,
        peak_memory=734_003_200,
        flops_per_second=3.1e11,
        roof=9.8e11,
        settings=SETTINGS,
        chosen=["seed"],
        environment=ENVIRONMENT,
    )


@cache
def houses() -> ReportData:
    """A table with a price to predict."""
    rng = np.random.default_rng(1)
    n = 4128
    income, age, rooms = rng.gamma(4.0, 0.95, n), rng.integers(1, 53, n).astype(float), rng.gamma(9.0, 0.6, n)
    place = rng.choice(
        ["<1H OCEAN", "INLAND", "NEAR OCEAN", "NEAR BAY", "ISLAND"], n, p=[0.44, 0.32, 0.13, 0.1095, 0.0005]
    )
    truth = np.clip(
        45_000 * income * (place != "INLAND") + 22_000 * income + 600 * age + rng.normal(0, 3e4, n),
        15_000,
        500_001,
    )
    mine = truth + rng.normal(0, 1, n) * (9_000 + 0.17 * truth)
    rooms[rng.random(n) < 0.01] = np.nan
    calibration = calibrate("number", truth[:2000], mine[:2000])
    output = evaluate_predictions("number", truth, mine)
    output["baselines"] = [
        rival("number", "mean", truth, mine, np.full(n, truth.mean())),
        rival("number", "ridge regression", truth, mine, truth + rng.normal(0, 69_000, n)),
        rival(
            "number", "gradient boosting", truth, mine, truth + rng.normal(0, 1, n) * (9_300 + 0.172 * truth)
        ),
    ]
    low, high = calibration.interval(mine) or (mine, mine)
    output["coverage"] = coverage("number", truth, mine, calibration)
    given = {"median_income": income, "housing_median_age": age, "rooms_per_household": rooms}
    columns = [_number(name, values, "given") for name, values in given.items()]
    town = Category(name="ocean_proximity").fit(object_array(place.tolist()))
    columns.append(
        ColumnFacts(
            name="ocean_proximity",
            kind="category",
            role="given",
            summary=town.summary(object_array(place.tolist())),
            example=town.show(str(place[0])),
        )
    )
    columns.append(_number("median_house_value", truth, "predict"))
    worst = np.argsort(-np.abs(mine - truth))[:12]
    mistakes = [
        Mistake(
            truth=str(truth[i]),
            predicted=str(mine[i]),
            error=float(mine[i] - truth[i]),
            low=float(low[i]),
            high=float(high[i]),
            row=str(i + 1),
            cells={
                **{name: f"{values[i]:.4g}" for name, values in given.items()},
                "ocean_proximity": town.show(str(place[i])),
            },
        )
        for i in worst
    ]
    score = history(
        "median_house_value", 40, 65, 1.0, 0.15, lambda v: {"rmse": 115_000 * math.sqrt(v), "r2": 1 - v}, 52.0
    )
    return ReportData(
        name="california-housing-balanced-seed-3",
        source="housing.csv",
        created="2026-11-20 15:40",
        version="0.1.0",
        columns=columns,
        evaluation={
            "part": "test",
            "rows": {"train": 16_512 - 1652, "validation": 1652, "test": 4128},
            "outputs": {"median_house_value": output},
        },
        history=score,
        stopped="no better validation score in 8 epochs",
        calibration={"median_house_value": calibration.to_dict()},
        mistakes={"median_house_value": mistakes},
        notes=[
            {
                "level": "info",
                "message": "207 missing values, filled by what the column learned",
                "column": "rooms_per_household",
                "count": 41,
            },
            {
                "level": "warning",
                "message": "965 rows have the same value, the largest: was it cut off?",
                "column": "median_house_value",
                "count": 965,
            },
        ],
        seconds={**SECONDS, "train": 52.1, "baselines": 6.0},
        parameters=1_204_224,
        peak_memory=1_288_490_188,
        flops_per_second=1.9e11,
        roof=9.8e11,
        settings=SETTINGS,
        chosen=["seed", "train.epochs"],
        environment=ENVIRONMENT,
    )


def _number(name: str, values: Any, role: Any) -> ColumnFacts:
    column = Number(name=name).fit(values)
    return ColumnFacts(
        name=name, kind="number", role=role, summary=column.summary(values), example=column.show(values[0])
    )


TOPICS = (
    "独女通信",
    "ITライフハック",
    "家電チャンネル",
    "livedoor HOMME",
    "MOVIE ENTER",
    "Peachy",
    "エスマックス",
    "Sports Watch",
    "トピックニュース",
)
SENTENCES = (
    "新型スマートフォンの発売日が来月に決まり、予約の受付が始まった。",
    "監督は「観客に考えてもらう余白を残したかった」と語った。",
    "日本代表は後半のロスタイムに追いつき、勝ち点を分け合った。",
    "冷蔵庫の省エネ性能は、この十年でおよそ半分の電力にまで改善されている。",
    "仕事と恋愛の両立について、三十代の女性五百人に聞いた。",
    "アプリを開いて右上の歯車を押すと、通知の設定を変更できる。",
)


@cache
def news() -> ReportData:
    """Japanese articles in nine topics."""
    rng = np.random.default_rng(2)
    n = 1842
    truth = rng.integers(9, size=n)
    odds = guesses(rng, truth, 9, 5.0, {3: 5, 0: 8})
    texts = object_array(["".join(rng.choice(SENTENCES, 9)) for _ in range(n)])
    body = Text(name="body").fit(texts[:200])
    topics = object_array([TOPICS[t] for t in truth])
    topic = Category(name="topic").fit(topics)
    output = evaluate_predictions("category", truth, odds, TOPICS)
    output["baselines"] = [
        rival("category", "majority class", truth, odds, np.tile(np.bincount(truth) / n, (n, 1)), TOPICS),
        rival("category", "logistic regression", truth, odds, guesses(rng, truth, 9, 5.1, {3: 5}), TOPICS),
    ]
    wrong = np.flatnonzero(odds.argmax(1) != truth)
    wrong = wrong[np.argsort(-odds[wrong].max(1))][:9]
    mistakes = [
        Mistake(
            truth=TOPICS[truth[i]],
            predicted=TOPICS[odds[i].argmax()],
            probability=float(odds[i].max()),
            row=str(i + 1),
            cells={"body": body.show(texts[i])},
        )
        for i in wrong
    ]
    return ReportData(
        name="livedoor-ニュース",
        source="news.jsonl",
        created="2026-11-20 16:12",
        version="0.1.0",
        columns=[
            ColumnFacts(
                name="body",
                kind="text",
                role="given",
                summary=body.summary(texts[:300]),
                example=body.show(texts[0]),
            ),
            ColumnFacts(
                name="topic",
                kind="category",
                role="predict",
                summary=topic.summary(topics),
                example=topic.show(topics[0]),
            ),
        ],
        evaluation={
            "part": "test",
            "rows": {"train": 4905, "validation": 620, "test": n},
            "outputs": {"topic": output},
        },
        history=history(
            "topic", 8, 77, 2.1, 0.02, lambda v: {"log_loss": v + 0.2, "accuracy": 0.93 - v / 4}, 64.0
        ),
        mistakes={"topic": mistakes},
        seconds={**SECONDS, "train": 64.2, "encode": 6.1},
        parameters=8_731_000,
        peak_memory=2_214_592_512,
        flops_per_second=4.4e10,
        roof=9.8e11,
        settings=SETTINGS,
        environment=ENVIRONMENT,
    )


@cache
def income() -> ReportData:
    """A table with two classes, one of them rarer."""
    rng = np.random.default_rng(4)
    n = 6000
    truth = (rng.random(n) < 0.24).astype(int)
    labels = ("<=50K", ">50K")
    odds = guesses(rng, truth, 2, 2.9)
    ages = rng.gamma(9.0, 4.4, n).round() + 16 + 6 * truth
    hours = np.clip(rng.normal(40 + 4 * truth, 11).round(), 1, 99)
    works = object_array(
        rng.choice(["Private", "Self-emp-not-inc", "Local-gov", "?"], n, p=[0.75, 0.1, 0.1, 0.05]).tolist()
    )
    work = Category(name="workclass").fit(works)
    output = evaluate_predictions("category", truth, odds, labels)
    output["baselines"] = [
        rival("category", "majority class", truth, odds, np.tile([0.76, 0.24], (n, 1)), labels),
        rival("category", "logistic regression", truth, odds, guesses(rng, truth, 2, 2.5), labels),
        rival(
            "category",
            "gradient boosting (20,000 training rows)",
            truth,
            odds,
            guesses(rng, truth, 2, 2.8),
            labels,
        ),
    ]
    wrong = np.flatnonzero(odds.argmax(1) != truth)
    wrong = wrong[np.argsort(-odds[wrong].max(1))][:16]
    mistakes = [
        Mistake(
            truth=labels[truth[i]],
            predicted=labels[odds[i].argmax()],
            probability=float(odds[i].max()),
            row=str(i + 1),
            cells={
                "age": f"{ages[i]:.0f}",
                "hours_per_week": f"{hours[i]:.0f}",
                "workclass": work.show(works[i]),
            },
        )
        for i in wrong
    ]
    return ReportData(
        name="adult",
        source="adult-train.csv",
        created="2026-11-20T16:44:10+00:00",
        version="0.1.0",
        columns=[
            _number("age", ages, "given"),
            _number("hours_per_week", hours, "given"),
            ColumnFacts(
                name="workclass",
                kind="category",
                role="given",
                summary=work.summary(works),
                example="Private",
            ),
            ColumnFacts(
                name="income",
                kind="category",
                role="predict",
                summary={"rows": n, "counts": {"<=50K": 4560, ">50K": 1440}},
                example="&lt;=50K",
            ),
        ],
        evaluation={
            "part": "test",
            "rows": {"train": 26_049, "validation": 3256, "test": n},
            "outputs": {"income": output},
        },
        history=history("income", 20, 102, 0.6, 0.3, lambda v: {"log_loss": v, "accuracy": 1 - v / 2}, 31.0),
        mistakes={"income": mistakes},
        notes=[{"level": "warning", "message": "24 rows occur twice; both are kept", "count": 24}],
        seconds={**SECONDS, "train": 31.0},
        parameters=812_000,
        peak_memory=1_288_490_188,
        settings=SETTINGS,
        environment=ENVIRONMENT,
    )


RUNS = {"digits": digits, "houses": houses, "news": news, "income": income}
