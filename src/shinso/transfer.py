"""Training that begins with published weights: what rests, what thaws when, and how fast each layer learns.

What the weights went into is the backbone. Tuning it is one of

- head: the backbone rests, in evaluation mode (batch norm and dropout too); only what is behind it learns;
- gradual: it thaws from the top (ULMFiT: Howard and Ruder, ACL 2018, arXiv 1801.06146);
- all: everything learns from the first step;
- lora: low-rank changes of its matrices learn, which are merged into them at the end.

All of it is a function of the settings and of the share of training that is done, so that a run that was
stopped goes on to the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from .config import TrainConfig
from .errors import SettingError
from .layers.lora import add_adapters, merge_adapters
from .models import Encoder
from .network import Network
from .randomness import private_randomness

THAWING = 0.6  # share of training after which all is thawed
NORMS = (nn.modules.batchnorm._BatchNorm,)


@dataclass(frozen=True)
class Tuning:
    """How a network is tuned: learning rates by parameter, what thaws, and what is done at the end."""

    rates: dict[str, float]
    stage: Callable[[float], None] | None = None  # called before a step with the share of training done
    backbones: tuple[nn.Module, ...] = ()  # that have adapters

    def finish(self) -> None:
        """Make the network an ordinary one again."""
        for backbone in self.backbones:
            merge_adapters(backbone)


def tune(network: Network, config: TrainConfig, seed: int) -> Tuning:
    """Freeze, thaw or adapt the backbones of `network` as `config.tune` says, and give the learning rates."""
    backbones = backbones_of(network)
    how = config.tune if backbones else None
    adapted: tuple[nn.Module, ...] = ()
    stage: Callable[[float], None] | None = None
    if how == "head":
        rest(network, list(backbones.values()))
    elif how == "gradual":
        stage = Thawing(network, list(backbones.values()))
    elif how == "lora":
        adapted = tuple(backbones.values())
        with private_randomness(seed, "adapters"):
            _adapt(network, adapted, config.lora_rank)
    rates = network.rates()
    decay = 1.0 if config.layer_decay is None else config.layer_decay
    for prefix, backbone in backbones.items():
        for name, rate in layer_rates(backbone, decay).items():
            rates[prefix + name] = rate * rates.get(prefix + name, 1.0)
    return Tuning(rates, stage, adapted)


def backbones_of(network: Network) -> dict[str, nn.Module]:
    """What published weights fit, by the prefix of its parameters."""
    found = {}
    for key, encoder in network.encoders.items():
        assert isinstance(encoder, Encoder)
        published = encoder.published()
        if published is not None:
            names = {id(module): name for name, module in encoder.named_modules()}
            inner = names[id(published.module)]
            found[f"encoders.{key}." + (f"{inner}." if inner else "")] = published.module
    return found


def rest(network: Network, modules: Sequence[nn.Module]) -> None:
    """Keep modules as they are: no gradients, in evaluation mode whatever the network is in."""
    for module in modules:
        module.requires_grad_(requires_grad=False)
    network.resting = tuple(modules)
    network.train(network.training)


class Thawing:
    """Thaws the units of some backbones one after another, from the top."""

    def __init__(self, network: Network, backbones: Sequence[nn.Module]) -> None:
        self.network = network
        self.units = [(b, [b.get_submodule(name) for name in units(b)]) for b in backbones]
        self.frozen = -1

    def __call__(self, share: float) -> None:
        """Let learn what learns after a share of training."""
        counts = [len(p) - min(len(p), int(share / THAWING * (len(p) + 1))) for _, p in self.units]
        if sum(counts) == self.frozen:
            return
        self.frozen = sum(counts)
        resting: list[nn.Module] = []
        for (backbone, parts), frozen in zip(self.units, counts, strict=True):
            resting += parts[:frozen]
            backbone.requires_grad_(
                requires_grad=frozen == 0
            )  # parameters outside of all units lie at the bottom
            for part in parts[frozen:]:
                part.requires_grad_()
        self.network.resting = tuple(resting)
        self.network.train(self.network.training)


def _adapt(network: Network, backbones: Sequence[nn.Module], rank: int) -> None:
    if not sum(add_adapters(backbone, rank) for backbone in backbones):
        raise SettingError(
            "train.tune=lora adapts linear layers, and this model has none. Choose head, gradual or all."
        )
    network.resting = tuple(m for b in backbones for m in b.modules() if isinstance(m, NORMS))


def layer_rates(backbone: nn.Module, decay: float) -> dict[str, float]:
    """By parameter: `decay` for the top unit, its square for the one below, and so on to the bottom."""
    names = units(backbone)
    depth = {f"{name}.": len(names) - i for i, name in enumerate(names)}
    found = {}
    for name, _ in backbone.named_parameters():
        below = next((d for prefix, d in depth.items() if name.startswith(prefix)), len(names))
        found[name] = decay**below
    return found


def units(module: nn.Module) -> list[str]:
    """The names of the blocks of a network from its input to its output, as they were defined.

    >>> units(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))))
    ['0', '2.0', '2.1']
    """
    return _units(module, "", inside=isinstance(module, nn.ModuleList | nn.Sequential))


def _units(module: nn.Module, prefix: str, *, inside: bool) -> list[str]:
    found = []
    for name, child in module.named_children():
        if next(child.parameters(), None) is None:
            continue
        if isinstance(child, nn.ModuleList | nn.Sequential):
            found += _units(child, f"{prefix}{name}.", inside=True)
        elif not inside and any(isinstance(m, nn.ModuleList | nn.Sequential) for m in child.modules()):
            found += _units(child, f"{prefix}{name}.", inside=False)
        else:
            found.append(prefix + name)
    return found


def check_tuning(config: TrainConfig, weights: str | None) -> None:
    """Raise `SettingError` where there is nothing to tune."""
    if config.tune and not weights:
        raise SettingError(
            f"train.tune={config.tune} tunes a network that begins with published weights, and none were "
            f"given. Name their file with --weights, or leave --tune out."
        )
