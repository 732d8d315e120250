"""Any image network of timm or transformers as a reader: `timm:convnext_tiny`, `hf:FOLDER` or
`hf:microsoft/resnet-18`; those of texts are in hubtext.py.

The extra `hub`, imported on use. What a network is, is kept with the run as plain JSON, so that a run
needs neither the folder nor the network to be read again. Weights are safetensors, or read as tensors only;
code of a hub is never run.

B rows, C channels, H, W pixels or cells.
"""

from __future__ import annotations

import json
import re
import ssl
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..columns.image import Image
from ..config import ModelConfig
from ..errors import DataError, MissingExtraError, SettingError, did_you_mean
from ..features import Features
from ..layers.convolution import guard
from .base import Encoder, Input, Published, same
from .images import reading, width_of
from .residual import Normalise

HUBS = ("timm:", "hf:")
WEIGHTS = "model.safetensors"
PICKLED = "pytorch_model.bin"  # read as tensors only, where there is nothing better
BESIDE = ("tokenizer_config.json", "tokenizer.json", "vocab.txt")
MOST_BYTES = 1 << 20  # of a configuration
REPOSITORY = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")  # what else is named is a folder
PATIENCE = 3.0  # seconds in which the hub has to answer at all


def from_hub(name: str) -> bool:
    """Whether a model's name is one of a hub.

    >>> from_hub("timm:convnext_tiny"), from_hub("my_module:MyNet")
    (True, False)
    """
    return name.startswith(HUBS)


def configuration(options: ModelConfig) -> dict[str, Any]:
    """Settings that a hub model brings: what it is, and the weights beside it. Empty for other models."""
    if not options.name or not from_hub(options.name):
        return {}
    hub, _, name = options.name.partition(":")
    if hub == "timm":
        return {"hub": json.dumps(_timm_facts(name))}
    fetch = REPOSITORY.fullmatch(name) is not None and not Path(name).is_dir()
    fetch = fetch and reachable(_endpoint())
    found: dict[str, Any] = {"hub": json.dumps(_transformers_facts(name, fetch=fetch))}
    beside = None if options.weights else _weights_of(name, fetch=fetch)
    return found | ({"weights": str(beside)} if beside else {})


def reachable(address: str) -> bool:
    """Whether a server answers within `PATIENCE` seconds, asked once.

    The libraries of the hub ask again for half a minute where there is no network. In a thread, for who
    looks a name up cannot be told to stop.
    """
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(_answers(address)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return found == [True]


def _answers(address: str) -> bool:
    asked = urllib.request.Request(address, method="HEAD")
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE):
            return True
    except urllib.error.HTTPError:
        return True  # an answer, if no good one
    except OSError as error:
        return isinstance(getattr(error, "reason", error), ssl.SSLError)  # the library has settings for it


def _endpoint() -> str:
    transformers_library()
    return str(import_module("huggingface_hub.constants").ENDPOINT)


def _weights_of(name: str, *, fetch: bool) -> Path | None:
    """The file of weights in a folder, or of a name of the hub, its tokenizer fetched beside it."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return next((folder / file for file in (WEIGHTS, PICKLED) if (folder / file).is_file()), None)
    for file in BESIDE:
        _fetched(name, file, fetch=fetch)
    found = (_fetched(name, file, fetch=fetch) for file in (WEIGHTS, PICKLED))
    return next((path for path in found if path), None)


def _fetched(name: str, file: str, *, fetch: bool) -> Path | None:
    """A file of a network of the hub, on this machine; None where it has no such file."""
    try:
        return Path(transformers_library().utils.cached_file(name, file, local_files_only=not fetch))
    except OSError:
        return None


def hub_input(options: ModelConfig) -> Input | None:
    """The size and the colours that the weights of a hub model expect, where it says so."""
    pixels = json.loads(options.hub or "{}").get("pixels")
    return Input(int(pixels["side"]), tuple(pixels["mean"]), tuple(pixels["std"])) if pixels else None


class HubEncoder(Encoder):
    """uint8 (B, H, W, C) -> Features of what the network gives before its classifier."""

    def __init__(self, column: Any, options: ModelConfig) -> None:
        super().__init__(column, options)
        assert options.name is not None
        if not isinstance(column, Image):
            raise DataError(
                f"{options.name!r} reads images; column {column.name!r} is of type {column.kind}. "
                f"Leave it out of the given columns, or choose another model (`shinso models`)."
            )
        facts = json.loads(options.hub) if options.hub else json.loads(configuration(options)["hub"])
        self.normalise = Normalise(column.mean, column.std)
        made = _timm(facts, column) if options.name.startswith("timm:") else _transformers(facts, column)
        self.body: nn.Module = made
        guard(made)
        self.layout, self.classifier = options.name.partition(":")[0], str(facts.get("classifier", ""))
        self.width, self.channels = width_of(self, column)

    def forward(self, image_BHWC: Tensor) -> Features:
        x_BCHW = self.normalise(image_BHWC)
        if self.layout == "timm":
            return reading(self.body.forward_features(x_BCHW))  # type: ignore[operator]
        return reading(self.body(x_BCHW).last_hidden_state)

    def published(self) -> Published:
        last = self.classifier
        layouts = {self.layout: self._bare}
        if self.layout == "hf":
            layouts["older hf"] = self._converted
        return Published(self.body, layouts, (f"{last}.weight", f"{last}.bias"))

    def _bare(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Names without the prefix that a network with a classifier gives to its body."""
        prefix = str(getattr(self.body, "base_model_prefix", "")) + "."
        return {name.removeprefix(prefix) if len(prefix) > 1 else name: v for name, v in same(state).items()}

    def _converted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return converted(self.body, state)


def converted(body: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names that transformers itself brings up to date when it reads a file; empty where it cannot."""
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
        save_file({k: v.contiguous() for k, v in state.items()}, Path(folder) / WEIGHTS, {"format": "pt"})
        body.config.save_pretrained(folder)
        try:
            made, told = transformers_library().AutoModel.from_pretrained(
                folder, output_loading_info=True, use_safetensors=True, trust_remote_code=False
            )
        except (RuntimeError, ValueError, OSError):
            return {}
    lost = set(told["missing_keys"])
    return {name: value.float() for name, value in made.state_dict().items() if name not in lost}


def _timm_library() -> Any:
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        raise MissingExtraError(
            f"timm could not be imported ({error}). Install it with `pip install 'shinso[hub]'`; it needs a "
            f"torchvision that was built for the torch that is installed (https://pytorch.org says which)."
        ) from None
    return timm


def _timm_facts(name: str) -> dict[str, Any]:
    timm = _timm_library()
    if not timm.is_model(name):
        raise SettingError(f"timm has no model {name!r}. {did_you_mean(name, timm.list_models())}")
    default = timm.get_pretrained_cfg(name)
    facts: dict[str, Any] = {"name": name}
    if default is not None:
        side = default.input_size[-1]
        facts["pixels"] = {"side": side, "mean": list(default.mean), "std": list(default.std)}
        facts["classifier"] = default.classifier
    return facts


def _timm(facts: dict[str, Any], column: Image) -> nn.Module:
    made: nn.Module = _timm_library().create_model(
        facts["name"], pretrained=False, num_classes=0, in_chans=column.channels
    )
    return made


def transformers_library() -> Any:
    """transformers, if the extra is installed."""
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError(
            f"transformers could not be imported ({error}). Install it with `pip install 'shinso[hub]'`."
        ) from None
    return transformers


def _transformers_facts(name: str, *, fetch: bool) -> dict[str, Any]:
    """What a folder (or the hub) says about a network; code in it is never run."""
    library = transformers_library()
    try:
        found = library.AutoConfig.from_pretrained(name, trust_remote_code=False, local_files_only=not fetch)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0].rstrip(".") if fetch else "the hub cannot be reached from here"
        raise SettingError(
            f"The model 'hf:{name}' is not on this machine and could not be fetched: {reason}. Put its "
            f"config.json and {WEIGHTS} (for images preprocessor_config.json, for texts tokenizer.json or "
            f"vocab.txt with tokenizer_config.json) into a folder, and name that: --model hf:FOLDER."
        ) from None
    facts: dict[str, Any] = {"config": found.to_dict(), "classifier": "classifier"}
    path = Path(name).expanduser() / "preprocessor_config.json"
    if path.is_file() and path.stat().st_size < MOST_BYTES:
        facts["pixels"] = _pixels(path)
    return facts


def _pixels(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text("utf-8"))
        size = stored.get("crop_size") or stored["size"]
        side = size if isinstance(size, int) else size.get("height") or size["shortest_edge"]
        return {"side": int(side), "mean": list(stored["image_mean"]), "std": list(stored["image_std"])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingError(f"{path} does not say the size and colours of images: {error}.") from None


def _transformers(facts: dict[str, Any], column: Image) -> nn.Module:
    library = transformers_library()
    stored = {key: value for key, value in facts["config"].items() if key != "auto_map"}
    kind = stored.pop("model_type", "")
    config = library.AutoConfig.for_model(kind, **stored)
    if getattr(config, "num_channels", column.channels) != column.channels:
        config.num_channels = column.channels
    if "image_size" in stored:
        config.image_size = (column.height, column.width)
    made: nn.Module = library.AutoModel.from_config(config, trust_remote_code=False)
    return made
