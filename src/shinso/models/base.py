"""What every encoder gives, and what is known of a famous network. Names follow the public reference."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

from torch import Tensor, nn

from ..config import ModelConfig
from ..errors import SettingError
from ..features import Features
from ..layers.attentionpool import AttentionPool

Rename = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]  # a published state dict to our names


class Encoder(nn.Module, ABC):
    """Reads one column (or, for scalars, a group of them) and gives `Features`."""

    width: int  # D, the size of the tokens it gives
    members: int = 0  # K of an ensemble whose members stand where tokens would; 0 for none
    rates: ClassVar[dict[str, float]] = {}  # parameter-name prefix -> multiplier of the learning rate
    channels: tuple[int, ...] = ()  # of the maps, fine to coarse; () for `ResidualNet`'s
    attended: bool = False  # True where heads attend to the tokens instead of pooling them

    def __init__(self, column: Any, options: ModelConfig) -> None:
        super().__init__()
        self.readout: AttentionPool | None = None  # what learns behind a resting backbone, from its `states`

    def published(self) -> Published | None:
        """The part that published weights fit; None where there are none."""
        return None

    def states(self, column: Tensor) -> Features:
        """What `readout` reads; only encoders that have one give it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Published:
    """The part of an encoder that published weights fit, and the layouts that they come in."""

    module: nn.Module
    layouts: Mapping[str, Rename]  # by the library that writes it
    classifier: tuple[str, str] = ("", "")  # names of weight and bias of the layer that gives the classes
    fit: Rename = dict  # what is changed for this size, after renaming (position embeddings)


class Input(NamedTuple):
    """What published weights expect of pictures."""

    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Known:
    """A named network: what `shinso models` says of it, and its encoder for each kind of column."""

    title: str
    paper: str
    year: int
    encoders: Mapping[str, type[Encoder]]  # by kind of column; "scalars" for all scalar columns together
    parameters: int  # of the reference, classifier and all; 0 where the data decide
    flops: int = 0  # of one row at the reference input; a product and a sum count two
    input: str = ""  # the reference input
    weights: str = ""  # published files that fit
    settings: frozenset[str] = field(default_factory=frozenset)  # of the model's own that it obeys
    pixels: Callable[[str, Mapping[str, Tensor]], Input] | None = None  # by layout and renamed weights
    reference: Callable[[], Published] | None = None  # the network in its reference size


class Reading(NamedTuple):
    """What an image network sees: `maps` (B, C, H, W), fine to coarse, and `tokens` (B, N, D), if they are
    not the cells of the coarsest map."""

    maps: tuple[Tensor, ...]
    tokens: Tensor | None = None


class Backbone(nn.Module, ABC):
    """A published image network: `forward` gives logits as the reference does, `read` what precedes them."""

    width: int  # size of a token
    channels: tuple[int, ...]  # of the maps
    last: str  # name of the layer that gives the classes
    leads: bool = False  # True where the first token stands for the whole picture

    @abstractmethod
    def read(self, x_BCHW: Tensor) -> Reading:
        """Maps and tokens."""


@dataclass(frozen=True, kw_only=True)
class Architecture(ABC):
    """The sizes of one network of a family. `classes` 0 leaves the layer out that gives the classes."""

    channels: int = 3  # of the picture
    classes: int = 1000

    @abstractmethod
    def build(self) -> Backbone:
        """The network, with fresh weights."""

    @abstractmethod
    def suited(self, size: tuple[int, int], options: ModelConfig) -> Self:
        """As the user's settings say, for pictures of `size` (height, width) in pixels.

        Raises `SettingError` for a size that the family does not have, or pictures that are too small.
        """

    def least(self) -> int:
        """The shortest side of a picture, in pixels, that the network can take."""
        return 1


class Size(NamedTuple):
    """A line of a sizes table."""

    parameters: int
    flops: int  # of one picture; a product and a sum count two
    side: int  # of the reference input, in pixels


@dataclass(frozen=True, kw_only=True)
class Family:
    """Image networks of one paper: a file of `models`."""

    title: str
    paper: str
    year: int
    default: str  # the preset that the family's name stands for
    presets: Mapping[str, Architecture]
    sizes: Mapping[str, Size]
    weights: str = ""
    layouts: Mapping[str, Rename] = field(default_factory=dict)
    settings: frozenset[str] = field(default_factory=frozenset)
    pixels: Callable[[str, Mapping[str, Tensor]], Input] | None = None  # else those of ImageNet
    any_pixels: bool = False  # True where weights do not come with a size and colours


def same(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The layout whose names are ours."""
    return dict(state)


A = TypeVar("A", bound=Architecture)


def chosen(config: A, options: ModelConfig, names: tuple[str, ...]) -> A:
    """`config` with the sizes that the user set; one that the network does not have is a `SettingError`."""
    values = {name: getattr(options, name) for name in OWN}
    for name, value in values.items():
        if value is not None and name not in names:
            has = ", ".join(f"model.{n}" for n in names)
            raise SettingError(f"The model {options.name!r} has no setting model.{name}. It has: {has}.")
    known = {one.name for one in fields(config)}
    return replace(config, **{n: v for n, v in values.items() if v is not None and n in known})


OWN = ("width", "depth", "patch", "stem", "steps", "activation")  # settings of which a model has some
