"""What moves the weights: parameter groups, optimizers, and learning rates as pure functions of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .config import TrainConfig

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the quintic iteration (Jordan et al., 2024)
Groups = list[dict[str, Any]]
ONE_CYCLE_RISE = 0.25  # share of the steps, where warmup is not set


def learning_rate(progress: float, config: TrainConfig) -> float:
    """The factor (0 to 1) of the peak learning rate after a share `progress` of all steps.

    >>> learning_rate(1.0, TrainConfig(schedule="cosine", warmup=0.1)) < 1e-9
    True
    """
    one_cycle = config.schedule == "onecycle"
    warmup = ONE_CYCLE_RISE if one_cycle and config.warmup is None else config.warmup or 0.0
    if progress < warmup:
        risen = max(progress, 1e-3) / warmup
        return 0.04 + 0.96 * (1 - _cosine(risen)) if one_cycle else risen
    rest = min(1.0, (progress - warmup) / max(1e-9, 1 - warmup))
    return SCHEDULES[config.schedule or "cosine"](rest, config)


def _cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * share))


# How the learning rate falls after warmup: from the share of the steps that are left behind to a factor.
SCHEDULES: dict[str, Callable[[float, TrainConfig], float]] = {
    "constant": lambda share, config: 1.0,
    "linear": lambda share, config: 1 - share,
    "cosine": lambda share, config: _cosine(share),
    "onecycle": lambda share, config: max(4e-6, _cosine(share)),  # Smith & Topin 2018, arXiv 1708.07120
    "exponential": lambda share, config: (config.decay or 0.01) ** share,
    "step": lambda share, config: (config.decay or 0.1) ** min(
        config.drops, math.floor(share * (config.drops + 1))
    ),
}  # fmt: skip


def momentum(progress: float, config: TrainConfig) -> float | None:
    """The momentum (first beta) that one-cycle wants at this point: low where the rate is high; else None.

    >>> momentum(0.25, TrainConfig(schedule="onecycle"))
    0.85
    """
    if config.schedule != "onecycle":
        return None
    rise = ONE_CYCLE_RISE if config.warmup is None else config.warmup
    if progress < rise:
        return 0.85 + 0.10 * _cosine(progress / rise)
    return 0.95 - 0.10 * _cosine((progress - rise) / max(1e-9, 1 - rise))


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix updates are made orthogonal by a Newton-Schulz iteration.

    Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024. Filters of convolutions
    are flattened to (out, in * height * width). The update is scaled to the root mean square of an Adam
    update (Liu et al., 2025), so that learning rates carry over between layers of different shape.
    """

    def __init__(
        self, parameters: Iterable[Any], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step; `closure` is not used. Matrices of one shape are moved together: few large products."""
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault((len(p), p[0].numel()), []).append(p)
            for (rows, columns), parameters in alike.items():
                updates = self._updates(parameters, group["momentum"])
                made_KMN = orthogonalise(torch.stack([u.reshape(rows, columns) for u in updates]))
                moves = [m.reshape(p.shape).to(p.dtype) for m, p in zip(made_KMN, parameters, strict=True)]
                scale = 0.2 * math.sqrt(max(rows, columns))
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(parameters, moves, alpha=-group["lr"] * scale)

    def _updates(self, parameters: list[Tensor], momentum: float) -> list[Tensor]:
        """Nesterov's momentum: the gradients moved on towards their running means."""
        for p in parameters:
            if not self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in parameters]
        gradients = [p.grad for p in parameters if p.grad is not None]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        return list(torch._foreach_lerp(gradients, buffers, momentum))


def orthogonalise(matrices_KMN: Tensor, steps: int = 5) -> Tensor:
    """(K, M, N) -> (K, M, N) bfloat16: the singular values of each matrix brought to about 1."""
    a, b, c = NEWTON_SCHULZ
    x = matrices_KMN.bfloat16()
    x = x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + 1e-7)
    tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2).contiguous() if tall else x
    for _ in range(steps):
        gram = torch.bmm(x, x.transpose(1, 2))
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.transpose(1, 2) if tall else x


def _sgd(groups: Groups, config: TrainConfig) -> torch.optim.Optimizer:
    """Momentum of .9 with Nesterov's look ahead; without momentum where it is set to 0."""
    momentum = 0.9 if config.momentum is None else config.momentum
    rate = config.learning_rate or 0.0
    return torch.optim.SGD(groups, rate, momentum=momentum, nesterov=momentum > 0, foreach=True)


def _rmsprop(groups: Groups, config: TrainConfig) -> torch.optim.Optimizer:
    rate = config.learning_rate or 0.0
    return torch.optim.RMSprop(groups, rate, alpha=0.9, momentum=config.momentum or 0.0, foreach=True)


# What moves the weights that Muon does not. AdamW decouples weight decay; the others add it to the gradient.
OPTIMIZERS: dict[str, Callable[[Groups, TrainConfig], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adagrad": lambda groups, config: torch.optim.Adagrad(groups, config.learning_rate or 0.0, fused=True),
    "rmsprop": _rmsprop,
    "adam": lambda groups, config: torch.optim.Adam(groups, config.learning_rate or 0.0, fused=True),
    "adamw": lambda groups, config: torch.optim.AdamW(groups, config.learning_rate or 0.0, fused=True),
    "muon": lambda groups, config: torch.optim.AdamW(groups, config.learning_rate or 0.0, fused=True),
}


class Optimizer:
    """One or two torch optimizers and the base learning rate of each of their groups."""

    def __init__(self, module: nn.Module, config: TrainConfig, rates: dict[str, float]) -> None:
        assert config.learning_rate is not None and config.optimizer is not None
        self.parts: list[torch.optim.Optimizer] = []
        groups = parameter_groups(module, config, rates)
        decay, momentum = config.weight_decay or 0.0, config.momentum
        if groups["matrices"]:
            self.parts.append(
                Muon(groups["matrices"], config.learning_rate, 0.95 if momentum is None else momentum, decay)
            )
        if groups["others"]:
            self.parts.append(OPTIMIZERS[config.optimizer](groups["others"], config))
        self.base = [[g["lr"] for g in part.param_groups] for part in self.parts]

    def step(self, factor: float, momentum: float | None = None) -> None:
        """Move every weight at `factor` times its base learning rate, then clear the gradients."""
        for part, rates in zip(self.parts, self.base, strict=True):
            for group, rate in zip(part.param_groups, rates, strict=True):
                group["lr"] = rate * factor
                if momentum is not None and "betas" in group:
                    group["betas"] = (momentum, group["betas"][1])
                elif momentum is not None and group.get("momentum"):
                    group["momentum"] = momentum
            part.step()
            part.zero_grad(set_to_none=True)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """The whole state as named tensors, for a checkpoint without pickle."""
        found = {}
        for i, part in enumerate(self.parts):
            for j, state in part.state_dict()["state"].items():
                for key, value in state.items():
                    found[f"{i}.{j}.{key}"] = value
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        for i, part in enumerate(self.parts):
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                which, parameter, key = name.split(".")
                if int(which) == i:
                    state.setdefault(int(parameter), {})[key] = value
            part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})


def parameter_groups(
    module: nn.Module, config: TrainConfig, rates: dict[str, float]
) -> dict[str, list[dict[str, Any]]]:
    """Parameters by what should move them: weight decay on matrices and filters, Muon where asked."""
    embeddings = {
        id(p)
        for m in module.modules()
        if isinstance(m, nn.Embedding | nn.EmbeddingBag)
        for p in m.parameters(recurse=False)
    }
    groups: dict[tuple[str, float, float], list[nn.Parameter]] = {}
    for name, p in module.named_parameters():
        if not p.requires_grad:
            continue
        matrix = p.ndim in (2, 4) and id(p) not in embeddings and not name.startswith("heads.")
        side = "matrices" if matrix and config.optimizer == "muon" else "others"
        decay = (config.weight_decay or 0.0) if p.ndim >= 2 else 0.0
        groups.setdefault((side, decay, rates.get(name, 1.0)), []).append(p)
    found: dict[str, list[dict[str, Any]]] = {"matrices": [], "others": []}
    for (side, decay, rate), parameters in groups.items():
        peak = (config.learning_rate or 0.0) * rate
        found[side].append({"params": parameters, "weight_decay": decay, "lr": peak})
    return found


class Average:
    """Exponential moving average of the weights and running statistics: what is evaluated."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def update(self, module: nn.Module, step: int) -> None:
        """Move the average towards the weights; the decay grows with `step`: the start is forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        state = module.state_dict()
        floats = [n for n, v in self.values.items() if v.is_floating_point()]
        torch._foreach_lerp_([self.values[n] for n in floats], [state[n] for n in floats], 1 - decay)
        for name, value in self.values.items():
            if not value.is_floating_point():
                value.copy_(state[name])
