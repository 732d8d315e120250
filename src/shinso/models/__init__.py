"""One file an architecture. To add one: write the file, add it to MODELS (CONTRIBUTING.md has the recipe)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from torch import nn

from ..columns import Column
from ..columns.text import Text
from ..config import ModelConfig
from ..errors import DataError, SettingError, did_you_mean
from . import bert, gpt, images, mlp, peephole, recurrent, spiking, t5, transformer
from .audio import AudioNet
from .bags import Bags
from .base import Encoder, Known
from .hub import HubEncoder, from_hub
from .hubtext import HubText
from .images import PlainEncoder
from .ngrams import NgramNet
from .residual import ResidualNet
from .scalars import Scalars
from .series import SeriesNet
from .text import TextNet
from .window import Window

# shinso's own readers: preset name -> (kind of column it reads, class)
MODELS: dict[str, tuple[str, type[Encoder]]] = {
    "residual": ("image", ResidualNet),
    "ngrams": ("text", NgramNet),
    "bags": ("text", Bags),
    "text": ("text", TextNet),
    "series": ("series", SeriesNet),
    "window": ("series", Window),
    "audio": ("audio", AudioNet),
    "tabm": ("scalars", Scalars),
}

# The famous networks, by preset name.
FAMOUS: dict[str, Known] = {
    **mlp.KNOWN, **images.KNOWN, **spiking.KNOWN,
    **recurrent.KNOWN, **peephole.KNOWN, **transformer.KNOWN, **bert.KNOWN, **gpt.KNOWN, **t5.KNOWN,
}  # fmt: skip

DEFAULTS: dict[str, str] = {"image": "residual", "text": "ngrams", "series": "series", "audio": "audio"}
# What is read for heads that attend to tokens (text, series, images) instead of pooling them.
SEQUENCES: dict[str, str] = {"text": "text"}
# What is read where only series are predicted: the forecast's own linear map wants the readings themselves.
FORECASTS: dict[str, str] = {"series": "window"}
SCALARS = "scalars"  # what the scalar columns of a row are read as, together
# Settings that some networks have; the others are for all, or are checked by the network itself.
SPECIAL = (
    "heads", "kv_heads", "positions", "norm", "qk_norm", "attention", "pooling", "bidirectional", "stem",
    "patch", "steps", "activation",
)  # fmt: skip

__all__ = [
    "DEFAULTS", "FAMOUS", "MODELS", "Encoder", "Scalars", "encoder_for", "must_obey", "must_read",
    "readers_of", "scalars_for",
]  # fmt: skip


def encoder_for(
    column: Column, options: ModelConfig, *, pooled: bool = True, forecasts: bool = False
) -> Encoder:
    """The encoder that reads one column: the one named in the settings, else the default of its kind."""
    if options.name and from_hub(options.name):
        if isinstance(column, Text) and options.name.startswith("hf:"):
            encoder: Encoder = HubText(column, options)
        else:
            encoder = HubEncoder(column, options)
    elif options.name and ":" in options.name:
        encoder = _user_encoder(options.name, column, options)
    else:
        defaults = DEFAULTS if pooled else {**DEFAULTS, **(FORECASTS if forecasts else SEQUENCES)}
        encoder = _named(column, column.kind, options, defaults)
    encoder.attended = not pooled
    return encoder


def scalars_for(columns: tuple[Column, ...], options: ModelConfig) -> Encoder:
    """The encoder that reads all scalar columns together: the one named in the settings, else TabM."""
    readers = readers_of(options.name)
    return readers[SCALARS](columns, options) if SCALARS in readers else Scalars(columns, options)


def readers_of(name: str | None) -> dict[str, type[Encoder]]:
    """By kind of column: the encoders of a preset. A name that does not exist is a `SettingError`."""
    if not name or ":" in name:
        return {}
    if name in MODELS:
        return {MODELS[name][0]: MODELS[name][1]}
    if name in FAMOUS:
        return dict(FAMOUS[name].encoders)
    raise SettingError(
        f"There is no model {name!r}. {did_you_mean(name, [*MODELS, *FAMOUS])} `shinso models` lists all."
    )


def must_read(columns: Sequence[Column], options: ModelConfig) -> None:
    """Raise `SettingError` where the named model reads none of the given columns."""
    readers = readers_of(options.name)
    kinds = {SCALARS if c.scalar else c.kind for c in columns}
    if readers and not kinds & set(readers):
        given = ", ".join(sorted({c.kind for c in columns})) or "nothing"
        wanted = " or ".join("numbers and categories" if kind == SCALARS else kind for kind in readers)
        raise SettingError(
            f"The model {options.name!r} reads {wanted}; given is {given}. "
            f"Leave --model out, or choose another: `shinso models` lists all."
        )


def must_obey(columns: Sequence[Column], options: ModelConfig) -> None:
    """Raise `SettingError` where a model or a setting of it was named that would change nothing."""
    name = options.name or ""
    if ":" in name and columns and all(c.scalar for c in columns):
        raise SettingError(
            f"The model {name!r} reads one column, of images, texts, series or sounds; given are only "
            f"numbers, categories and dates, read together. `shinso models` lists what reads a table."
        )
    if ":" in name and not from_hub(name):
        return  # a network of the user's own may heed any
    obeyed = FAMOUS[name].settings if name in FAMOUS else frozenset({"pooling"} if from_hub(name) else ())
    for setting in SPECIAL:
        if getattr(options, setting) is not None and setting not in obeyed:
            who = f"The model {name!r}" if name else "The model that was chosen for this kind of data"
            have = sorted(preset for preset, known in FAMOUS.items() if setting in known.settings)
            raise SettingError(
                f"{who} has no setting model.{setting}, so it would change nothing. Leave it out, or choose "
                f"a model that has it: {', '.join(have[:8])}."
            )


def _named(column: Column, kind: str, options: ModelConfig, defaults: dict[str, str]) -> Encoder:
    readers = readers_of(options.name)
    if kind in readers:
        return readers[kind](column, options)
    if kind not in defaults:
        raise DataError(
            f"Column {column.name!r} is of type {kind}, which no model reads yet. "
            f"Leave it out of the given columns, or name a model of your own: "
            f"--set model.name=my_module:MyEncoder."
        )
    return MODELS[defaults[kind]][1](column, options)


def _user_encoder(path: str, column: Column, options: ModelConfig) -> Encoder:
    module_name, _, class_name = path.partition(":")
    try:
        found: Any = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise SettingError(
            f"Model {path!r} could not be imported: {error}. Expected my_module:MyEncoder."
        ) from error
    if isinstance(found, type) and issubclass(found, Encoder):
        return found(column, options)
    if isinstance(found, type) and issubclass(found, nn.Module):
        return PlainEncoder(column, options, found)
    raise SettingError(f"Model {path!r} is no subclass of shinso.models.Encoder or torch.nn.Module.")
