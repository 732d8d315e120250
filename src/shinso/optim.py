"""What moves the weights: parameter groups, optimizers, and learning rates as pure functions of the step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
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


class Rule(ABC):
    """How the weights of some groups are moved by their gradients, and what it remembers of each weight.

    The arithmetic of torch.optim, to which each rule is tested to be equal. Its classes are not used: the
    first of them that is made imports torch's compiler, a second and 70 MB that a training has no use for.
    """

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self.state: dict[int, dict[str, Tensor]] = {}  # by the place of the weight among all of the rule's

    @torch.no_grad()
    def step(self) -> None:
        """Move every weight that has a gradient."""
        first = 0
        for group in self.groups:
            there = [(first + i, p) for i, p in enumerate(group["params"]) if p.grad is not None]
            first += len(group["params"])
            if there:
                states = [self.state.get(i) or self.state.setdefault(i, self.remember(p)) for i, p in there]
                weights = [p for _, p in there]
                self.move(weights, [p.grad for p in weights], states, group)

    @abstractmethod
    def remember(self, p: Tensor) -> dict[str, Tensor]:
        """What is remembered of a weight before its first step."""

    @abstractmethod
    def move(
        self, weights: list[Tensor], gradients: list[Tensor], states: list[dict[str, Tensor]],
        group: dict[str, Any],
    ) -> None:  # fmt: skip
        """Move the weights of one group in place."""


class Muon(Rule):
    """Momentum whose matrix updates are made orthogonal by a Newton-Schulz iteration.

    Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024. Filters of convolutions
    are flattened to (out, in * height * width). The update is scaled to the root mean square of an Adam
    update (Liu et al., 2025), so that learning rates carry over between layers of different shape. Matrices
    of one shape are moved together: few large products.
    """

    def remember(self, p: Tensor) -> dict[str, Tensor]:
        return {"momentum_buffer": torch.zeros_like(p)}

    def move(
        self, weights: list[Tensor], gradients: list[Tensor], states: list[dict[str, Tensor]],
        group: dict[str, Any],
    ) -> None:  # fmt: skip
        buffers = [state["momentum_buffer"] for state in states]
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        updates = torch._foreach_lerp(gradients, buffers, group["momentum"])  # Nesterov: towards the means
        alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
        for p, update in zip(weights, updates, strict=True):
            alike.setdefault((len(p), p[0].numel()), []).append((p, update))
        for (rows, columns), pairs in alike.items():
            moved = [p for p, _ in pairs]
            made_KMN = orthogonalise(torch.stack([update.reshape(rows, columns) for _, update in pairs]))
            moves = [m.reshape(p.shape).to(p.dtype) for m, p in zip(made_KMN, moved, strict=True)]
            torch._foreach_mul_(moved, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(moved, moves, alpha=-group["lr"] * 0.2 * math.sqrt(max(rows, columns)))


class Sgd(Rule):
    """The gradient with momentum and Nesterov's look ahead; the gradient alone where momentum is 0."""

    def remember(self, p: Tensor) -> dict[str, Tensor]:
        return {"momentum_buffer": torch.zeros_like(p)}

    def move(
        self, weights: list[Tensor], gradients: list[Tensor], states: list[dict[str, Tensor]],
        group: dict[str, Any],
    ) -> None:  # fmt: skip
        decayed = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
        if group["momentum"]:
            buffers = [state["momentum_buffer"] for state in states]
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, decayed)
            torch._foreach_add_(decayed, buffers, alpha=group["momentum"])
        torch._foreach_add_(weights, decayed, alpha=-group["lr"])


class Adagrad(Rule):
    """Each weight's own rate falls with the sum of its squared gradients (Duchi et al., 2011)."""

    def remember(self, p: Tensor) -> dict[str, Tensor]:
        return {"sum": torch.zeros_like(p)}

    def move(
        self, weights: list[Tensor], gradients: list[Tensor], states: list[dict[str, Tensor]],
        group: dict[str, Any],
    ) -> None:  # fmt: skip
        decayed = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
        sums = [state["sum"] for state in states]
        torch._foreach_addcmul_(sums, decayed, decayed)
        roots = list(torch._foreach_sqrt(sums))
        torch._foreach_add_(roots, 1e-10)
        torch._foreach_addcdiv_(weights, decayed, roots, -group["lr"])


class RMSprop(Rule):
    """The gradient over the root of its running mean square (Tieleman and Hinton, 2012), with momentum."""

    MEAN = 0.9

    def remember(self, p: Tensor) -> dict[str, Tensor]:
        return {"square_avg": torch.zeros_like(p), "momentum_buffer": torch.zeros_like(p)}

    def move(
        self, weights: list[Tensor], gradients: list[Tensor], states: list[dict[str, Tensor]],
        group: dict[str, Any],
    ) -> None:  # fmt: skip
        decayed = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
        means = [state["square_avg"] for state in states]
        torch._foreach_mul_(means, self.MEAN)
        torch._foreach_addcmul_(means, decayed, decayed, 1 - self.MEAN)
        roots = list(torch._foreach_sqrt(means))
        torch._foreach_add_(roots, 1e-8)
        if not group["momentum"]:
            torch._foreach_addcdiv_(weights, decayed, roots, -group["lr"])
            return
        buffers = [state["momentum_buffer"] for state in states]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_addcdiv_(buffers, decayed, roots)
        torch._foreach_add_(weights, buffers, alpha=-group["lr"])


class Adam(Rule):
    """Kingma and Ba, 2015, arXiv 1412.6980, in torch's fused kernel."""

    kernel = staticmethod(torch._fused_adam_)

    def remember(self, p: Tensor) -> dict[str, Tensor]:
        zero = torch.zeros((), dtype=torch.float32, device=p.device)
        return {"step": zero, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}

    def move(
        self, weights: list[Tensor], gradients: list[Tensor], states: list[dict[str, Tensor]],
        group: dict[str, Any],
    ) -> None:  # fmt: skip
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        self.kernel(
            weights, gradients, [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states], [], steps,
            lr=group["lr"], beta1=group["betas"][0], beta2=group["betas"][1],
            weight_decay=group["weight_decay"], eps=1e-8, amsgrad=False, maximize=False, grad_scale=None,
            found_inf=None,
        )  # fmt: skip


class AdamW(Adam):
    """Adam whose weight decay does not pass through the gradient (Loshchilov and Hutter, 2019)."""

    kernel = staticmethod(torch._fused_adamw_)


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


# What moves the weights that Muon does not. AdamW decouples weight decay; the others add it to the gradient.
OPTIMIZERS: dict[str, type[Rule]] = {
    "sgd": Sgd, "adagrad": Adagrad, "rmsprop": RMSprop, "adam": Adam, "adamw": AdamW, "muon": AdamW,
}  # fmt: skip
MOMENTUM = {"sgd": 0.9, "rmsprop": 0.0}  # where it is not set
BETAS = (0.9, 0.999)


class Optimizer:
    """One or two rules and the base learning rate of each of their groups."""

    def __init__(self, module: nn.Module, config: TrainConfig, rates: dict[str, float]) -> None:
        assert config.learning_rate is not None and config.optimizer is not None
        self.parts: list[Rule] = []
        groups, momentum = parameter_groups(module, config, rates), config.momentum
        for group in groups["matrices"]:
            group["momentum"] = 0.95 if momentum is None else momentum
        for group in groups["others"]:
            if config.optimizer in MOMENTUM:
                group["momentum"] = MOMENTUM[config.optimizer] if momentum is None else momentum
            else:
                group["betas"] = BETAS
        if groups["matrices"]:
            self.parts.append(Muon(groups["matrices"]))
        if groups["others"]:
            self.parts.append(OPTIMIZERS[config.optimizer](groups["others"]))
        self.base = [[g["lr"] for g in part.groups] for part in self.parts]

    def step(self, factor: float, momentum: float | None = None) -> None:
        """Move every weight at `factor` times its base learning rate, then clear the gradients."""
        for part, rates in zip(self.parts, self.base, strict=True):
            for group, rate in zip(part.groups, rates, strict=True):
                group["lr"] = rate * factor
                if momentum is not None and "betas" in group:
                    group["betas"] = (momentum, group["betas"][1])
                elif momentum is not None and group.get("momentum"):
                    group["momentum"] = momentum
            part.step()
        self.zero_grad()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            for group in part.groups:
                for p in group["params"]:
                    p.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """The whole state as named tensors, for a checkpoint without pickle."""
        return {
            f"{i}.{j}.{key}": value
            for i, part in enumerate(self.parts)
            for j, state in part.state.items()
            for key, value in state.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        for part in self.parts:
            part.state.clear()
        for name, value in tensors.items():
            which, parameter, key = name.split(".")
            part = self.parts[int(which)]
            weights = [p for group in part.groups for p in group["params"]]
            device = weights[int(parameter)].device
            part.state.setdefault(int(parameter), {})[key] = value.to(device)


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
