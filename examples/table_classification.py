"""A table with classes: other seeds say how much of a result is chance, and two settings are compared."""

from __future__ import annotations

import argparse

import shinso


def main(*, tiny: bool = False) -> dict[str, object]:
    """Train on scikit-learn's breast cancer data and compare two sizes of network."""
    data = shinso.samples("breast_cancer", out="breast_cancer")
    settings = {"train.epochs": 2, "model.members": 2} if tiny else {}
    for seed in range(1 if tiny else 3):
        run = shinso.train(data, predict="diagnosis", seed=seed, settings=settings, quiet=True)
        accuracy = run.evaluation["outputs"]["diagnosis"]["metrics"]["accuracy"]
        print(
            f"seed {seed}: accuracy {accuracy['value']:.3f} ({accuracy['low']:.3f} to {accuracy['high']:.3f})"
        )
    small = {**settings, "model.width": 16}
    first = shinso.train(data, predict="diagnosis", settings=settings, quiet=True)
    second = shinso.train(data, predict="diagnosis", settings=small, quiet=True)
    found = shinso.compare(first, second)
    print("\n".join(found["lines"]))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="one seed, two passes over the rows")
    main(tiny=parser.parse_args().tiny)
