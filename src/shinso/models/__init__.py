"""One file an architecture. To add one: write the file, add it to MODELS (CONTRIBUTING.md has the recipe)."""

from __future__ import annotations

from importlib import import_module

from ..columns import Column
from ..config import ModelConfig
from ..errors import DataError, SettingError, did_you_mean
from .audio import AudioNet
from .base import Encoder
from .bert import PRESETS as BERTS
from .bert import BertNet
from .gpt import PRESETS as GPTS
from .gpt import GptNet
from .ngrams import NgramNet
from .peephole import PeepholeLstm
from .recurrent import Elman, Gru, Lstm
from .residual import ResidualNet
from .scalars import Scalars
from .series import SeriesNet
from .t5 import PRESETS as T5S
from .t5 import T5Net
from .text import TextNet
from .transformer import PRESETS as TRANSFORMERS
from .transformer import TransformerNet

# preset name -> (kind of column it reads, class)
MODELS: dict[str, tuple[str, type[Encoder]]] = {
    "residual": ("image", ResidualNet),
    "ngrams": ("text", NgramNet),
    "text": ("text", TextNet),
    "series": ("series", SeriesNet),
    "audio": ("audio", AudioNet),
    "rnn": ("text", Elman),
    "rnn-series": ("series", Elman),
    "lstm": ("text", Lstm),
    "lstm-series": ("series", Lstm),
    "peephole": ("text", PeepholeLstm),
    "peephole-series": ("series", PeepholeLstm),
    "gru": ("text", Gru),
    "gru-series": ("series", Gru),
    **{name: ("text", BertNet) for name in BERTS},
    **{name: ("text", GptNet) for name in GPTS},
    **{name: ("text", TransformerNet) for name in TRANSFORMERS},
    **{name: ("text", T5Net) for name in T5S},
}

DEFAULTS: dict[str, str] = {"image": "residual", "text": "ngrams", "series": "series", "audio": "audio"}
# What is read for heads that attend to tokens (text, series, images) instead of pooling them.
SEQUENCES: dict[str, str] = {"text": "text"}

__all__ = ["DEFAULTS", "MODELS", "Encoder", "Scalars", "encoder_for"]


def encoder_for(column: Column, options: ModelConfig, *, pooled: bool = True) -> Encoder:
    """The encoder that reads one column: the one named in the settings, else the default of its kind."""
    if options.name and ":" in options.name:
        return _user_encoder(options.name)(column, options)
    if options.name and options.name not in MODELS:
        raise SettingError(f"There is no model {options.name!r}. {did_you_mean(options.name, MODELS)}")
    # A name alone stands for the reader of any kind: of a series `lstm` is `lstm-series`.
    for name in (options.name, f"{options.name}-{column.kind}"):
        if name in MODELS and MODELS[name][0] == column.kind:
            return MODELS[name][1](column, options)
    if column.kind not in DEFAULTS:
        raise DataError(
            f"Column {column.name!r} is of type {column.kind}, which no model reads yet. "
            f"Leave it out of the given columns, or name a model of your own: "
            f"--set model.name=my_module:MyEncoder."
        )
    default = DEFAULTS[column.kind] if pooled else SEQUENCES.get(column.kind, DEFAULTS[column.kind])
    return MODELS[default][1](column, options)


def _user_encoder(path: str) -> type[Encoder]:
    module_name, _, class_name = path.partition(":")
    try:
        found = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise SettingError(
            f"Model {path!r} could not be imported: {error}. Expected my_module:MyEncoder."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Encoder)):
        raise SettingError(f"Model {path!r} is no subclass of shinso.models.Encoder.")
    return found
