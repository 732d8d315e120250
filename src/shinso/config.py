"""Every setting is declared once, here: default, help, bounds and search range come from this line.

A value of None means that the recipe (`recipes.py`) decides; the run's `config.toml` holds what it decided.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from .errors import SettingError, did_you_mean


def option(
    default: Any, help: str, *, low: float | None = None, high: float | None = None,
    search: tuple[float, float] | None = None, log: bool = False,
) -> Any:  # fmt: skip
    """Declare one setting: its default, its help, its valid range, and the range that a tuner searches."""
    extra: dict[str, Any] = {} if search is None else {"search": list(search), "log": log}
    return Field(default=default, description=help, ge=low, le=high, json_schema_extra=extra or None)


class Config(BaseModel):
    """Frozen, without unknown keys, and with errors that say what to do."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(Config):
    """How a table is read, cleaned and split."""

    split: str = option("8:1:1", "Shares of training, validation and test rows, as in 8:1:1, 7:2:1 or 9:1:0.")
    group: str | None = option(None, "Column whose values never stand in two parts (split by group).")
    time: str | None = option(None, "Column to split by time: the latest rows are the test rows.")
    protect: str | None = option(
        None, "Column whose groups are drawn for training so that they say nothing of the label (reweighing)."
    )
    stratify: bool = option(
        default=True, help="Keep the shares of the classes alike in all parts of a random split."
    )
    bad_rows: float = option(
        0.05, "Largest share of unreadable rows that training tolerates.", low=0.0, high=1.0
    )
    audit: bool = option(
        default=True, help="Look for copies, leaks and shifts before training (a few seconds)."
    )
    header: Literal["auto", "yes", "no"] = option(
        "auto", "Whether the first line of a CSV names the columns."
    )
    separator: str | None = option(None, "Separator of a CSV; found by itself when not given.")
    encoding: str | None = option(None, "Encoding of a text file; found by itself when not given.")
    table: str | None = option(None, "SQL query or table name to read from a database file.")
    image_size: int | None = option(None, "Height and width that images are brought to.", low=8, high=1024)
    tokenizer: str | None = option(
        None, "Tokenizer of published weights (tokenizer.json or vocab.txt); that beside them when not given."
    )
    vocabulary: int | None = option(None, "Most tokens that a text column learns.", low=64, high=200_000)
    max_length: int | None = option(
        None, "Most tokens of a text, or readings of a series, that are read.", low=1
    )
    max_seconds: float | None = option(
        None, "Longest sound that is read, in seconds (60); a longer one is an error.", low=0.1, high=3600.0
    )
    private: str = option(
        "", "Columns, with commas, of which the run keeps no sample for the monitor, and logs keep nothing."
    )
    cache: str | None = option(None, "Folder of the decoded data; the user's cache folder when not given.")


class ModelConfig(Config):
    """The network: what reads the inputs and how large it is."""

    name: str | None = option(
        None, "Encoder preset, or my_module:MyEncoder; by kind of input when not given."
    )
    weights: str | None = option(None, "File of published weights to begin with (.safetensors, .bin, .pth).")
    hub: str | None = option(None, "Configuration of a hub model, as JSON; training fills it in.")
    width: int | None = option(None, "Size of every token.", low=4, high=8192, search=(64, 512), log=True)
    depth: int | None = option(None, "Number of blocks.", low=1, high=200, search=(1, 6))
    dropout: float | None = option(
        None, "Share of activations dropped in training.", low=0.0, high=0.95, search=(0.0, 0.5)
    )
    members: int | None = option(
        None, "Members of the ensemble inside a table network (TabM).", low=1, high=256
    )
    bidirectional: bool | None = option(None, "Whether a recurrent network reads both ways (it does).")
    heads: int | None = option(None, "Heads of attention; model.width is a multiple of it.", low=1, high=256)
    kv_heads: int | None = option(
        None, "Heads of keys and values of a GPT, which groups of its heads share.", low=1, high=256
    )
    positions: Literal["learned", "rotary"] | None = option(None, "How a GPT knows the places of tokens.")
    norm: Literal["layer", "rms"] | None = option(None, "Normalisation of a GPT.")
    qk_norm: bool | None = option(None, "Whether a GPT normalises queries and keys.")
    attention: Literal["none", "additive", "dot"] | None = option(
        None, "How a recurrent network weighs its steps; none for their mean."
    )
    pooling: Literal["mean", "attention"] | None = option(
        None,
        "One vector of a text by BERT: the mean of its tokens, or attention to its last layers.",
    )
    embedding: int | None = option(None, "Size of the embedding of one number or category.", low=1, high=1024)
    stem: Literal["full", "half", "small"] | None = option(
        None,
        "Beginning of an image network: as published, or for small images; by their size when not given.",
    )
    patch: int | None = option(None, "Pixels along a patch of a ViT.", low=1, high=256)
    steps: int | None = option(None, "Times that a spiking network looks at an image.", low=1, high=1000)
    activation: Literal["relu", "gelu", "silu", "tanh", "sigmoid"] | None = option(
        None, "Bend between the layers of a multilayer perceptron."
    )
    fuser: Literal["auto", "concat", "join"] = option("auto", "How several inputs meet.")


class TrainConfig(Config):
    """The training loop."""

    optimizer: Literal["adamw", "adam", "sgd", "rmsprop", "adagrad", "muon"] | None = option(
        None, "What moves the weights; sgd has momentum, unless train.momentum is 0."
    )
    learning_rate: float | None = option(
        None, "Peak learning rate, reached after warmup.", low=1e-7, high=10.0, search=(1e-4, 1e-1), log=True
    )
    weight_decay: float | None = option(
        None, "Weight decay; decoupled in AdamW and Muon.", low=0.0, high=10.0, search=(1e-5, 1e-1), log=True
    )
    momentum: float | None = option(None, "Momentum of SGD, RMSprop and Muon.", low=0.0, high=0.999)
    batch_size: int | None = option(
        None, "Rows of one optimizer step.", low=1, high=1 << 20, search=(32, 2048), log=True
    )
    accumulate: int = option(1, "Parts that a batch is split in to save memory.", low=1, high=1024)
    epochs: int | None = option(None, "Passes over the training rows.", low=1, high=100_000)
    schedule: Literal["cosine", "linear", "onecycle", "exponential", "step", "constant"] | None = option(
        None, "How the learning rate falls after warmup; onecycle moves the momentum too."
    )
    decay: float | None = option(
        None, "Factor of every drop of the step schedule (.1), or of all of the exponential one (.01).",
        low=1e-9, high=1.0,
    )  # fmt: skip
    drops: int = option(2, "Drops of the step schedule, at even distances.", low=1, high=1000)
    warmup: float | None = option(
        None, "Share of the steps over which the learning rate rises.", low=0.0, high=1.0
    )
    clip: float | None = option(None, "Largest norm of the gradient; 0 for no clipping.", low=0.0)
    ema: float | None = option(
        None, "Decay of the average of weights that is evaluated; 0 for none.", low=0.0, high=0.99999
    )
    label_smoothing: float | None = option(
        None, "Share of the target spread over all classes.", low=0.0, high=0.9
    )
    class_weights: Literal["none", "balanced"] = option("none", "Weight of the classes in the loss.")
    loss: str | None = option(None, "Loss of the output, where its head offers several.")
    patience: int | None = option(
        None, "Epochs without a better validation score before training stops; 0 for never.", low=0
    )
    keep: Literal["best", "last"] | None = option(
        None, "Weights that the run stands for: of the best validation, or the last."
    )
    augment: str | None = option(
        None, "Augmentation of images: none, flip, shift, rotate, erase, flip+shift, ..."
    )
    tune: Literal["head", "gradual", "all", "lora"] | None = option(
        None, "How published weights are tuned: behind them only, from the top, all of them, or by adapters."
    )
    layer_decay: float | None = option(
        None, "Factor of the learning rate from a layer of published weights to that below.",
        low=0.01, high=1.0, search=(0.5, 1.0),
    )  # fmt: skip
    lora_rank: int = option(8, "Rank of the adapters of train.tune=lora.", low=1, high=1024)
    adversarial: float = option(
        0.0, "Size of attacks trained on, as a share of a pixel's range or of a deviation; 0 for none.",
        low=0.0, high=1.0,
    )  # fmt: skip
    precision: Literal["auto", "fp32", "bf16"] = option(
        "auto", "Arithmetic of the forward and backward pass."
    )
    compile: Literal["auto", "no", "yes"] = option(
        "auto",
        "Whether torch.compile makes the steps faster; half a minute before the first. auto: on GPUs.",
    )
    threads: int | None = option(None, "Threads; all cores of the process when not given.", low=1, high=1024)
    checkpoint_seconds: float = option(30.0, "Seconds between two checkpoints.", low=0.0)


class RunConfig(Config):
    """All settings of a run."""

    effort: Literal["quick", "balanced", "best"] = option(
        "balanced", "How much time a run may buy accuracy with."
    )
    minutes: float | None = option(None, "Hard limit of the whole run, in minutes.", low=0.05, high=1e6)
    seed: int = option(
        0, "Seeds the split, the weights, the order of rows and everything drawn.", low=0, high=2**31 - 1
    )
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()

    @classmethod
    def build(cls, values: dict[str, Any]) -> Self:
        """Make a config from nested plain data; unknown keys and bad values are `SettingError`s.

        >>> RunConfig.build({"train": {"learning_rate": 3e-3}}).train.learning_rate
        0.003
        >>> RunConfig.build({"train": {"epoch": 1}})
        Traceback (most recent call last):
        shinso.errors.SettingError: There is no setting 'train.epoch'. Did you mean 'train.epochs'?
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingError("\n".join(_explain(e) for e in error.errors())) from None

    def override(self, changes: dict[str, Any]) -> Self:
        """A copy with dotted settings replaced: `{"train.learning_rate": 3e-3}`."""
        values = self.model_dump()
        for path, value in changes.items():
            *sections, name = path.split(".")
            place = values
            for section in sections:
                if not isinstance(place.get(section), dict):
                    raise SettingError(f"There is no setting {path!r}. {did_you_mean(path, settings())}")
                place = place[section]
            place[name] = value
        return self.build(values)

    def to_toml(self) -> str:
        """The settings as TOML; those still undecided stand as comments."""
        top, sections = [], []
        for name, value in self.model_dump().items():
            if isinstance(value, dict):
                sections.append("\n".join([f"[{name}]", *(_toml_line(k, v) for k, v in value.items())]))
            else:
                top.append(_toml_line(name, value))
        return "\n\n".join(["\n".join(top), *sections]) + "\n"

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read `config.toml`; a broken file is a `SettingError` that names it."""
        try:
            return cls.build(tomllib.loads(path.read_text("utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, SettingError) as error:
            raise SettingError(f"{path} is not a valid settings file: {error}") from None


def settings(config: type[Config] = RunConfig, prefix: str = "") -> dict[str, FieldInfo]:
    """Every setting by dotted name, with its declaration: for help, reference pages, forms and search."""
    found: dict[str, FieldInfo] = {}
    for name, field in config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Config):
            found |= settings(kind, f"{prefix}{name}.")
        else:
            found[prefix + name] = field
    return found


def changed_settings(config: RunConfig) -> list[str]:
    """Dotted names of the settings that are not at their default: what the user chose, before recipes."""
    values = config.model_dump()
    found = []
    for name, field in settings().items():
        value: Any = values
        for part in name.split("."):
            value = value[part]
        if value != field.default:
            found.append(name)
    return found


def _explain(error: Any) -> str:
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"There is no setting {path!r}. {did_you_mean(path, settings())}"
    return f"Setting {path!r}: {error['msg'][:1].lower()}{error['msg'][1:]}; received {error['input']!r}."


def _toml_line(name: str, value: Any) -> str:
    if value is None:
        return f"# {name} = (not set)"
    if isinstance(value, bool):
        return f"{name} = {str(value).lower()}"
    if isinstance(value, str):
        return f"{name} = {_toml_string(value)}"
    return f"{name} = {value!r}"


def _toml_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in escaped) + '"'
