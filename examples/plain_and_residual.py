"""Why ResNets have shortcuts: 34 layers without them learn more slowly than 18, with them they do not."""

from __future__ import annotations

import argparse

import shinso


def training_loss(folder: str, model: str, width: int, epochs: int) -> float:
    """The mean loss of the last pass: what He et al. (2015, figure 4) compare, for it is no overfitting."""
    settings = {
        "model.width": width, "model.stem": "small", "train.optimizer": "sgd", "train.learning_rate": 0.05,
        "train.epochs": epochs, "train.batch_size": 64, "train.augment": "none", "train.label_smoothing": 0.0,
    }  # fmt: skip
    run = shinso.train(folder, model=model, settings=settings, out=f"runs/{model}", quiet=True)
    return float(run.metrics[-1]["loss"]["label"])


def main(*, tiny: bool = False) -> dict[str, float]:
    """Train plain and residual networks of 18 and 34 layers."""
    folder = str(shinso.samples("digits", out="digits"))
    found = {}
    for model in ("plain34", "resnet34") if tiny else ("plain18", "plain34", "resnet18", "resnet34"):
        found[model] = training_loss(folder, model, 64 if tiny else 128, 2 if tiny else 4)
        print(f"{model}: training loss {found[model]:.3f} after {2 if tiny else 4} passes")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="thin networks of 34 layers only")
    main(tiny=parser.parse_args().tiny)
