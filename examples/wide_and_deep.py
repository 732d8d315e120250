"""One wide layer can come near any function, but depth needs fewer weights: a folded wave."""

from __future__ import annotations

import argparse

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from shinso.models.mlp import MLP

COLOURS = {"target": "#999999", "wide": "#c0392b", "deep": "#1e8449"}
SIZES = {"wide": (1, 224), "deep": (5, 11)}  # layers and their width: 673 and 562 weights
WIDTH, HEIGHT, FOLDS = 640, 300, 4


def wave(x: Tensor) -> Tensor:
    """A sawtooth of 2 ** FOLDS / 2 teeth, which FOLDS layers of two units make (Telgarsky 2016)."""
    for _ in range(FOLDS):
        x = 1 - (2 * x - 1).abs()
    return x


def fit(name: str, steps: int, seed: int) -> tuple[Tensor, float, int]:
    """What a network makes of 0..1 after training on the wave, its error and its number of weights."""
    depth, width = SIZES[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = torch.nn.Sequential(MLP(1, width, depth, "relu"), torch.nn.Linear(width, 1))
    x = torch.linspace(0, 1, 512).unsqueeze(1)
    rows, target = 2 * x - 1, wave(x)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss = (network(rows) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return (
        network(rows).detach().flatten(),
        float(loss.detach()),
        sum(p.numel() for p in network.parameters()),
    )


def main(*, tiny: bool = False) -> dict[str, float]:
    """Fit both and draw them over the wave."""
    curves, errors = {"target": wave(torch.linspace(0, 1, 512))}, {}
    for name in SIZES:
        fits = [fit(name, 2000, seed) for seed in range(1 if tiny else 3)]
        curves[name], _, weights = fits[0]
        errors[name] = sum(error for _, error, _ in fits) / len(fits)
        print(f"{name}: {weights} weights, mean squared error {errors[name]:.4f} ({len(fits)} trainings)")
    pen = ImageDraw.Draw(picture := Image.new("RGB", (WIDTH, HEIGHT), "white"))
    for k, (name, curve) in enumerate(curves.items()):
        line = [(WIDTH * i / 511, HEIGHT - 40 - (HEIGHT - 80) * y) for i, y in enumerate(curve.tolist())]
        pen.line(line, fill=COLOURS[name], width=2)
        pen.text((20 + 90 * k, 8), name, fill=COLOURS[name])
    picture.save("wide_and_deep.png")
    return errors


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="one training of each in place of three")
    main(tiny=parser.parse_args().tiny)
