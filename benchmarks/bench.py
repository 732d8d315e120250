"""The suite: shinso side by side with its peers, each in its own pinned environment.

    python benchmarks/bench.py [NAME ...] [--short] [--data DIR] [--peers DIR] [--repeat N]

Every side is a process of its own; sides take turns (A-B-C-A-B-C); roofs are measured first; each peer runs
out of the box and, where precision is a setting of its user, once more with ours (bf16, channels_last). One
line a measurement is added to benchmarks/results.jsonl, and the table in docs/benchmarks.md is written anew.
--short runs in the environment at hand, on rows made up here, and fails where a ratio has fallen below 0.7 of
the committed one of a like machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import environments
import inputs
import page
from ratios import committed, fallen, ratio, spread
from running import Side, run
from suite import FULL, SHORT, Measurement

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results.jsonl", HERE.parent / "docs" / "benchmarks.md"
ROOFS = Side("roofs", "common/roofs.py", limit=60)
TRIES = 3  # of a short measurement that fell: other work on a machine disturbs, code that is slower stays so
CHECKED = (
    "torchvision",
    "lightning",
    "fastai",
    "transformers",
    "spacy",
    "catboost",
    "lightgbm",
    "scikit-learn",
)
Answers = dict[str, list[dict[str, Any]]]  # by side


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(one: Measurement, sides: Sequence[Side], data: Path, peers: Path, repeat: int | None) -> Answers:
    """The sides in turns, until each has had its repeats; a side that failed is not tried again."""
    answers: Answers = {side.name: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        source = one.prepare(data, Path(folder)).absolute()
        for turn in range(max(repeat or side.repeat for side in sides)):
            for side in sides:
                done = answers[side.name]
                if turn >= (repeat or side.repeat) or (done and "failed" in done[-1]):
                    continue
                start = time.perf_counter()
                done.append(run(side, source, peers))
                figures = {m.name: done[-1][m.name] for m in one.metrics if m.name in done[-1]}
                told = done[-1].get("failed") or json.dumps(figures)
                say(f"{one.name}: {side.name}: {told} ({time.perf_counter() - start:.0f} s)")
    return answers


def summary(one: Measurement, answers: Answers) -> dict[str, Any]:
    """Medians, ranges and ratios of one measurement, as plain data."""
    names = [m.name for m in one.metrics] + [m.total for m in one.metrics if m.total]
    sides = {}
    for name, repeats in answers.items():
        answered = sorted({key for repeat in repeats for key in repeat})
        sides[name] = {
            "failed": next((r["failed"] for r in repeats if "failed" in r), ""),
            "answered": answered,
            "metrics": {key: spread(repeats, key).to_dict() for key in names if key in answered},
            "repeats": repeats,
        }
    ratios = {
        name: {
            metric.name: None if found is None else found.to_dict()
            for metric in one.metrics
            for found in [ratio(metric, answers["shinso"], repeats)]
        }
        for name, repeats in answers.items()
        if name != "shinso"
    }
    return {
        "row": one.row, "title": one.title, "metrics": [asdict(m) for m in one.metrics],
        "peers": [p.name for p in one.peers], "beside": [p.name for p in one.peers if p.beside],
        "sides": sides, "ratios": ratios,
    }  # fmt: skip


def of_roofs(entry: dict[str, Any], roofs: Mapping[str, float]) -> None:
    """Beside rates of training: their share of the measured bf16 roof of products, or of convolutions."""
    shares = {}
    for name, found in entry["sides"]["shinso"]["metrics"].items():
        roof = roofs.get("bf16_convolution" if name.startswith("convolution") else "bf16_matmul")
        if roof and found["median"]:
            shares[name] = round(found["median"] / roof, 3)
    entry["share_of_roof"] = shares


def versions_of(sides: Sequence[Side]) -> dict[str, str]:
    """What the environments of the peers are pinned to."""
    found = {}
    for environment in {side.environment for side in sides} - {environments.OURS}:
        for line in (environments.PINNED / f"{environment}.txt").read_text("utf-8").splitlines():
            name, _, version = line.partition("==")
            if name in CHECKED and version:
                found[name] = version
    return found


def commit() -> str:
    """The commit, marked where files are changed; what the suite itself writes is none."""
    written = [f":(exclude,top){path.relative_to(HERE.parent)}" for path in (RESULTS, PAGE)]
    changed = told("git", "status", "--porcelain", "--untracked-files=no", "--", ":(top)", *written)
    return (told("git", "rev-parse", "--short", "HEAD") or "unknown") + ("-dirty" if changed else "")


def told(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE).stdout.strip()


def history(path: Path = RESULTS) -> list[dict[str, Any]]:
    """Lines of results.jsonl."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.strip()]


def possible(one: Measurement, data: Path | None, peers: Path) -> list[Side]:
    """The sides that can run here; says why the others cannot. None at all without a peer or the data."""
    if one.real and data is None:
        say(f"{one.name}: skipped: the real data sets are absent (name their folder with --data)")
        return []
    reasons = {e: environments.make(e, peers) for e in dict.fromkeys(s.environment for s in one.sides())}
    for environment, reason in reasons.items():
        if reason:
            say(f"{one.name}: the peers in {environment} are skipped: {reason}")
    found = [side for side in one.sides() if not reasons[side.environment]]
    return found if len(found) > 1 else []


def parsed() -> argparse.Namespace:
    names = sorted({one.name for one in (*FULL, *SHORT)})
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "names", nargs="*", choices=[*names, []], help="which measurements; all when left out"
    )
    parser.add_argument("--short", action="store_true", help="under 3 minutes, anywhere; fails on a fall")
    parser.add_argument("--repeat", type=int, help="repeats of every side; each its own when left out")
    parser.add_argument("--data", type=Path, help="folder of the unpacked data sets")
    parser.add_argument("--peers", type=Path, default=HERE / ".peers", help="where the environments are")
    parser.add_argument("--dry", action="store_true", help="write neither results.jsonl nor the page")
    return parser.parse_args()


def main() -> None:
    asked = parsed()
    form = "short" if asked.short else "full"
    data = None if asked.short else (asked.data or inputs.unpacked(HERE / ".data"))
    before, started = history(), time.perf_counter()
    machine = run(ROOFS, HERE, asked.peers)
    if "failed" in machine:
        raise SystemExit(f"The roofs could not be measured: {machine['failed']}.")
    say(f"roofs: {json.dumps({name: page.number(r, 'FLOP/s') for name, r in machine['roofs'].items()})}")
    falls = []
    for one in SHORT if asked.short else FULL:
        if asked.names and one.name not in asked.names:
            continue
        sides = possible(one, data, asked.peers.absolute())
        if not sides:
            continue
        for _ in range(TRIES if asked.short else 1):
            answers = measure(one, sides, (data or HERE).absolute(), asked.peers.absolute(), asked.repeat)
            entry = described(one, answers, sides, machine, form)
            fell = judged(entry, before) if asked.short else []
            if not fell:
                break
        falls += fell
        if not asked.dry:
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            page.write(PAGE, history())
    say(f"{time.perf_counter() - started:.0f} s in all")
    if falls:
        raise SystemExit("Fallen since the committed figures:\n  " + "\n  ".join(falls))


def described(
    one: Measurement, answers: Answers, sides: Sequence[Side], machine: Mapping[str, Any], form: str
) -> dict[str, Any]:
    """One line of results.jsonl."""
    entry = {
        "measurement": one.name, "form": form, "commit": commit(), "date": time.strftime("%Y-%m-%d"),
        "command": f"python benchmarks/bench.py {one.name}{' --short' if form == 'short' else ''}",
        "machine": machine["machine"], "roofs": machine["roofs"],
        "versions": {**machine["versions"], **versions_of(sides)}, **summary(one, answers),
    }  # fmt: skip
    if one.name == "flops":
        of_roofs(entry, machine["roofs"])
    return entry


def judged(entry: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> list[str]:
    """What has fallen since the committed figures of a like machine."""
    old = committed(entry, before)
    if old is None:
        say(f"{entry['measurement']}: no committed figures of such a machine to hold these against")
        return []
    return fallen(entry, old)


if __name__ == "__main__":
    main()
