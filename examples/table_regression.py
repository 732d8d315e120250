"""A table of numbers: how far diabetes will have progressed in a year, from ten measurements of a person."""

from __future__ import annotations

import argparse
from typing import Any

from sklearn.datasets import load_diabetes

import shinso


def main(*, tiny: bool = False) -> shinso.Run:
    """Train, measure, and predict one person with an interval."""
    loaded = load_diabetes(scaled=False)
    table: dict[str, Any] = dict(zip(loaded.feature_names, loaded.data.T.tolist(), strict=True))
    table["progression"] = loaded.target.tolist()
    run = shinso.train(table, predict="progression", settings={"train.epochs": 2} if tiny else None)
    for name, metric in run.evaluation["outputs"]["progression"]["metrics"].items():
        print(f"{name}: {metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})")
    person = {name: [values[0]] for name, values in table.items() if name != "progression"}
    print(run.predict(person))
    return run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="two passes over the rows")
    main(tiny=parser.parse_args().tiny)
