"""Published weights: read from a file without running anything in it, matched to a network by name and
shape."""

from __future__ import annotations

import hashlib
import pickletools
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .config import ModelConfig
from .errors import SettingError
from .layers.outline import Outline
from .models import FAMOUS, Encoder
from .models.base import Input, Known, Published
from .models.hub import from_hub, hub_input

PICKLED = (".bin", ".pt", ".pth")
MOST_BYTES = 16 << 30  # of a file whose network is not known yet
BASE_BYTES, EACH_PARAMETER = (
    1 << 28,
    64,
)  # with room for averages and an optimizer's state in double precision
MOST_A_BYTE = 4  # numbers of one byte each, shared by as many layers
MOST_PROGRAM = 64 << 20  # bytes of the part of an archive that names its tensors
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # what training scripts put weights under
# All that a file of tensors needs to name. Anything else could run.
HARMLESS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch (Size|\w+Storage)"
    r"|torch\.storage UntypedStorage"
)
# Entries of the archive that torch.save writes; others hold code.
ENTRIES = re.compile(r"data\.pkl|data/\d+|version|byteorder|\.format_version|\.storage_alignment|\.data/\w+")
# What a network may have beside the weights that are used.
SPARE = re.compile(r".*\bnum_batches_tracked|.*position_ids|(vit\.)?pooler\..*")


@dataclass(frozen=True)
class Pretrained:
    """A file of weights, read."""

    path: Path
    digest: str  # SHA-256
    state: dict[str, Tensor]

    def to_dict(self) -> dict[str, Any]:
        """What a run records of it."""
        size = self.path.stat().st_size
        return {"path": str(self.path.absolute()), "sha256": self.digest, "bytes": size}


@dataclass(frozen=True)
class Matched:
    """Published weights under a network's own names."""

    layout: str
    values: dict[str, Tensor]
    classifier: tuple[Tensor, Tensor] | None  # weight and bias of the layer that gave the classes


def open_weights(options: ModelConfig) -> Pretrained | None:
    """The file that `model.weights` names; None where it names none. A wrong one is a `SettingError`."""
    if options.weights is None:
        return None
    if options.name is None:
        raise SettingError(
            f"Weights were given, {options.weights}, but not the network that they are for. "
            f"Name it with --model NAME; `shinso models` lists all."
        )
    known = FAMOUS.get(options.name)
    most = MOST_BYTES if known is None or not known.parameters else most_bytes(known.parameters)
    path = Path(options.weights).expanduser()
    return Pretrained(path, *read_weights(path, most))


def most_bytes(parameters: int) -> int:
    """How large a file of weights for so many parameters may be."""
    return BASE_BYTES + EACH_PARAMETER * parameters


def read_weights(path: Path, most: int = MOST_BYTES) -> tuple[str, dict[str, Tensor]]:
    """The SHA-256 of a file and its tensors by name, in fp32 where they are floating point.

    Nothing in the file is executed: safetensors holds plain data; an archive of `torch.save` is read by
    torch's restricted reader after a look that it names nothing but tensors.
    """
    if not path.is_file():
        raise SettingError(
            f"There is no file of weights {path}. Give a .safetensors, .bin, .pt or .pth file."
        )
    size = path.stat().st_size
    if size > most:
        raise SettingError(
            f"{path} has {size:,} bytes; weights of this network have {most:,} at most. It is not read."
        )
    if path.suffix == ".safetensors":
        found: Any = _safetensors(path)
    elif path.suffix in PICKLED:
        check_archive(path)
        found = _archive(path)
    else:
        raise SettingError(f"{path} is no file of weights: expected .safetensors, .bin, .pt or .pth.")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest, unwrapped(found, path)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        # A mapped file that is overwritten later would end the process: its content is copied.
        return {name: value.clone() for name, value in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise SettingError(f"{path} is no readable safetensors file: {error}. Download it again.") from None


def _archive(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise SettingError(f"{path} could not be read as weights only: {reason}. {SAFER}") from error


SAFER = "Ask for a .safetensors file, or write one where you trust the file's origin."


def check_archive(path: Path) -> None:
    """Raise `SettingError` unless a file is an archive of `torch.save` that names nothing but tensors."""
    try:
        with zipfile.ZipFile(path) as archive:
            program = _program(archive, path)
    except zipfile.BadZipFile:
        raise SettingError(
            f"{path} is a pickle, not an archive of tensors (torch before 1.6 wrote such), and reading it "
            f"could run code. {SAFER}"
        ) from None
    for name in named(program, path):
        if not HARMLESS.fullmatch(name):
            raise SettingError(
                f"{path} is no pure file of weights: it asks for {name.replace(' ', '.')!r}, which could run "
                f"code, so it was not read. {SAFER}"
            )


def _program(archive: zipfile.ZipFile, path: Path) -> bytes:
    """The part of the archive that says which tensors there are."""
    found: list[zipfile.ZipInfo] = []
    for entry in archive.infolist():
        _, _, name = entry.filename.partition("/")
        if not ENTRIES.fullmatch(name) or entry.compress_type != zipfile.ZIP_STORED:
            raise SettingError(
                f"{path} is no pure file of weights: the archive holds {entry.filename!r}. {SAFER}"
            )
        found += [entry] if name == "data.pkl" else []
    if len(found) != 1 or found[0].file_size > MOST_PROGRAM:
        raise SettingError(f"{path} is no archive of torch.save: it does not list its tensors. {SAFER}")
    return archive.read(found[0])


def named(program: bytes, path: Path) -> Iterable[str]:
    """What a pickle would import, as "module name", without running it."""
    try:
        for code, argument, _ in pickletools.genops(program):
            if code.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
                yield f"{code.name} {argument or ''}"
            elif code.name == "GLOBAL":
                yield str(argument)
    except ValueError as error:
        raise SettingError(f"{path} is damaged: {error}. Download it again.") from None


def unwrapped(found: Any, path: Path) -> dict[str, Tensor]:
    """The tensors by name, without what training scripts put around them."""
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise SettingError(f"{path} holds no table of tensors by name, so it is no file of weights. {SAFER}")
    check_numbers(found.values(), path)
    prefix = "module." if all(str(name).startswith("module.") for name in found) else ""
    return {
        str(name).removeprefix(prefix): value.float() if value.is_floating_point() else value
        for name, value in found.items()
    }


def check_numbers(tensors: Iterable[Tensor], path: Path) -> None:
    """Raise `SettingError` where tensors are larger than their file can be: one number, a billion times."""
    count, size = sum(tensor.numel() for tensor in tensors), path.stat().st_size
    if count > MOST_A_BYTE * size:
        raise SettingError(
            f"{path} has {size:,} bytes and says that it holds {count:,} numbers, so it is damaged or made "
            f"to fill the memory. It is not read. {SAFER}"
        )


# ---- matching


def match(published: Published, state: Mapping[str, Tensor], origin: str, name: str) -> Matched:
    """The weights under the names of the network; a `SettingError` says what first does not fit."""
    wanted = shapes(published.module)
    layout, renamed = closest(published, state, wanted)
    renamed = published.fit(renamed)
    classifier = tuple(renamed.get(part) for part in published.classifier)
    used = {key: renamed[key] for key in wanted if key in renamed}
    wrong = [key for key in wanted if key not in used or used[key].shape != wanted[key]]
    spare = [
        k for k in renamed if k not in wanted and k not in published.classifier and not SPARE.fullmatch(k)
    ]
    if wrong or spare:
        raise SettingError(misfit(wrong, spare, wanted, renamed, origin, name) + nearest(state, name))
    weight, bias = classifier
    return Matched(layout, used, None if weight is None or bias is None else (weight, bias))


def shapes(module: nn.Module) -> dict[str, torch.Size]:
    """Names and shapes of all that published weights have to bring."""
    return {k: v.shape for k, v in module.state_dict().items() if not SPARE.fullmatch(k)}


def closest(
    published: Published, state: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]
) -> tuple[str, dict[str, Tensor]]:
    """The layout that fits the most names, and the weights renamed by it."""
    tried = {layout: rename(state) for layout, rename in published.layouts.items()}
    layout = max(tried, key=lambda name: len(wanted.keys() & tried[name].keys()))
    return layout, tried[layout]


def misfit(
    wrong: list[str], spare: list[str], wanted: Mapping[str, torch.Size], found: Mapping[str, Tensor],
    origin: str, name: str,
) -> str:  # fmt: skip
    """What does not fit, the first of it by name and shape."""
    lines = []
    for key in wrong[:3]:
        there = f"found {tuple(found[key].shape)}" if key in found else "not in the file"
        lines.append(f"  {key}: expected {tuple(wanted[key])}, {there}")
    lines += [
        f"  {key}: not in the network, found {tuple(found[key].shape)}" for key in spare[: 3 - len(lines)]
    ]
    return (
        f"{origin} does not fit {name!r}: {len(wrong)} of {len(wanted)} tensors are missing or of another "
        f"shape, {len(spare)} are too many. The first:\n" + "\n".join(lines) + "\n"
    )


def nearest(state: Mapping[str, Tensor], name: str) -> str:
    """The preset that the weights are for, if one is known."""
    best, share = "", 0.0
    for preset, known in FAMOUS.items():
        if known.reference is None or preset == name:
            continue
        with Outline():
            published = known.reference()
        wanted = shapes(published.module)
        _, renamed = closest(published, state, wanted)
        fits = sum(key in renamed and renamed[key].shape == wanted[key] for key in wanted)
        theirs = [k for k in renamed if k not in published.classifier and not SPARE.fullmatch(k)]
        found = fits / max(len(wanted), len(theirs))
        if found > share:
            best, share = preset, found
    if share < 0.5:
        return "No preset comes near (`shinso models` lists all)."
    return f"The nearest preset is {best!r}, of which {share:.0%} fits: try --model {best}."


def load_into(encoder: Encoder, pretrained: Pretrained, name: str) -> Matched | None:
    """Put published weights into an encoder; None where it takes none."""
    published = encoder.published()
    if published is None:
        return None
    matched = match(published, pretrained.state, str(pretrained.path), name)
    missing, unexpected = published.module.load_state_dict(matched.values, strict=False)
    assert not unexpected and all(SPARE.fullmatch(key) for key in missing)
    return matched


def expected_input(options: ModelConfig, pretrained: Pretrained) -> Input | None:
    """The size and the colours of pictures that the weights were trained on, where they are known."""
    if options.name and from_hub(options.name):
        return hub_input(options)
    known: Known | None = FAMOUS.get(options.name or "")
    if known is None or known.pixels is None or known.reference is None:
        return None
    with Outline():
        published = known.reference()
    wanted = shapes(published.module)
    layout, renamed = closest(published, pretrained.state, wanted)
    return known.pixels(layout, renamed) if wanted.keys() <= renamed.keys() else None
