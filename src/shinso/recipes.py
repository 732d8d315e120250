"""What the settings that the user left open become: by kind of input, number of rows and effort.

docs/log.md has the experiments behind these values. A recipe never touches what the user set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .config import ModelConfig, RunConfig
from .models import FAMOUS
from .models.hub import from_hub
from .schema import Schema

VERSION = 4  # recorded in the run as balanced@4; raised when a recipe changes

Settings = dict[str, Any]  # dotted setting -> value

ENOUGH_TO_CHOOSE = 300  # validation rows below which the best epoch is found by luck
EPOCHS = {"quick": 0.35, "balanced": 1.0, "best": 2.5}


@dataclass(frozen=True)
class Facts:
    """What a recipe may look at."""

    rows: int  # training rows
    image_size: int = 0  # pixels of the larger side
    length: float = 0.0  # mean tokens or readings of a row
    regression: bool = False  # a number is predicted
    validation: int = 0  # rows
    effort: str = "balanced"


def tables(facts: Facts) -> Settings:
    """Numbers, categories and dates: TabM on embeddings that bend at knots."""
    small, middling = facts.rows < 4_000, facts.rows < 100_000
    batch = 64 if small else 256
    epochs = 10 if small else (16 if facts.regression else 6) if middling else (8 if facts.regression else 3)
    return {
        "model.width": 128 if small else 256, "model.depth": 2, "model.dropout": 0.0,
        "model.members": 8, "model.embedding": 16,
        "train.optimizer": "muon", "train.learning_rate": 0.015, "train.weight_decay": 3e-4,
        "train.batch_size": batch, "train.epochs": epochs,
        "train.schedule": "cosine", "train.warmup": 0.02, "train.ema": 0.0,
        "train.patience": 0, "train.clip": 1.0,
    }  # fmt: skip


def images(facts: Facts) -> Settings:
    """Images: a small residual network, for small images of widths that processors are fast at."""
    tiny, quick = facts.image_size < 16, facts.effort == "quick"
    small = not tiny and facts.image_size <= 64
    most = 128 if small else 256
    seen = 460_000 if small and quick else 270_000  # before the effort's share of it
    return {
        "model.width": 96 if small else 128, "model.depth": 1 if quick else 2, "model.dropout": 0.0,
        "train.optimizer": "muon", "train.learning_rate": 8e-3 if quick else 6e-3, "train.weight_decay": 0.02,
        "train.batch_size": 128 if tiny and facts.rows >= 1_000 else _batch(facts.rows, 32, most),
        "train.epochs": _epochs(facts.rows, seen, 4, 20 if tiny else 40),
        "train.schedule": "linear", "train.warmup": 0.1, "train.ema": 0.99, "train.label_smoothing": 0.1,
        "train.augment": "shift" if tiny else "flip", "train.patience": 0, "train.clip": 0.0,
    }  # fmt: skip


def texts(facts: Facts) -> Settings:
    """Texts: a bag of n-grams and small readers. Quick on many short texts: few large steps."""
    short = facts.length < 200
    large = short and facts.rows >= 4_000 and facts.effort == "quick"
    rows_a_step = 256 if large else 64 if facts.rows >= 4_000 else 32
    return {
        "model.width": 128, "model.depth": 1, "model.dropout": 0.5,
        "train.optimizer": "adamw", "train.learning_rate": 1e-2 if large else 3e-3 if short else 5e-3,
        "train.weight_decay": 0.01, "train.batch_size": rows_a_step,
        "train.epochs": _epochs(facts.rows, 36_000 if short else 9_000, 3, 12),
        "train.schedule": "cosine", "train.warmup": 0.1,
        "train.ema": 0.0, "train.label_smoothing": 0.0, "train.patience": 0, "train.clip": 1.0,
    }  # fmt: skip


def mixed(facts: Facts) -> Settings:
    """Texts beside numbers and categories: few passes, for readers of texts learn small tables by heart."""
    chosen = texts(facts)
    small = facts.rows < 4_000
    return {
        **chosen,
        "train.learning_rate": 2e-3,
        "train.batch_size": 64 if small else 128,
        "train.epochs": 5 if small else max(2, chosen["train.epochs"] // 2),
    }


def series(facts: Facts) -> Settings:
    """Series and sound."""
    return {
        "model.width": 64, "model.depth": 3, "model.dropout": 0.1,
        "train.optimizer": "adamw", "train.learning_rate": 2e-3, "train.weight_decay": 1e-3,
        "train.batch_size": _batch(facts.rows, 16, 256), "train.epochs": _epochs(facts.rows, 60_000, 4, 60),
        "train.schedule": "cosine", "train.warmup": 0.05, "train.ema": 0.99, "train.patience": 0,
        "train.clip": 1.0,
    }  # fmt: skip


def recurrent_series(facts: Facts) -> Settings:
    """Series read step by step: as `series`, with more passes over the fewest rows."""
    return {
        **series(facts), "train.learning_rate": 3e-3,
        "train.epochs": max(_epochs(facts.rows, 60_000, 4, 60), _epochs(facts.rows, 10_000, 1, 200)),
    }  # fmt: skip


def forecasts(facts: Facts) -> Settings:
    """Series from series: a linear map of the latest window, which few passes settle."""
    return {
        "train.optimizer": "adamw", "train.learning_rate": 3e-3, "train.weight_decay": 0.0,
        "train.batch_size": _batch(facts.rows, 16, 64), "train.epochs": _epochs(facts.rows, 40_000, 5, 60),
        "train.schedule": "cosine", "train.warmup": 0.05, "train.ema": 0.0, "train.clip": 0.0,
    }  # fmt: skip


def generation(facts: Facts) -> Settings:
    """Outputs that are written or painted: text, images, masks."""
    return {
        "model.width": 128, "model.depth": 2, "model.dropout": 0.1,
        "train.optimizer": "adamw", "train.learning_rate": 1e-3, "train.weight_decay": 0.01,
        "train.batch_size": _batch(facts.rows, 16, 128), "train.epochs": _epochs(facts.rows, 200_000, 4, 60),
        "train.schedule": "cosine", "train.warmup": 0.05, "train.ema": 0.99, "train.patience": 0,
        "train.clip": 1.0,
    }  # fmt: skip


def shallow(facts: Facts) -> Settings:
    """Networks so small that passes cost little: LeNet, perceptrons."""
    return {
        **deep(facts), "train.learning_rate": 1e-2, "train.weight_decay": 1e-3, "train.label_smoothing": 0.0,
        "train.batch_size": _batch(facts.rows, 32, 128), "train.epochs": _epochs(facts.rows, 600_000, 8, 60),
    }  # fmt: skip


def deep(facts: Facts) -> Settings:
    """Deep convolutional networks on images: as `images`, with more passes over few rows."""
    return {
        "train.optimizer": "muon", "train.learning_rate": 3e-3, "train.weight_decay": 0.02,
        "train.batch_size": _batch(facts.rows, 32, 256), "train.epochs": _epochs(facts.rows, 270_000, 4, 40),
        "train.schedule": "linear", "train.warmup": 0.1, "train.ema": 0.99, "train.label_smoothing": 0.1,
        "train.clip": 1.0,
    }  # fmt: skip


def attention(facts: Facts) -> Settings:
    """Vision transformers from scratch: more passes and a longer warmup, for they know nothing of images."""
    return {
        **deep(facts), "train.learning_rate": 2e-3, "train.weight_decay": 0.05, "train.schedule": "cosine",
        "train.warmup": 0.15, "train.epochs": _epochs(facts.rows, 480_000, 6, 80),
    }  # fmt: skip


def tuned(facts: Facts) -> Settings:
    """Published weights, tuned as a whole: small steps, few passes."""
    return {
        "train.optimizer": "adamw", "train.learning_rate": 2e-4, "train.weight_decay": 0.02,
        "train.batch_size": _batch(facts.rows, 16, 64), "train.epochs": _epochs(facts.rows, 60_000, 3, 20),
        "train.schedule": "cosine", "train.warmup": 0.1, "train.ema": 0.0, "train.clip": 1.0,
    }  # fmt: skip


def transformer(facts: Facts) -> Settings:
    """A small transformer that learns texts from nothing."""
    return {
        "model.dropout": 0.4,
        "train.optimizer": "adamw", "train.learning_rate": 1e-3, "train.weight_decay": 0.05,
        "train.batch_size": 64 if facts.rows >= 4_000 else 32,
        "train.epochs": _epochs(facts.rows, 32_000, 3, 30),
        "train.schedule": "cosine", "train.warmup": 0.1, "train.ema": 0.0, "train.clip": 1.0,
    }  # fmt: skip


def tuned_text(facts: Facts) -> Settings:
    """A reader of texts, from published weights."""
    return {
        "train.optimizer": "adamw", "train.learning_rate": 1e-4, "train.weight_decay": 0.01,
        "train.layer_decay": 0.9, "train.batch_size": 32, "train.epochs": _epochs(facts.rows, 25_000, 3, 10),
        "train.schedule": "linear", "train.warmup": 0.1, "train.ema": 0.0, "train.clip": 1.0,
        "train.keep": "last",  # the log loss rises before the accuracy falls, and is mended by calibration
    }  # fmt: skip


# What a famous network changes in the recipe of images, by its title; `deep` for those that are not here.
BY_NETWORK = {
    "ViT": attention, "LeNet": shallow, "Perceptron": shallow, "Multilayer perceptron": shallow,
}  # fmt: skip
RECURRENT = frozenset(
    {"Elman network", "LSTM", "LSTM with peepholes", "GRU"}
)  # read as other texts and series

# What tuning changes in the recipes of published weights, for any kind of network.
BY_TUNING: dict[str, Settings] = {
    "head": {"train.learning_rate": 3e-3, "train.batch_size": 64, "train.epochs": 20},
    "lora": {"train.learning_rate": 1e-3, "train.layer_decay": 1.0},
}
# What learns alone behind a resting reader of texts, by attention to its last layers.
READOUT: Settings = {"train.learning_rate": 1e-3, "train.batch_size": 64}


def tuning(config: RunConfig, schema: Schema, facts: Facts) -> Settings:
    """What the way of tuning changes."""
    if not config.model.weights:
        return {}
    found = BY_TUNING.get(config.train.tune or "", {})
    pools = config.model.pooling != "mean" and not any(c.kind in BY_OUTPUT for c in schema.predict)
    if not pools or not attends(config.model):
        return found
    if config.train.tune == "head":
        found = {**found, **READOUT, "train.epochs": _epochs(facts.rows, 32_000, 3, 20)}
    return {**found, "model.pooling": "attention"}


def attends(model: ModelConfig) -> bool:
    """Whether a network can give what attention to its last layers reads."""
    known = FAMOUS.get(model.name or "")
    return "pooling" in known.settings if known else (model.name or "").startswith("hf:")


def from_hubs(model: ModelConfig, schema: Schema, facts: Facts) -> Settings:
    """What a network of timm or transformers changes where it begins with its weights."""
    if not (model.weights and from_hub(model.name or "")):
        return {}
    reads_text = any(column.kind == "text" for column in schema.given)
    return {"model.dropout": None, **(tuned_text if reads_text else tuned)(facts)}


# What a setting is when the recipe of the inputs says nothing about it.
REST: Settings = {
    "model.width": 128, "model.depth": 2, "model.dropout": 0.0, "model.members": 8, "model.embedding": 16,
    "train.label_smoothing": 0.0, "train.augment": "none", "train.ema": 0.0, "train.clip": 1.0,
    "train.patience": 0,
    "train.warmup": 0.05, "train.schedule": "cosine", "train.weight_decay": 0.0, "train.loss": "",
}  # fmt: skip

# The first kind of input that a schema has decides.
BY_INPUT = {"image": images, "audio": series, "text": texts, "series": series}
BY_OUTPUT = {
    "series": forecasts, "text": generation, "image": generation, "mask": generation, "boxes": generation,
}  # fmt: skip


def named(model: ModelConfig, schema: Schema, facts: Facts) -> Settings:
    """What a famous network changes; its own sizes stay open, for other readers beside it have theirs."""
    known = FAMOUS.get(model.name or "")
    if known is None:
        return from_hubs(model, schema, facts)
    open_sizes: Settings = {"model.width": None, "model.depth": None, "model.dropout": None}
    if any(column.kind in BY_OUTPUT for column in schema.predict):
        return open_sizes
    if "image" in known.encoders or "scalars" in known.encoders:
        recipe = tuned if model.weights else BY_NETWORK.get(known.title, deep)
    elif known.title in RECURRENT:
        return recurrent_series(facts) if _recipe(schema) is series else {}
    else:
        recipe = tuned_text if model.weights else transformer
    return {**open_sizes, **recipe(facts)}


def resolve(config: RunConfig, schema: Schema, facts: Facts) -> RunConfig:
    """`config` with every open setting of the model and the training decided."""
    facts = replace(facts, effort=config.effort)
    chosen = {**REST, **_recipe(schema)(facts), **named(config.model, schema, facts)}
    chosen.update(tuning(config, schema, facts))
    chosen.setdefault("train.keep", "best" if facts.validation >= ENOUGH_TO_CHOOSE else "last")
    if "train.epochs" in chosen:
        chosen["train.epochs"] = max(1, round(chosen["train.epochs"] * EPOCHS[config.effort]))
    values = config.model_dump()
    open_settings = {
        name: value
        for name, value in chosen.items()
        if values[name.partition(".")[0]][name.partition(".")[2]] is None
    }
    return config.override(open_settings)


def _recipe(schema: Schema) -> Any:
    for column in schema.predict:
        if column.kind in BY_OUTPUT:
            return BY_OUTPUT[column.kind]
    kinds = {column.kind for column in schema.given}
    if "text" in kinds and any(column.scalar for column in schema.given):
        return mixed
    return next((recipe for kind, recipe in BY_INPUT.items() if kind in kinds), tables)


def _batch(rows: int, least: int, most: int) -> int:
    """A power of two near a hundredth of the rows, within bounds."""
    size = least
    while size * 2 <= most and size * 64 <= rows:
        size *= 2
    return size


def _epochs(rows: int, seen: int, least: int, most: int) -> int:
    """Passes after which about `seen` rows were trained on, within bounds."""
    return max(least, min(most, round(seen / max(rows, 1))))
