"""The machine's measurements, the plan that follows from them, its proof on a batch, and the range test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import shinso
from shinso.config import TrainConfig
from shinso.heads import Loss
from shinso.machine import Machine, _quota, probe, this_machine, using
from shinso.memory import keep_freed_memory
from shinso.operations import Work, operations
from shinso.plan import Plan, applied, make_plan, verified
from shinso.rates import chosen, range_test
from small_runs import houses

FAST = Machine(
    processor="", accelerator="", cores=2, threads=2, memory=1 << 34,
    matmul={"fp32": 2e11, "onednn": 9e11, "bf16": 1e12}, errors={"fp32": 3e-7, "onednn": 2e-3, "bf16": 2e-3},
    convolution={"fp32": 1e11}, bandwidth=1e10,
)  # fmt: skip
SLOW = replace(FAST, matmul={"fp32": 2e11, "onednn": 4e11}, errors={"fp32": 3e-7, "onednn": 4e-7})
BF16 = Plan("cpu", "bf16", 1)


def test_what_is_measured_is_plausible_kept_and_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHINSO_CACHE", str(tmp_path))
    found = this_machine(1)
    assert found.matmul["fp32"] > 1e9 and found.convolution["fp32"] > 1e9 and found.bandwidth > 1e8
    assert found.errors["fp32"] < 1e-5 and found.memory > 1 << 28 and found.cores >= 1
    assert this_machine(1) == found and len(list(tmp_path.glob("machine-*.json"))) == 1


@pytest.mark.parametrize("content", ["", "{}", '{"matmul": 1}', "[1]"])
def test_a_damaged_measurement_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setenv("SHINSO_CACHE", str(tmp_path))
    this_machine(1)
    (path,) = tmp_path.glob("machine-*.json")
    path.write_text(content)
    assert this_machine(1).matmul["fp32"] > 0
    assert json.loads(path.read_text("utf-8"))["matmul"]["fp32"] > 0


def test_measuring_leaves_torch_as_it_was() -> None:
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    probe(1)
    with using(1, onednn=True):
        assert torch.get_float32_matmul_precision() == "medium"
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before


def test_the_quota_of_a_control_group_counts(tmp_path: Path) -> None:
    assert _quota(tmp_path) > 1000
    (tmp_path / "cpu.max").write_text("150000 100000")
    assert _quota(tmp_path) == 2
    (tmp_path / "cpu.max").write_text("max 100000")
    assert _quota(tmp_path) > 1000


def test_the_plan_follows_the_measurements_and_the_user() -> None:
    assert make_plan(TrainConfig(), FAST).precision == "bf16"
    assert not make_plan(TrainConfig(), FAST).onednn  # faster, but no longer fp32
    slow = make_plan(TrainConfig(), SLOW)
    assert (slow.precision, slow.onednn) == ("fp32", True)
    assert make_plan(TrainConfig(precision="bf16", threads=3), SLOW).precision == "bf16"
    assert make_plan(TrainConfig(precision="bf16", threads=3), SLOW).threads == 3
    assert FAST.roof("fp32", onednn=True) == 9e11 and SLOW.roof("bf16") == 2e11


def test_a_plan_is_restored_as_far_as_the_machine_can_follow_it() -> None:
    plan = make_plan(TrainConfig(), FAST)
    stored = json.loads(json.dumps(plan.to_dict()))
    assert Plan.restore(stored, FAST) == plan
    assert Plan.restore(stored, SLOW).precision == "fp32"


def test_applying_a_plan_ends_with_the_block() -> None:
    before = torch.get_num_threads()
    with applied(Plan("cpu", "fp32", before + 1, onednn=True)):
        assert torch.get_num_threads() == before + 1
        assert torch.get_float32_matmul_precision() == "medium"
    assert torch.get_num_threads() == before
    assert torch.get_float32_matmul_precision() == "highest"


class Bent(torch.autograd.Function):
    """The identity whose result or gradient is spoilt in bf16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, spoil: str) -> Tensor:
        ctx.spoil = spoil if x.dtype is torch.bfloat16 else ""
        if ctx.spoil == "loss":
            return x * 1.5
        return x * float("nan") if ctx.spoil == "nan" else x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return (-gradients[0] if ctx.spoil == "gradient" else gradients[0]), None


def probed(spoil: str) -> tuple[nn.Module, Callable[[], dict[str, Loss]]]:
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.rand(p.shape, generator=generator) - 0.3)
    x = torch.randn(32, 8, generator=generator)

    def losses() -> dict[str, Loss]:
        found = Bent.apply(module(x), spoil).float()
        if spoil == "error" and torch.is_autocast_enabled("cpu"):
            raise RuntimeError("could not create a primitive descriptor")
        return {"y": Loss(((found - 3) ** 2).sum(), torch.tensor(32.0))}

    return module, losses


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [("nan", "not finite"), ("loss", "the loss of a batch"), ("gradient", "elsewhere"), ("error", "cannot")],
)
def test_bf16_is_refused_where_it_is_clearly_worse(spoil: str, reason: str) -> None:
    module, losses = probed(spoil)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    plan = verified(BF16, module, losses)
    assert plan.precision == "fp32" and reason in plan.reasons[0]
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_bf16_is_kept_where_it_does_no_harm() -> None:
    module, losses = probed("")
    assert verified(BF16, module, losses) is BF16


def test_a_processor_without_bf16_instructions_trains_in_fp32(tmp_path: Path) -> None:
    """The same command, with oneDNN held to AVX2: as on a machine of 2013."""
    data = tmp_path / "numbers.csv"
    data.write_text("a,b,y\n" + "".join(f"{i % 7},{i % 5},{(i % 7) * (i % 5)}\n" for i in range(200)))
    command = [sys.executable, "-m", "shinso", "train", str(data), "--predict", "y", "--out", "run"]
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "SHINSO_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [*command, "--set", "train.epochs=1"], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    plan = json.loads((tmp_path / "run" / "environment.json").read_text("utf-8"))["plan"]
    assert plan["precision"] == "fp32" and "no fast bf16" in plan["reasons"][0]


def test_a_run_records_its_plan_and_the_rate_of_its_phases(tmp_path: Path) -> None:
    settings = {"train.epochs": 2, "train.precision": "fp32"}
    run = shinso.train(houses(), predict="price", out=tmp_path / "run", settings=settings, quiet=True)
    plan = json.loads((tmp_path / "run" / "environment.json").read_text("utf-8"))["plan"]
    assert plan["reasons"] == ["fp32: set by you"]
    phases = run.evaluation["training"]["phases"]
    assert phases.keys() >= {"input", "compute", "update", "validate", "checkpoint", "predict"}
    for name in ("compute", "validate", "predict"):
        assert 0 < phases[name]["share_of_roof"] < 1 and phases[name]["flops"] > 0


def test_operations_of_recurrent_layers_are_counted() -> None:
    layer, x = nn.LSTM(8, 16, batch_first=True), torch.randn(4, 10, 8)
    forward = operations(lambda: layer(x))
    assert forward == 2 * 4 * 10 * 4 * 16 * (8 + 16)
    assert operations(lambda: layer(x)[0].sum().backward()) == 3 * forward


def test_batches_of_other_shapes_are_counted_by_their_size() -> None:
    work = Work()
    for rows in (*range(1, 31), 2):
        x = torch.ones(rows, 3)
        with work.counting({"x": x}):
            x @ torch.ones(3, 5)
    assert work.operations == pytest.approx(2 * 3 * 5 * (sum(range(1, 31)) + 2))


def test_the_range_test_finds_a_rate_that_trains_and_leaves_the_weights() -> None:
    module, losses = probed("")

    class Same:
        def __len__(self) -> int:
            return 10

        def epoch(self, epoch: int, start: int = 0) -> Any:
            return iter([(range(32), {})] * 10)

    before = {name: value.clone() for name, value in module.state_dict().items()}
    config = TrainConfig(optimizer="adamw", learning_rate=1e-3, weight_decay=0.0)
    found = range_test(module, Same(), lambda batch, rows: losses(), config, Plan("cpu", "fp32", 1), steps=60)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert 1e-4 < found.suggested < found.lowest < 10
    assert min(found.losses) < 0.7 * found.losses[0]
    assert chosen([1.0, 2.0], [1.0, 2.0]) == (1.0, 1.0)


def test_machine_and_range_test_as_commands(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "shinso"]
    shown = subprocess.run([*command, "machine", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout)["matmul"]["fp32"] > 1e9
    data = tmp_path / "numbers.csv"
    data.write_text("a,b,y\n" + "".join(f"{i % 7},{i % 5},{(i % 7) * (i % 5)}\n" for i in range(200)))
    wrong = [*command, "find-rate", str(data), "--predict", "y", "--steps", "3"]
    done = subprocess.run(wrong, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "at least 10 steps" in done.stderr
    found = shinso.find_rate(str(data), predict="y", steps=40, quiet=True)
    assert len(found["rates"]) == len(found["losses"]) and 1e-6 <= found["suggested"] <= 10


def test_freed_memory_is_kept_on_linux() -> None:
    assert keep_freed_memory() == sys.platform.startswith("linux") or "musl" in sys.version
    assert asdict(FAST)["cores"] == 2
