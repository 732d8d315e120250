"""How a run computes on this machine: chosen by what was measured, proven on a batch of the run itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .config import TrainConfig
from .heads import Loss
from .machine import Machine, this_machine, using

WORSE = 0.02  # share by which the loss may differ from that of fp32,
ABSOLUTE = 1e-3  # or this much where it is near 0,
AGREE = 0.9  # and least cosine of the two gradients: the share of the first-order progress that is left
PROBED = 64  # rows

Losses = Callable[[], Mapping[str, Loss]]
Measured = tuple[float, list[Tensor]]  # the loss, and the gradients of the weights that have one


@dataclass(frozen=True)
class Plan:
    """How a run computes. Master weights, losses and normalisation are fp32 in every precision."""

    device: str
    precision: str  # fp32 or bf16
    threads: int
    onednn: bool = False  # products that stay in fp32 go through oneDNN, where that is as exact
    compiled: bool = False
    reasons: tuple[str, ...] = ()  # why it is so, for people

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "reasons": list(self.reasons)}

    @classmethod
    def restore(cls, stored: Mapping[str, Any], machine: Machine) -> Plan:
        """The plan of an earlier process, as far as this machine can follow it."""
        plan = cls(**{**stored, "reasons": tuple(stored.get("reasons", ()))})
        device = "cuda" if machine.accelerator else "cpu"
        if device == plan.device and (plan.precision == "fp32" or machine.fast_bf16):
            return plan
        precision = plan.precision if machine.fast_bf16 else "fp32"
        return replace(plan, device=device, precision=precision, onednn=machine.exact_onednn, compiled=False)


def make_plan(config: TrainConfig, machine: Machine | None = None) -> Plan:
    """The plan for a run: what the user set, else what this machine is good at."""
    machine = machine or this_machine(config.threads)
    return Plan(
        device="cuda" if machine.accelerator else "cpu",
        precision=_precision(config, machine),
        threads=config.threads or machine.cores,
        onednn=machine.exact_onednn and not machine.accelerator,
        compiled=config.compile == "yes" or (config.compile == "auto" and bool(machine.accelerator)),
        reasons=(_reason(config, machine),),
    )


def _precision(config: TrainConfig, machine: Machine) -> str:
    if config.precision != "auto":
        return config.precision
    return "bf16" if machine.fast_bf16 else "fp32"


def _reason(config: TrainConfig, machine: Machine) -> str:
    if config.precision != "auto":
        return f"{config.precision}: set by you"
    if not machine.fast_bf16:
        return "fp32: this machine has no fast bf16"
    return f"bf16: {machine.matmul['bf16'] / machine.matmul['fp32']:.1f} times the products a second of fp32"


@contextmanager
def applied(plan: Plan) -> Iterator[None]:
    """Inside the block torch computes as planned."""
    with using(plan.threads, onednn=plan.onednn):
        yield


def autocast(plan: Plan) -> torch.autocast:
    """The precision of the plan: bf16 products over fp32 weights, or plain fp32."""
    return torch.autocast(plan.device, torch.bfloat16, enabled=plan.precision == "bf16")


def verified(plan: Plan, module: nn.Module, losses: Losses) -> Plan:
    """`plan`, or fp32 in its place where `losses`, on a batch of the run, come out clearly worse in bf16.

    Worse is a loss that is not finite or differs by more than 2 %, or a gradient that points elsewhere
    (cosine below 0.9), or a kind of layer that the processor cannot compute. `losses` must give the same
    numbers when it is called again. `module` keeps its weights, statistics and gradients.
    """
    if plan.precision == "fp32":
        return plan
    kept = {name: value.clone() for name, value in module.named_buffers()}
    exact = _measured(replace(plan, precision="fp32"), module, losses, kept)
    try:
        fault = _fault(exact, _measured(plan, module, losses, kept))
    except RuntimeError as error:
        fault = f"this machine cannot compute it ({str(error).splitlines()[0]})"
    if not fault:
        return plan
    return replace(plan, precision="fp32", reasons=(f"fp32: in bf16 {fault}",))


def _measured(plan: Plan, module: nn.Module, losses: Losses, buffers: Mapping[str, Tensor]) -> Measured:
    """(loss, gradients) of one batch; the module is left as it was."""
    weights = [p for p in module.parameters() if p.requires_grad]
    try:
        with autocast(plan):
            found = losses()
        loss = torch.stack([one.total / one.count.clamp(min=1) for one in found.values()]).sum()
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    finally:
        with torch.no_grad():
            for name, value in module.named_buffers():
                value.copy_(buffers[name])
    return float(loss.detach()), [g.float() for g in gradients if g is not None]


def _fault(exact: Measured, fast: Measured) -> str:
    """What is wrong with the fast way, or ''. Where fp32 fails as well the precision is not at fault."""
    if not (math.isfinite(exact[0]) and _all_finite(exact[1])):
        return ""
    if not (math.isfinite(fast[0]) and _all_finite(fast[1])):
        return "the loss or its gradient is not finite"
    if abs(fast[0] - exact[0]) > WORSE * abs(exact[0]) + ABSOLUTE:
        return f"the loss of a batch is {fast[0]:.4g}, in fp32 {exact[0]:.4g}"
    size = math.sqrt(_product(exact[1], exact[1]))
    cosine = _product(exact[1], fast[1]) / max(1e-8, size * math.sqrt(_product(fast[1], fast[1])))
    if cosine < AGREE and size > 0:
        return f"the gradient points elsewhere (cosine {cosine:.2f} to that in fp32)"
    return ""


def _all_finite(gradients: list[Tensor]) -> bool:
    return all(math.isfinite(float(g.sum())) for g in gradients)


def _product(one: list[Tensor], two: list[Tensor]) -> float:
    """Of two gradients, without a copy of either: they may be as large as the network."""
    return sum(float(torch.vdot(a.reshape(-1), b.reshape(-1))) for a, b in zip(one, two, strict=True))
