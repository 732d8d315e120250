"""New images of a label: handwritten digits, drawn by the network. Predict the image, given the label."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import shinso


def main(*, tiny: bool = False) -> Path:
    """Train on scikit-learn's digits and draw each digit once."""
    loaded = load_digits()
    rows = 100 if tiny else len(loaded.images)
    pictures = [(image * 15.9).astype(np.uint8) for image in loaded.images[:rows]]
    table = {"image": pictures, "label": [f"digit {label}" for label in loaded.target[:rows]]}
    settings = {"train.epochs": 1, "model.width": 16} if tiny else None
    run = shinso.train(
        table, predict="image", given="label", types={"image": "image"}, effort="quick", settings=settings
    )
    drawn = run.predict({"label": [f"digit {i}" for i in range(10)]})["image"]
    strip = np.concatenate([np.asarray(picture).squeeze() for picture in drawn], axis=1)
    path = Path("drawn.png")
    Image.fromarray(strip).resize((strip.shape[1] * 8, strip.shape[0] * 8)).save(path)
    print("Look at", path)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="100 images, one pass over them")
    main(tiny=parser.parse_args().tiny)
