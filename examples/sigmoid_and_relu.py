"""Why deep networks use ReLU: the same eight layers with sigmoids learn nothing, for their gradient fades."""

from __future__ import annotations

import argparse

import torch

import shinso
from shinso.models.mlp import MLP


def fading(activation: str, depth: int) -> float:
    """How large the gradient of the first layer is, over that of the last, before any training."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MLP(64, 64, depth, activation)
    out = network(torch.randn(128, 64, generator=generator))
    (out * torch.randn(out.shape, generator=generator)).sum().backward()
    norms = [float(p.grad.norm()) for p in network.parameters() if p.grad is not None and p.ndim == 2]
    return norms[0] / norms[-1]


def accuracy(folder: str, activation: str, depth: int, epochs: int) -> float:
    """On the test rows, trained by plain gradient descent."""
    settings = {
        "model.activation": activation, "model.depth": depth, "model.width": 64, "train.optimizer": "sgd",
        "train.learning_rate": 0.05, "train.epochs": epochs, "train.batch_size": 32, "train.augment": "none",
        "train.precision": "fp32",
    }  # fmt: skip
    out = f"runs/{activation}-{depth}"
    run = shinso.train(folder, model="mlp", settings=settings, out=out, quiet=True)
    return float(run.evaluation["outputs"]["label"]["metrics"]["accuracy"]["value"])


def main(*, tiny: bool = False) -> dict[str, float]:
    """Train both, deep and shallow, and say what came of it."""
    folder = str(shinso.samples("digits", out="digits"))
    found = {}
    for depth in (1, 8):
        for activation in ("sigmoid", "relu"):
            found[f"{activation} {depth}"] = accuracy(folder, activation, depth, 4 if tiny else 12)
            print(
                f"{depth} layers of {activation}: accuracy {found[f'{activation} {depth}']:.1%}, "
                f"gradient of the first layer {fading(activation, depth):.1e} of the last"
            )
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a third of the passes")
    main(tiny=parser.parse_args().tiny)
