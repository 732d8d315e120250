"""The training loop: exact resume, accumulation by true counts, averages, skipped steps, early ends."""

from __future__ import annotations

import copy
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shinso.checkpoints import Progress
from shinso.config import TrainConfig
from shinso.errors import ShinsoError
from shinso.heads import Loss
from shinso.loop import Batch, backward, fit
from shinso.optim import Muon, Optimizer, learning_rate, momentum, orthogonalise
from shinso.plan import Plan

FP32 = Plan("cpu", "fp32", 1)
BF16 = Plan("cpu", "bf16", 1)
ROWS = 48


class Rows:
    """Batches of made-up rows in an order that is a function of the epoch."""

    def __init__(self, batch_size: int = 8) -> None:
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(ROWS, 6)).astype(np.float32)
        self.y = (self.x[:, 0] * self.x[:, 1]).astype(np.float32)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return ROWS // self.batch_size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Any, dict[str, Any]]]:
        rows = np.random.default_rng(epoch).permutation(ROWS).reshape(len(self), -1)
        for chosen in rows[start:]:
            yield chosen, {"x": self.x[chosen], "y": self.y[chosen]}


class Memory:
    """A keeper in memory that can stop the loop after some step, and hand its state to another loop."""

    def __init__(self, stop_after: int | None = None, saved: Any = None, every: int = 1) -> None:
        self.stop_after, self.saved, self.every = stop_after, saved, every
        self.entries: list[dict[str, Any]] = []
        self.step = 0

    def restore(self) -> Any:
        return None if self.saved is None else copy.deepcopy(self.saved)

    def save(
        self, progress: Progress, groups: Callable[[], dict[str, dict[str, Tensor]]], *, now: bool
    ) -> None:
        self.step = progress.step
        if self.stop_after is not None and progress.step == self.stop_after:
            self.saved = copy.deepcopy((progress, groups()))
            raise KeyboardInterrupt

    def planned_steps(self, progress: Progress, most: int) -> int:
        return progress.total_steps

    def must_stop(self) -> str:
        return ""

    def report(self, progress: Progress, entry: dict[str, Any]) -> None:
        self.entries.append(entry)


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(6, 32),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(32, 32),
            nn.ReLU(),
            nn.Linear(32, 1),
        )


def squared(module: nn.Module) -> Callable[[Batch, int], dict[str, Loss]]:
    def losses(batch: Batch, rows: int) -> dict[str, Loss]:
        error = (module(batch["x"]).squeeze(1).float() - batch["y"]) ** 2
        return {"y": Loss(error.sum(), torch.tensor(float(rows)))}

    return losses


def settings(**changes: Any) -> TrainConfig:
    chosen = {
        "optimizer": "adamw", "learning_rate": 1e-2, "weight_decay": 0.01, "epochs": 4, "schedule": "cosine",
        "warmup": 0.1, "clip": 1.0, "ema": 0.9, "patience": 0, **changes,
    }  # fmt: skip
    return TrainConfig(**chosen)


def run(config: TrainConfig, keeper: Memory, plan: Plan = FP32, *, validated: bool = True) -> nn.Module:
    module, rows = network(), Rows()

    def score() -> tuple[float, dict[str, Any]]:
        with torch.no_grad():
            value = float(
                ((module(torch.from_numpy(rows.x)).squeeze(1) - torch.from_numpy(rows.y)) ** 2).mean()
            )
        return value, {"y": {"mse": value}}

    fit(
        module, rows, squared(module), config, plan, keeper=keeper, score=score if validated else None, seed=3
    )
    return module


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("plan", [FP32, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "muon", "accumulate": 2},
        {"optimizer": "sgd", "ema": 0.0},
        {"optimizer": "adam", "schedule": "onecycle", "warmup": None},
        {"optimizer": "rmsprop", "schedule": "step"},
        {"optimizer": "adagrad", "schedule": "exponential"},
    ],
    ids=["adamw", "muon", "sgd", "adam", "rmsprop", "adagrad"],
)
def test_stopping_at_any_step_and_resuming_gives_the_same_bits(plan: Plan, changes: dict[str, Any]) -> None:
    config = settings(**changes)
    straight = Memory()
    expected = run(config, straight, plan)
    for stop in (1, 5, 6, 13, 23):  # first step, before and at the end of an epoch, mid-epoch, last but one
        first = Memory(stop_after=stop)
        with pytest.raises(KeyboardInterrupt):
            run(config, first, plan)
        second = Memory(saved=first.saved)
        assert same(run(config, second, plan), expected), f"stopped after step {stop}"
        assert first.entries + second.entries == straight.entries


def test_same_seed_same_bits_and_the_users_generator_is_left_alone() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    one = run(settings(), Memory())
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert same(one, run(settings(), Memory()))


def test_the_loop_learns_and_keeps_the_best_weights() -> None:
    keeper = Memory()
    run(settings(epochs=60), keeper)
    scores = [e["validation"]["y"]["mse"] for e in keeper.entries]
    assert min(scores) < 0.5 * scores[0]
    assert [e["best"] for e in keeper.entries] == [s == min(scores[: i + 1]) for i, s in enumerate(scores)]


def test_without_validation_the_last_weights_are_kept() -> None:
    keeper = Memory()
    run(settings(ema=0.0), keeper, validated=False)
    assert keeper.entries[-1]["best"]


class Tokens(nn.Module):
    """Rows of unequal numbers of targets, as texts have."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5, -0.25]))

    def losses(self, batch: Batch, rows: int) -> dict[str, Loss]:
        error = (batch["x"] * self.weight).sum(-1) - batch["y"]
        known = ~batch["y"].isnan()
        return {
            "a": Loss((error.nan_to_num() ** 2 * known).sum(), known.sum().float()),
            "b": Loss(error.nan_to_num().abs()[: rows // 2 + 1].sum(), torch.tensor(float(rows // 2 + 1))),
        }


def test_accumulation_divides_by_what_was_really_counted() -> None:
    rng = torch.Generator().manual_seed(0)
    batch = {"x": torch.randn(12, 5, 2, generator=rng), "y": torch.randn(12, 5, generator=rng)}
    batch["y"][:5, 1:] = torch.nan  # the first rows have one target, the others five
    known = ~batch["y"].isnan()
    module = Tokens()
    only = lambda b, n: {"a": module.losses(b, n)["a"]}  # noqa: E731
    whole = backward(module, only, batch, 12, 1, FP32)
    expected = module.weight.grad.clone()
    module.weight.grad = None
    parts = backward(module, only, batch, 12, 4, FP32)
    assert known.sum() == 40
    assert torch.allclose(module.weight.grad, expected, rtol=1e-6)
    assert parts["a"] == pytest.approx(whole["a"], rel=1e-6)


def test_steps_without_a_finite_loss_are_skipped_and_change_nothing() -> None:
    module, rows = network(), Rows()
    rows.x[5] = np.inf
    keeper = Memory()
    fit(module, rows, squared(module), settings(epochs=2), FP32, keeper=keeper, seed=3)
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_a_loss_that_is_never_finite_is_an_error_that_helps() -> None:
    module, rows = network(), Rows()
    rows.x[:] = np.nan
    with pytest.raises(ShinsoError, match="Lower the learning rate"):
        fit(
            module, rows, squared(module), settings(epochs=9), FP32, keeper=Memory(), seed=3,
            score=lambda: (float("nan"), {}),
        )  # fmt: skip


def test_patience_ends_training_early() -> None:
    module, rows, keeper = network(), Rows(), Memory()
    values = iter([3.0, 2.0, 2.5, 2.5, 2.5, 2.5])
    fitted = fit(
        module, rows, squared(module), settings(epochs=50, patience=3), FP32, keeper=keeper, seed=3,
        score=lambda: (next(values), {}),
    )  # fmt: skip
    assert len(keeper.entries) == 5 and "no better" in fitted.progress.stopped


def test_learning_rate_rises_then_falls() -> None:
    for schedule, end in (("cosine", 0.0), ("linear", 0.0), ("constant", 1.0)):
        config = TrainConfig(schedule=schedule, warmup=0.1)
        values = [learning_rate(p, config) for p in np.linspace(0, 1, 101)]
        assert values[5] == pytest.approx(0.5) and values[10] == pytest.approx(1.0)
        assert values[100] == pytest.approx(end, abs=1e-9)
        assert all(b >= a for a, b in itertools.pairwise(values[:11]))
        assert all(b <= a + 1e-12 for a, b in itertools.pairwise(values[10:]))


def test_step_exponential_and_one_cycle_schedules() -> None:
    step = TrainConfig(schedule="step", drops=2, decay=0.1)
    assert [learning_rate(p, step) for p in (0.0, 0.3, 0.34, 0.6, 0.67, 1.0)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )
    exponential = TrainConfig(schedule="exponential", decay=0.01)
    assert [learning_rate(p, exponential) for p in (0.0, 0.5, 1.0)] == pytest.approx([1, 0.1, 0.01])
    cycle = TrainConfig(schedule="onecycle")
    rates = [learning_rate(p, cycle) for p in np.linspace(0, 1, 101)]
    assert rates[0] == pytest.approx(0.04, abs=1e-3) and rates[25] == pytest.approx(1) and rates[100] < 1e-5
    assert [momentum(p, cycle) for p in (0.0, 0.25, 1.0)] == pytest.approx([0.95, 0.85, 0.95])
    assert momentum(0.5, step) is None


def test_one_cycle_moves_the_momentum_of_the_optimizer() -> None:
    for name, key in (("adamw", "betas"), ("sgd", "momentum")):
        optimizer = Optimizer(network(), settings(optimizer=name), {})
        optimizer.step(0.5, 0.87)
        values = [group[key] for group in optimizer.parts[0].groups]
        assert all((value[0] if name == "adamw" else value) == 0.87 for value in values)


@pytest.mark.parametrize(
    ("name", "rate"),
    [("sgd", 0.03), ("adagrad", 0.1), ("rmsprop", 3e-3), ("adam", 1e-2), ("adamw", 1e-2), ("muon", 1e-2)],
)
def test_every_optimizer_learns_a_product(name: str, rate: float) -> None:
    keeper = Memory()
    run(settings(optimizer=name, learning_rate=rate, epochs=30, warmup=0.05), keeper)
    errors = [entry["validation"]["y"]["mse"] for entry in keeper.entries]
    assert min(errors) < 0.5 * errors[0]


def test_a_module_of_ones_own_trains_without_a_run_directory() -> None:
    module, rows = network(), Rows()
    fitted = fit(module, rows, squared(module), settings(), FP32)
    assert fitted.progress.step == 24 and fitted.work.seconds.keys() >= {"input", "compute", "update"}
    products = 2 * 8 * (6 * 32 + 32 * 32 + 32)
    assert fitted.work.operations == 24 * (3 * products - 2 * 8 * 6 * 32)  # no gradient of the input


def test_muon_makes_updates_orthogonal_and_restores() -> None:
    matrix = torch.randn(24, 40, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrix.unsqueeze(0))[0].float())
    assert values.max() < 1.3 and values.min() > 0.5
    module = network()
    config = settings(optimizer="muon")
    optimizer = Optimizer(module, config, {})
    assert isinstance(optimizer.parts[0], Muon)
    names = {p.ndim for g in optimizer.parts[0].groups for p in g["params"]}
    assert names == {2}


def test_weight_decay_only_touches_matrices() -> None:
    optimizer = Optimizer(network(), settings(weight_decay=0.5), {})
    for group in optimizer.parts[0].groups:
        assert all((p.ndim >= 2) == (group["weight_decay"] > 0) for p in group["params"])


@pytest.mark.parametrize(
    ("name", "momentum_set", "reference"),
    [
        ("sgd", None, lambda ps, lr: torch.optim.SGD(ps, lr, 0.9, weight_decay=0.1, nesterov=True)),
        ("sgd", 0.0, lambda ps, lr: torch.optim.SGD(ps, lr, weight_decay=0.1)),
        ("adagrad", None, lambda ps, lr: torch.optim.Adagrad(ps, lr, weight_decay=0.1)),
        ("rmsprop", None, lambda ps, lr: torch.optim.RMSprop(ps, lr, 0.9, weight_decay=0.1)),
        ("rmsprop", 0.5, lambda ps, lr: torch.optim.RMSprop(ps, lr, 0.9, weight_decay=0.1, momentum=0.5)),
        ("adam", None, lambda ps, lr: torch.optim.Adam(ps, lr, weight_decay=0.1)),
        ("adamw", None, lambda ps, lr: torch.optim.AdamW(ps, lr, weight_decay=0.1)),
    ],
)
def test_optimizers_equal_those_of_torch(name: str, momentum_set: float | None, reference: Any) -> None:
    weights = [torch.randn(4, 3, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    ours, theirs = (nn.ParameterList([w.clone() for w in weights]) for _ in range(2))
    config = settings(optimizer=name, learning_rate=0.03, weight_decay=0.1, momentum=momentum_set)
    optimizer, other = Optimizer(ours, config, {}), reference(theirs.parameters(), 0.03)
    for step in range(5):
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            if step == 2 and i == 1:
                continue  # a weight that this batch did not use
            made = torch.randn(4, 3, generator=torch.Generator().manual_seed(10 * step + i))
            a.grad, b.grad = made.clone(), made.clone()
        optimizer.step(1.0)
        other.step()
        other.zero_grad()
        if step == 3:  # what a checkpoint holds is the whole state
            kept = {key: value.clone() for key, value in optimizer.tensors().items()}
            optimizer = Optimizer(ours, config, {})
            optimizer.restore(kept)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-7)


def test_a_training_does_not_import_the_compiler(tmp_path: Path) -> None:
    """torch._dynamo costs a second and 70 MB that a training without compilation has no use for."""
    code = (
        "import sys, torch, shinso, shinso.machine; data = {'a': list(range(80)), 'b': list(range(80))}; "
        f"shinso.train(data, predict='b', out={str(tmp_path / 'run')!r}, settings={{'train.epochs': 1}}); "
        "assert 'torch._dynamo' not in sys.modules, 'torch._dynamo'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
