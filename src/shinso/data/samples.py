"""Small data sets to try shinso with, made from what scikit-learn carries: no download."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.datasets as toys
from numpy.typing import NDArray
from PIL.Image import fromarray

from ..errors import DataError, SettingError, did_you_mean


def samples(name: str, out: Path | None = None) -> Path:
    """Write a sample data set: a folder of images, or a folder with one CSV. Gives the path to train on.

    `out` is the folder to make, `name` in the current folder by default. Raises `SettingError` for a name
    that is not known and `DataError` for a folder that is not empty.
    """
    if name not in SAMPLES:
        raise SettingError(f"There is no sample {name!r}. {did_you_mean(name, SAMPLES)}")
    folder = Path(name) if out is None else out
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{folder} exists already and is not empty. Remove it, or choose another folder with --out."
        )
    draft = folder.absolute().with_name(f".{folder.absolute().name}.{os.getpid()}.partial")
    try:
        draft.mkdir(parents=True)
        made = SAMPLES[name](draft)
        draft.replace(folder)  # whole, or not at all
        return folder / made.relative_to(draft)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written: {error.strerror or error}. Choose another folder with --out."
        ) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _digits(folder: Path) -> Path:
    """1,797 scanned digits of 8 x 8 pixels, as `label/number.png`."""
    data = toys.load_digits()
    for label in range(10):
        (folder / str(label)).mkdir(exist_ok=True)
    for i, (image, label) in enumerate(zip(data.images, data.target, strict=True)):
        pixels = np.round(image * (255 / 16)).astype(np.uint8)  # 17 levels of grey
        fromarray(pixels).save(folder / str(label) / f"{i:04d}.png")
    return folder


def _iris(folder: Path) -> Path:
    data = toys.load_iris()
    names = [name.removesuffix(" (cm)").replace(" ", "_") for name in data.feature_names]
    return _write(folder / "iris.csv", names, data.data, "species", data.target_names[data.target])


def _wine(folder: Path) -> Path:
    data = toys.load_wine()
    names = [name.replace("/", "_") for name in data.feature_names]
    return _write(folder / "wine.csv", names, data.data, "cultivar", data.target_names[data.target])


def _breast_cancer(folder: Path) -> Path:
    data = toys.load_breast_cancer()
    names = [name.replace(" ", "_") for name in data.feature_names]
    return _write(folder / "breast_cancer.csv", names, data.data, "diagnosis", data.target_names[data.target])


def _diabetes(folder: Path) -> Path:
    data = toys.load_diabetes(scaled=False)
    return _write(folder / "diabetes.csv", list(data.feature_names), data.data, "progression", data.target)


def _write(path: Path, names: list[str], data: NDArray[Any], target: str, values: NDArray[Any]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, target])
        for row, value in zip(data.tolist(), values.tolist(), strict=True):
            writer.writerow(
                [*(f"{cell:.10g}" for cell in row), f"{value:.10g}" if isinstance(value, float) else value]
            )
    return path


SAMPLES: dict[str, Callable[[Path], Path]] = {
    "digits": _digits,
    "iris": _iris,
    "wine": _wine,
    "breast_cancer": _breast_cancer,
    "diabetes": _diabetes,
}
