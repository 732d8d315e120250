"""A folder of images: scikit-learn's digits as PNG files, one folder for each digit."""

from __future__ import annotations

import argparse
from pathlib import Path

import shinso


def main(*, tiny: bool = False) -> shinso.Run:
    """Write the images, train on them, and read one image again."""
    folder = shinso.samples("digits", out="digits")
    if tiny:
        for path in sorted(folder.glob("*/*.png"))[::2] + sorted(folder.glob("*/*.png"))[1::4]:
            path.unlink()
    settings = {"train.epochs": 1, "model.width": 16} if tiny else None
    run = shinso.train(folder, effort="quick", settings=settings)
    image = next(Path(folder).glob("7/*.png"))
    print(run.predict({"image": [image]})["label"], "was read from", image)
    print("Look at", run.report())
    return run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a quarter of the images, one pass over them")
    main(tiny=parser.parse_args().tiny)
