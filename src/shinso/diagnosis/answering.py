"""Checks of what a trained network answers: inputs used, baselines beaten, the gap, noise, augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..augment import augment
from ..data.cheap import small_pixels, straight
from ..data.loader import Loader
from ..data.store import Store
from ..evaluation import labels_of, predict_rows
from ..explaining.overall import Shuffled
from ..intervals import proportion
from ..metrics import MAIN, gain, lower_is_better, score
from ..randomness import derive, generator
from ..reporting.findings import best_baseline
from .patient import SOME, Finding, Patient

SURE = 0.3  # share of the held-out rows, the surest, whose mistakes are taken for wrong labels
NOISE, MUCH_NOISE = 0.015, 0.05
PART = 0.25  # of the error that wrong labels must explain: a weak network is wrong even where it is sure
WEAK = 0.7  # of the errors of the most frequent class, from which a network cannot judge labels
GAP = 0.1  # of accuracy or R2
TILT = 3.0  # how much more one class may weigh than another where they should weigh alike
KNOWS = 0.7  # accuracy on training images below which a network says nothing of augmentation
LITTLE = 0.03  # of the metric: what shuffling must cost where rows are few
LEAST = 100  # rows below which little can be said


def uses_inputs(patient: Patient) -> Finding:
    """What it costs to give every row the inputs of another row; nothing where the inputs are not used."""
    schema, rows = patient.prepared.schema, patient.held_out
    if not schema.given or len(rows) < 10:
        return Finding("uses its inputs", "note", None, "There is nothing to shuffle.")
    own = patient.predictions(rows)
    order = np.arange(len(patient.prepared.store))
    order[rows] = np.random.default_rng(derive(patient.config.seed, "shuffle")).permutation(rows)
    store = patient.prepared.store
    mixed = Store(
        {**store.columns, **{c.name: Shuffled(store[c.name], order) for c in schema.given}}, store.usable
    )
    other = predict_rows(patient.trained, schema, Loader(mixed, schema.given, rows, 512), patient.plan)
    lost = gain(
        patient.output.kind, patient.truths(rows), own, other[patient.output.name], labels_of(patient.output)
    )
    if lost["value"] is not None and patient.output.kind == "number":
        deviation = float(np.nanstd(np.asarray(patient.truths(rows)))) or 1.0
        lost = {
            key: lost[key] / deviation if lost[key] is not None else None for key in ("value", "low", "high")
        }
    spread = varied(own)
    unit = " in deviations" if patient.output.kind == "number" else ""
    said = f"Shuffling the inputs costs {_number(lost['value'])} of {MAIN[patient.output.kind]}{unit}"
    if spread < 1e-4:
        said = f"All rows get the same answer (deviation {spread:.1g})"
    elif (lost["low"] or 0.0) > 0:
        return Finding("uses its inputs", "fine", lost["value"], said)
    elif (lost["value"] or 0.0) > LITTLE:
        return Finding("uses its inputs", "note", lost["value"], f"{said}: too few rows to be sure.")
    return Finding(
        "uses its inputs", "severe", lost["value"], f"{said}: the inputs do not reach the answers.",
        "See that the given columns can tell the target at all, and that the learning rate is not far off.",
        patient.command({}, "--effort", "quick"),
    )  # fmt: skip


def varied(prediction: Any) -> float:
    """How much predictions differ from row to row."""
    values = np.asarray(prediction, np.float64)
    spread = values.reshape(len(values), -1).std(0).max()
    return float(spread / max(np.abs(values).max(), 1e-12))


def baseline(patient: Patient) -> Finding:
    """The gain over the best simple model, as the run measured it on its test rows."""
    assert patient.run is not None
    output = patient.run.evaluation["outputs"][patient.output.name]
    best = best_baseline(output)
    if best is None or best.get("gain") is None or best["gain"].get("value") is None:
        return Finding("baseline", "note", None, "No simple model was measured beside it.")
    found = best["gain"]
    said = f"{_number(found['value'])} of {output['main']} over {best['name']}"
    longer = patient.command({}, "--effort", "best")
    if found["high"] is not None and found["high"] < 0:
        return Finding(
            "baseline", "warning", found["value"],
            f"Its {output['main']} is worse by {abs(found['value']):.3g} than that of {best['name']}.",
            "Train longer or with more rows; else take the simple model.", longer,
        )  # fmt: skip
    if found["low"] is None or found["low"] <= 0:
        return Finding(
            "baseline", "note", found["value"], f"{said}: no clear difference.", "Train longer.", longer
        )
    return Finding("baseline", "fine", found["value"], said)


def gap(patient: Patient) -> Finding:
    """The main metric on training rows against held-out rows: too much by heart, or too little learned."""
    train, held = patient.rows("train"), patient.held_out
    metric = "r2" if patient.output.kind == "number" else MAIN[patient.output.kind]
    if len(held) < LEAST // 2 or lower_is_better(metric):
        return Finding("train/validation gap", "note", None, "Too few held-out rows to compare.")
    on = [
        score(
            patient.output.kind, patient.truths(rows), patient.predictions(rows), labels_of(patient.output)
        )[metric]
        for rows in (train, held)
    ]
    if on[0] is None or on[1] is None:
        return Finding("train/validation gap", "note", None, "It cannot be measured on these rows.")
    apart = on[0] - on[1]
    said = f"{metric} {on[0]:.3f} on training rows, {on[1]:.3f} on held-out rows"
    if apart > GAP:
        rows, dropout = len(patient.prepared.split.train), patient.config.model.dropout or 0.0
        decay = patient.config.train.weight_decay or 0.0
        return Finding(
            "train/validation gap", "warning", apart, f"{said}: it knows its {rows:,} rows by heart.",
            "More rows would help most; else more dropout, weight decay or augmentation, or fewer epochs.",
            patient.command(
                {"model.dropout": min(0.6, dropout + 0.2), "train.weight_decay": max(0.05, 3 * decay)}
            ),
        )  # fmt: skip
    return Finding("train/validation gap", "fine", apart, said)


def finished(patient: Patient) -> Finding:
    """Whether validation was still getting better at the end: more epochs before more of anything else."""
    assert patient.run is not None
    training = patient.run.evaluation["training"]
    if training["stopped"]:
        return _cut_short(patient, training["stopped"], training["steps"])
    history = [e for e in patient.run.metrics if e.get("validation")]
    losses = [sum(e["loss"].values()) for e in history]
    if len(losses) < 4:
        return _short(patient, len(losses))
    early, late = losses[0], losses[-1]
    falling = (losses[-3] - late) / max(early - late, 1e-9)
    said = f"The last two of {len(losses)} validations brought {falling:.0%} of the fall of the loss"
    if early - late < 0.02 * abs(early):
        return Finding(
            "trained to the end", "warning", falling, "The training loss has hardly fallen at all.",
            "Check the learning rate and the inputs.", patient.command({}, "--check"),
        )  # fmt: skip
    if falling > 0.25:
        epochs = 2 * (patient.config.train.epochs or 1)
        return Finding("trained to the end", "warning", falling, f"{said}: it was still learning.",
                       "Train longer.", patient.command({"train.epochs": epochs}))  # fmt: skip
    return Finding("trained to the end", "fine", falling, said)


def _cut_short(patient: Patient, why: str, step: int) -> Finding:
    """A training that something ended before its plan was done; patience is part of the plan."""
    said = f"It ended at step {step:,}: {why}."
    if why.startswith("no better validation score"):
        return Finding("trained to the end", "fine", None, said)
    return Finding(
        "trained to the end", "warning", float(step), f"{said} What follows may come from that alone.",
        "Train it again, to the end.", patient.command({}),
    )  # fmt: skip


def _short(patient: Patient, validations: int) -> Finding:
    """A training too short for a curve: it ended too early where a simple model is better for sure."""
    assert patient.run is not None
    best = best_baseline(patient.run.evaluation["outputs"][patient.output.name])
    gained = (best or {}).get("gain") or {}
    if gained.get("high") is None or gained["high"] >= 0:
        return Finding("trained to the end", "note", None, "Too few epochs to say.")
    return Finding(
        "trained to the end", "warning", float(validations),
        f"It was validated {validations} times, and a simple model is still better: it ended early.",
        "Train longer.", patient.command({"train.epochs": 8 * (patient.config.train.epochs or 1)}),
    )  # fmt: skip


def label_noise(patient: Patient) -> Finding:
    """Mistakes among the surest third of the held-out rows: there labels are wrong more often than it is."""
    rows = patient.held_out
    if patient.output.kind != "category" or len(rows) < LEAST:
        return Finding("label noise", "note", None, "It is told for classes, from 100 held-out rows on.")
    shares, truth = patient.predictions(rows), patient.truths(rows)
    known = truth >= 0
    shares, truth = shares[known], truth[known]
    sure = np.argsort(-shares.max(1), kind="stable")[: max(30, int(SURE * len(truth)))]
    wrong = shares[sure].argmax(1) != truth[sure]
    found = proportion(int(wrong.sum()), len(sure))
    error = float((shares.argmax(1) != truth).mean())
    said = (
        f"{found.value or 0:.1%} of the {len(sure)} surest unseen rows are called wrong; of all, {error:.1%}"
    )
    if error > WEAK * (1 - float(np.bincount(truth).max() / len(truth))):
        return Finding("label noise", "note", found.value, "The network is too weak to accuse labels.")
    if (found.low or 0.0) <= NOISE or (found.value or 0.0) < PART * error:
        return Finding("label noise", "fine", found.value, said)
    return Finding(
        "label noise", "severe" if (found.low or 0.0) > MUCH_NOISE else "warning", found.value,
        f"{said}: about so many labels seem to be wrong, and no network can be better than they are.",
        "Look at the surest mistakes and mend their labels.",
        patient.audit("label_errors"),
    )  # fmt: skip


def weighting(patient: Patient) -> Finding:
    """What each class weighs in the loss, frequency times weight: all alike where classes are balanced."""
    given = patient.options.get(patient.output.name)
    if patient.output.kind != "category" or given is None or not given.class_weights:
        return Finding("loss weighting", "fine", 1.0, "Every row counts alike")
    truth = np.asarray(patient.truths(patient.prepared.split.train))
    counts = np.bincount(truth[truth >= 0], minlength=len(given.class_weights))[: len(given.class_weights)]
    weight = counts * np.asarray(given.class_weights)
    present = counts > 0
    tilt = float(weight[present].max() / max(weight[present].min(), 1e-12))
    said = f"The heaviest class counts {tilt:.3g} times the lightest"
    if tilt > TILT:
        return Finding(
            "loss weighting", "severe", tilt, f"{said}, though all should count alike.",
            "Train again with weights that fit these rows.",
            patient.command({"train.class_weights": "balanced"}),
        )  # fmt: skip
    return Finding("loss weighting", "fine", tilt, said)


def augmentation(patient: Patient) -> Finding:
    """Accuracy on training images as they are and as augmentation changes them."""
    images = [c.name for c in patient.prepared.schema.given if c.kind == "image"]
    named = patient.config.train.augment or "none"
    if not images or patient.output.kind != "category" or named == "none":
        return Finding("augmentation", "fine", None, "No image is changed in training")
    rows = patient.drawn(2 * SOME)
    batch, truth = patient.batch(rows), patient.truths(rows)
    change, right = augment(named), []
    for changed in (False, True):
        seen = dict(batch)
        if changed:
            seen |= {n: change(batch[n], generator(patient.config.seed, "doctor")) for n in images}
        with torch.inference_mode():
            chosen = patient.trained.predict(seen, len(rows))[patient.output.name].argmax(1).cpu().numpy()
        right.append(float((chosen == truth).mean()))
    lost = right[0] - right[1]
    if lost <= GAP and right[0] < KNOWS:
        simple = _simple(batch, truth, change, images, patient.config.seed)
        if simple is not None and simple[0] - max(right) > GAP and simple[0] - simple[1] > 2 * GAP:
            return Finding(
                "augmentation", "warning", simple[0] - simple[1],
                f"It has learned little; a linear model has accuracy {simple[0]:.3f} on images as they are, "
                f"{simple[1]:.3f} as {named} changes them: it may change what they mean.",
                "Train without it.", patient.command({"train.augment": "none"}),
            )  # fmt: skip
    said = f"Accuracy {right[0]:.3f} on training images as they are, {right[1]:.3f} as {named} changes them"
    if lost > GAP:
        return Finding(
            "augmentation", "severe" if lost > 2 * GAP else "warning", lost,
            f"{said}: it changes what they mean.",
            "Take a weaker one.", patient.command({"train.augment": "shift" if named != "shift" else "none"}),
        )  # fmt: skip
    return Finding("augmentation", "fine", lost, said)


def _simple(batch: Any, truth: Any, change: Any, images: list[str], seed: int) -> tuple[float, float] | None:
    """Accuracy of a linear model, learned on half of some images, on the rest as it is and as changed."""
    half = len(truth) // 2
    if len(np.unique(truth[:half])) < 2:
        return None
    other = change(batch[images[0]], generator(seed, "doctor"))
    plain, changed = (
        np.stack([small_pixels(image) for image in pixels.cpu().numpy()])
        for pixels in (batch[images[0]], other)
    )
    model = straight(plain[:half], truth[:half])
    first, second = (float((model.predict(p[half:]) == truth[half:]).mean()) for p in (plain, changed))
    return first, second


def _number(value: float | None) -> str:
    return "nothing" if value is None else f"{value:+.3g}"
