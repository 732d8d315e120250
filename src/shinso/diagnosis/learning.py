"""Checks of how a network learns: one batch, gradients, the learning rate, layers that never move."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from . import inputs
from .patient import FEW, SOME, Finding, Patient, gradient_norms, steps

BATCH_STEPS = 60
LEARNED = 0.8  # share of the loss above its floor that one batch must lose
SWEEP = np.logspace(-4, 3, 57)  # factors of the set learning rate
SMOOTH = 3  # steps that a loss of the sweep is averaged over
TOO_LOW, TOO_HIGH = 40.0, 0.4  # factors between which the best learning rate is near enough
VANISHED, EXPLODED = 1e-6, 1e3
DEAD, MANY_DEAD = 0.95, 0.6
LOUD = 30.0  # root mean square of what reaches the first weights, above which it was not scaled


WEIGHING = (F.linear, F.conv1d, F.conv2d, F.conv3d)


def one_batch(patient: Patient) -> Finding:
    """Whether 32 rows can be learned by heart, at the set learning rate or a tenth or ten times of it."""
    batch = patient.batch(patient.drawn(FEW))
    best = 0.0
    for factor, train in ((1.0, False), (1.0, True), (10.0, True), (0.1, True)):
        losses = steps(patient, patient.fresh(), batch, [factor] * BATCH_STEPS, train=train)
        start, ended = losses[0], [loss for loss in losses[-5:] if math.isfinite(loss)]
        if ended:
            best = max(best, (start - min(ended)) / max(start - _floor(patient), 1e-9))
        if best >= LEARNED:
            break
    said = f"{best:.0%} of the loss on {FEW} rows is gone after {BATCH_STEPS} steps"
    if best >= LEARNED:
        return Finding("one batch", "fine", best, said)
    return Finding(
        "one batch", "severe" if best < 0.3 else "warning", best,
        f"{said}: the network cannot even learn a few rows by heart.",
        "Look for a layer that blocks the signal, a loss that does not fit, or inputs that say nothing; else "
        "give it more capacity.", patient.command({"model.width": 2 * (patient.config.model.width or 128)}),
    )  # fmt: skip


def _floor(patient: Patient) -> float:
    """The loss of a perfect answer: the entropy of the smoothed labels, else 0."""
    smooth = patient.config.train.label_smoothing or 0.0
    if patient.output.kind != "category" or not smooth:
        return 0.0
    classes = len(patient.output.to_dict()["labels"])
    other = smooth / classes
    top = 1 - smooth + other
    return -(top * math.log(top) + (classes - 1) * other * math.log(other))


def learning_rate(patient: Patient) -> Finding:
    """A range test (Smith, 2017) from a ten-thousandth to a thousand times the set rate."""
    batch = patient.batch(patient.drawn(SOME))
    losses = np.array(steps(patient, patient.fresh(), batch, SWEEP.tolist()))
    kept = losses[np.isfinite(losses)]
    if len(kept) < SMOOTH:
        return Finding(
            "learning rate",
            "note",
            None,
            "The loss is no number from the first steps on: no rate can be tried.",
        )
    smooth = np.convolve(kept, np.ones(SMOOTH) / SMOOTH, "valid")
    factors = SWEEP[SMOOTH // 2 : SMOOTH // 2 + len(smooth)]
    lowest = int(smooth.argmin())
    best, rate = float(factors[lowest]) / 3, patient.config.train.learning_rate or 0.0
    fallen = (smooth[0] - smooth[lowest]) / max(abs(smooth[0]), 1e-9)
    said = f"The loss falls furthest near {best:.2g} times the set rate {rate:g}"
    change = patient.command({"train.learning_rate": best * rate})
    if fallen < 0.02:
        return Finding("learning rate", "note", None, "No learning rate lowers the loss in a short test.")
    near = losses[(SWEEP[: len(losses)] > 0.75) & (SWEEP[: len(losses)] < 2.4)]
    burst = not len(near) or float(np.median(near)) > smooth[0]
    if burst and smooth[lowest] < 0.9 * smooth[0]:
        said = f"At the set rate {rate:g} the loss is above its start, and least near {best:.2g} times it"
        return Finding("learning rate", "severe", best, f"{said}: far too high.", "Lower it.", change)
    if best > TOO_LOW:
        return Finding("learning rate", "severe", best, f"{said}: it is far too low.", "Raise it.", change)
    if best < TOO_HIGH / 10:
        return Finding("learning rate", "severe", best, f"{said}: it is far too high.", "Lower it.", change)
    if best < TOO_HIGH / 3:
        return Finding("learning rate", "warning", best, f"{said}: it is high.", "Try a lower one.", change)
    return Finding("learning rate", "fine", best, said)


def gradients(patient: Patient) -> Finding:
    """Norms of the gradient by parameter: whether some layer gets next to none, or all too much."""
    if patient.run is None:
        network = patient.fresh()
        batch = patient.batch(patient.drawn(SOME))
        steps(patient, network, batch, [0.1] * 3)  # new blocks begin at zero and pass nothing back before
    else:
        network, batch = patient.trained, patient.batch(patient.drawn(SOME))
    norms = {n: v for n, v in gradient_norms(patient, network, batch).items() if not n.endswith("bias")}
    values = np.array(list(norms.values()))
    largest = float(values.max())
    if not math.isfinite(largest) or largest > EXPLODED:
        return Finding(
            "gradients", "severe", largest, f"The largest gradient has norm {largest:.3g}: it explodes.",
            "Clip gradients and lower the learning rate; check the scale of the inputs.",
            patient.command({"train.clip": 1.0, "train.learning_rate": _tenth(patient)}),
        )  # fmt: skip
    weakest = min(norms, key=lambda name: norms[name])
    ratio = norms[weakest] / max(largest, 1e-12)
    if ratio < VANISHED and largest > 1e-9:
        return Finding(
            "gradients", "severe", ratio,
            f"{weakest} gets {ratio:.1g} of the largest gradient: it vanishes on the way.",
            "Take fewer layers, a normalisation or shortcuts, or another reader.",
            patient.command({"model.depth": max(1, (patient.config.model.depth or 2) // 2)}),
        )  # fmt: skip
    return Finding(
        "gradients", "fine", ratio, f"Weakest against the largest {ratio:.2g}, largest {largest:.2g}"
    )


def _tenth(patient: Patient) -> float:
    return (patient.config.train.learning_rate or 0.01) / 10


def frozen(patient: Patient) -> Finding:
    """How far each weight has come from where training began; one that has not moved at all is frozen."""
    start = dict(patient.fresh().named_parameters())
    still, moved = [], []
    for name, p in patient.trained.named_parameters():
        before = start[name].detach().float()
        way = float((p.detach().float() - before).norm() / before.norm().clamp(min=1e-9))
        moved.append(way)
        if way == 0.0 and p.numel() > 1:
            still.append(name)
    middle = float(np.median(moved))
    if still:
        return Finding(
            "frozen layers", "severe", float(len(still)),
            f"{len(still)} of {len(moved)} weights are as they began, first {still[0]}: nothing trains them.",
            "See that they need a gradient, and that what they give is used.", patient.command({}),
        )  # fmt: skip
    return Finding("frozen layers", "fine", 0.0, f"All weights moved, by {middle:.2g} of their size (median)")


class Heard(TorchFunctionMode):
    """Listens to the first layer that weighs values, and keeps how large they are (root mean square)."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0.0
        self.weight: Tensor | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if self.weight is None and func in WEIGHING and len(args) > 1 and isinstance(args[0], Tensor):
            self.weight, self.size = args[1], float(args[0].detach().float().square().mean().sqrt())
        return func(*args, **(kwargs or {}))


def normalised(patient: Patient) -> Finding:
    """What columns give to the network, and how large it is where the first weights read it."""
    found = inputs.normalised(patient)
    network = patient.fresh().eval()
    rows, listener = patient.drawn(FEW), Heard()
    with torch.no_grad(), listener:
        network.features(patient.batch(rows), len(rows))
    if found.level != "fine" or listener.size <= LOUD:
        return found
    named = [name for name, p in network.named_parameters() if p is listener.weight] or ["The first layer"]
    return Finding(
        "input normalised", "severe", listener.size,
        f"{named[0]} reads values of size {listener.size:.3g}, where 1 is usual.",
        "Scale them where the model reads them, as by the mean and std that its column learned.",
        patient.command({}),
    )  # fmt: skip


class Rectified(TorchFunctionMode):
    """Listens to every ReLU and keeps the share of its units that are zero for all rows."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows, self.dead = rows, list[float]()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if func in (F.relu, torch.relu, Tensor.relu, F.relu_, torch.relu_) and isinstance(found, Tensor):
            self.keep(found)
        return found

    def keep(self, found: Tensor) -> None:
        """(B, units), (B, C, ...) or (K, B, units): what is never positive is dead."""
        if self.rows not in found.shape or found.ndim < 2:
            return
        place = found.shape.index(self.rows)
        others = [d for d in range(2, found.ndim)] if place == 0 and found.ndim > 2 else []
        self.dead.append(float((found.detach().amax([place, *others]) <= 0).float().mean()))


def dead_units(patient: Patient) -> Finding:
    """The share of units behind a ReLU that answer none of 251 rows, in the worst layer."""
    rows = patient.drawn(SOME - 5)  # a prime number of rows: no other size is taken for them
    network = patient.fresh().eval() if patient.run is None else patient.trained
    listener = Rectified(len(rows))
    with torch.no_grad(), listener:
        network.features(patient.batch(rows), len(rows))
    if not listener.dead:
        return Finding("dead units", "note", None, "There is no ReLU, so no unit can die.")
    worst = max(listener.dead)
    said = f"{worst:.0%} of the units of the worst of {len(listener.dead)} layers answer no row"
    advice = "Lower the learning rate or weight decay, or warm up longer; dead units do not come back."
    change = patient.command({"train.learning_rate": _tenth(patient), "train.warmup": 0.1})
    if worst > DEAD:
        return Finding("dead units", "severe", worst, said + ".", advice, change)
    if worst > MANY_DEAD:
        return Finding("dead units", "note", worst, said + ".", advice, change)
    return Finding("dead units", "fine", worst, said)
