"""Why deep networks use ReLU: the same eight layers with sigmoids learn nothing, for their gradient fades."""

from __future__ import annotations

import argparse
import math

import torch
from PIL import Image, ImageDraw

import shinso
from shinso.models.mlp import MLP

COLOURS = {"sigmoid": "#c0392b", "relu": "#1e8449"}
DEEP, LOWEST, TOP, HEIGHT = 8, -6, 40, 240  # layers; exponent at the bottom; pixels


def gradients(activation: str) -> list[float]:
    """How large the gradient of each layer is, over that of the last, before any training."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MLP(64, 64, DEEP, activation)
        out = network(torch.randn(128, 64))
        (out * torch.randn(out.shape)).sum().backward()
    norms = [float(p.grad.norm()) for p in network.parameters() if p.grad is not None and p.ndim == 2]
    return [norm / norms[-1] for norm in norms]


def accuracy(folder: str, activation: str, depth: int, epochs: int) -> float:
    """On the test rows, trained by plain gradient descent."""
    settings = {
        "model.activation": activation, "model.depth": depth, "model.width": 64, "train.optimizer": "sgd",
        "train.learning_rate": 0.05, "train.epochs": epochs, "train.batch_size": 32, "train.augment": "none",
    }  # fmt: skip
    run = shinso.train(folder, model="mlp", settings=settings, out=f"runs/{activation}-{depth}", quiet=True)
    return float(run.evaluation["outputs"]["label"]["metrics"]["accuracy"]["value"])


def draw(found: dict[str, float]) -> None:
    """The gradients by layer, on a logarithmic scale, beside the accuracies after training."""
    pen = ImageDraw.Draw(picture := Image.new("RGB", (720, TOP + HEIGHT + 40), "white"))
    pen.text((50, 8), f"Left: gradient of layer 1 to {DEEP} over the last's. Right: accuracy.", fill="black")
    for exponent in range(0, LOWEST - 1, -2):
        pen.line([(50, y := TOP + HEIGHT * exponent / LOWEST), (340, y)], fill="#dddddd")
        pen.text((10, y - 6), f"1e{exponent}" if exponent else "1", fill="black")
    for name, colour in COLOURS.items():
        line = [(60 + 38 * i, TOP + HEIGHT * math.log10(g) / LOWEST) for i, g in enumerate(gradients(name))]
        pen.line(line, fill=colour, width=3)
    for k, (name, share) in enumerate(found.items()):
        box = [(x := 410 + 78 * k, TOP + HEIGHT * (1 - share)), (x + 50, TOP + HEIGHT)]
        pen.rectangle(box, fill=COLOURS[name.split()[0]])
        pen.text((x, TOP + HEIGHT + 6), f"{name} deep\n{share:.1%}", fill="black")
    picture.save("sigmoid_and_relu.png")


def main(*, tiny: bool = False) -> dict[str, float]:
    """Train both, deep and shallow, say what came of it, and draw it."""
    folder, found = str(shinso.samples("digits", out="digits_mlp")), {}
    for depth, activation in ((d, a) for d in (1, DEEP) for a in COLOURS):
        share = found[f"{activation} {depth}"] = accuracy(folder, activation, depth, 4 if tiny else 12)
        print(f"{depth} layers of {activation}: accuracy {share:.1%}")
    draw(found)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a third of the passes")
    main(tiny=parser.parse_args().tiny)
