"""Famous networks on Fashion-MNIST, and what their papers compare: unattended, a process each.

    python benchmarks/architectures.py --data DIR [NAME ...] [--dry]

DIR holds fashion_mnist/. Names: those of FIGURES and COMPARISONS; all when left out. Every training is
`shinso train --model NAME` with default effort; test rows are measured once, by `shinso evaluate`. One line a
measurement is added to benchmarks/results.jsonl. Comparisons are judged on training loss and validation rows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from figures import RESULTS, commit

# name: (least accuracy that is asked, most seconds that are asked)
FIGURES: dict[str, tuple[float, float]] = {
    "lenet5": (0.89, float("inf")), "resnet18": (0.94, 720), "vit_ti": (0.89, float("inf")),
    "perceptron": (0, float("inf")), "mlp": (0, float("inf")), "alexnet": (0, float("inf")),
    "vgg11_bn": (0, float("inf")), "spiking": (0, float("inf")), "efficientnet_b0": (0, float("inf")),
}  # fmt: skip
SGD = ("train.optimizer=sgd", "train.learning_rate=0.05", "train.epochs=2", "train.augment=none")
SIGMOID = ("model.depth=8", "model.width=128", *SGD)
# name: trainings (model, settings) of which the second should be better, as the literature says.
COMPARISONS: dict[str, tuple[tuple[str, tuple[str, ...]], tuple[str, tuple[str, ...]]]] = {
    "sigmoid against ReLU": (
        ("mlp", ("model.activation=sigmoid", *SIGMOID)),
        ("mlp", ("model.activation=relu", *SIGMOID)),
    ),
    "plain against residual": (("plain34", SGD), ("resnet34", SGD)),
    "18 against 34 plain layers": (("plain34", SGD), ("plain18", SGD)),
}


def train(data: Path, folder: Path, model: str, settings: tuple[str, ...]) -> tuple[Path, float]:
    """Train in a process of its own; the run and its seconds."""
    flags = [part for one in ("data.split=9:1:0", *settings) for part in ("--set", one)]
    run = folder / "run"
    command = [
        sys.executable, "-m", "shinso", "train", str(data / "fashion_mnist" / "train"), "--predict", "label",
        "--model", model, "--out", str(run), *flags,
    ]  # fmt: skip
    started = time.perf_counter()
    environment = {**os.environ, "SHINSO_CACHE": str(folder / "cache")}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return run, time.perf_counter() - started


def figure(data: Path, model: str) -> tuple[str, dict[str, Any]]:
    """Accuracy on the test rows and total time of one network."""
    least, most = FIGURES[model]
    with tempfile.TemporaryDirectory() as temporary:
        run, seconds = train(data, Path(temporary), model, ())
        test = str(data / "fashion_mnist" / "test")
        command = [sys.executable, "-m", "shinso", "evaluate", str(run), test, "--json"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        accuracy = json.loads(done.stdout)["outputs"]["label"]["metrics"]["accuracy"]
        own = json.loads((run / "evaluation.json").read_text("utf-8"))
    met = "met" if accuracy["value"] >= least and seconds <= most else "MISSED"
    said = f"{model}: accuracy {accuracy['value']:.4f}, asked {least}; {seconds:.0f} s, asked {most:g}: {met}"
    training = own["training"]["seconds"]["train"]
    return said, {"accuracy": accuracy, "seconds": round(seconds, 1), "training_seconds": training}


def comparison(data: Path, name: str) -> tuple[str, dict[str, Any]]:
    """The last training loss and the validation metrics of both sides."""
    found = []
    for model, settings in COMPARISONS[name]:
        with tempfile.TemporaryDirectory() as temporary:
            run, seconds = train(data, Path(temporary), model, settings)
            lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
        last = json.loads(lines[-1])
        found.append({"model": model, "settings": settings, "seconds": round(seconds, 1), "last": last})
    worse, better = (one["last"]["loss"]["label"] for one in found)
    agrees = "as the literature says" if better < worse else "NOT as the literature says"
    return f"{name}: training loss {worse:.3f} and {better:.3f}, {agrees}", {"trainings": found}


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="networks or comparisons; all when left out")
    parser.add_argument("--data", type=Path, required=True, help="folder of the unpacked data sets")
    parser.add_argument("--dry", action="store_true", help="do not add to results.jsonl")
    arguments = parser.parse_args()
    for name in arguments.names or [*FIGURES, *COMPARISONS]:
        said, result = (figure if name in FIGURES else comparison)(arguments.data, name)
        print(said, flush=True)
        if not arguments.dry:
            machine = {"system": platform.platform(), "cores": os.cpu_count()}
            entry = {
                "figure": f"architectures: {name}",
                "commit": commit(),
                "date": time.strftime("%Y-%m-%d"),
            }
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**entry, "machine": machine, "results": [result]}) + "\n")


if __name__ == "__main__":
    main()
