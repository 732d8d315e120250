"""The table of measurements: what is measured, on which data, by which programs, and what was asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import inputs
from ratios import Metric
from running import Side


@dataclass(frozen=True)
class Measurement:
    """Ours and its peers side by side. `real` says that it needs the real data sets."""

    row: str  # of the list
    name: str
    title: str
    prepare: Callable[[Path, Path], Path]  # (data, empty folder) -> what sides get as --data
    ours: Side
    peers: tuple[Side, ...]
    metrics: tuple[Metric, ...]
    real: bool = False

    def sides(self) -> list[Side]:
        """Ours, then each peer, out of the box and with our precision."""
        found = [self.ours]
        for peer in self.peers:
            found += [peer, peer.with_knob()] if peer.knob else [peer]
        return found


def ours(script: str, *arguments: str, limit: float = 120, repeat: int = 3) -> Side:
    return Side("shinso", f"ours/{script}", arguments, limit=limit, repeat=repeat)


def peer(
    name: str, script: str, *arguments: str, at: str = "torch", limit: float = 120, repeat: int = 1,
    knob: bool = False, beside: bool = False,
) -> Side:  # fmt: skip
    return Side(name, script, arguments, at, limit, repeat, knob, beside)


def trees(task: str) -> tuple[Side, ...]:
    """The three libraries of boosted trees, with their defaults."""
    return tuple(
        peer(name, "peers/tables.py", f"{name}:{task}", at="tables", limit=120, repeat=2)
        for name in ("catboost", "lightgbm", "scikit-learn")
    )


def to_target(must: float, moonshot: float) -> Metric:
    return Metric("seconds", "s", must=must, moonshot=moonshot, total="total_seconds")


TRAINED = ("mlp", "convolution", "transformer", "lstm")
RATES = tuple(Metric(name, "FLOP/s", "more", must=3, moonshot=4, roof=0.45) for name in TRAINED)
TOKENS = (Metric("tokens_per_second", "tokens/s", "more", must=4, moonshot=5),)
PASSES = (
    Metric("later", "images/s", "more", must=30, moonshot=50),
    Metric("first", "images/s", "more", must=1.5, moonshot=2.5),
)
AGAINST_TREES = (Metric("seconds", "s", must=0.25, moonshot=1),)
EXACT = (
    Metric("bitwise", "", "more"),
    Metric("stall_ms_per_100_mb", "ms"),
    Metric("stall_ms", "ms"),
    Metric("resume_seconds", "s"),
)
FOOTPRINT = (
    Metric("import_seconds", "s", must=20, moonshot=30),
    Metric("help_seconds", "s", must=20, moonshot=30),
    Metric("ready_seconds", "s"),
    Metric("digits_peak_bytes", "B", must=1 / 0.8, moonshot=1 / 0.6),
    Metric("sentences_peak_bytes", "B", must=1 / 0.8, moonshot=1 / 0.6),
)

FULL: tuple[Measurement, ...] = (
    Measurement(
        "1", "fashion_mnist", "Fashion-MNIST, PNG folder to 92.0% of the test rows", inputs.fashion_mnist,
        ours("train.py", "fashion_mnist", limit=200, repeat=1),
        (
            peer("fastai", "peers/fastai_images.py", limit=280, knob=True),
            peer("Lightning", "peers/lightning_images.py", limit=280, knob=True),
        ),
        (to_target(4, 8), Metric("accuracy", "", "more")), real=True,
    ),
    Measurement(
        "2", "pipeline", "60,000 PNGs, augmented", inputs.fashion_mnist, ours("pipeline.py", repeat=2),
        (peer("torchvision + DataLoader(2)", "peers/torchvision_pipeline.py"),), PASSES, real=True,
    ),
    Measurement(
        "3", "adult", "adult, defaults", inputs.adult, ours("train.py", "adult", repeat=2), trees("adult"),
        (Metric("log_loss", "", must=0.99), *AGAINST_TREES), real=True,
    ),
    Measurement(
        "3", "california", "california housing, defaults", inputs.california,
        ours("train.py", "california", repeat=2), trees("california"),
        (Metric("rmse", "", must=0.99), *AGAINST_TREES), real=True,
    ),
    Measurement(
        "4", "sst2", "SST-2 sentences to 80.0% of the test rows", inputs.sst2,
        ours("train.py", "sst2", repeat=2),
        (peer("transformers Trainer", "peers/transformers_text.py", limit=120, knob=True),),
        (to_target(6, 10), Metric("accuracy", "", "more")), real=True,
    ),
    Measurement(
        "4", "sst2_spacy", "SST-2 sentences to 80.0% of the test rows", inputs.sst2,
        ours("train.py", "sst2", repeat=1), (peer("spaCy textcat", "peers/spacy_text.py", at="spacy"),),
        (to_target(3, 5), Metric("accuracy", "", "more")), real=True,
    ),
    Measurement(
        "5", "flops", "training FLOP/s", inputs.nothing, ours("flops.py", repeat=2),
        (peer("Lightning", "peers/lightning_flops.py", limit=200, repeat=2, knob=True),), RATES,
    ),
    Measurement(
        "6", "ragged", "LSTM on ragged sequences", inputs.nothing, ours("ragged.py", limit=60),
        (
            peer("packed nn.LSTM", "peers/torch_ragged.py", "packed", limit=60, repeat=2, knob=True),
            peer(
                "padded nn.LSTM", "peers/torch_ragged.py", "padded", limit=60, repeat=2, knob=True,
                beside=True,
            ),
        ),
        TOKENS,
    ),
    Measurement(
        "7", "footprint", "footprint", inputs.both,
        Side("shinso", "common/footprint.py", ("shinso",), limit=180, repeat=1),
        tuple(
            peer(name, "common/footprint.py", name, limit=240)
            for name in ("lightning", "fastai", "transformers")
        ),
        FOOTPRINT,
    ),
    Measurement(
        "8", "resume", "kill -9 and resume", inputs.table, ours("resume.py", repeat=1),
        (
            peer("Lightning", "peers/lightning_resume.py"),
            peer("transformers Trainer", "peers/transformers_resume.py"),
        ),
        EXACT,
    ),
)  # fmt: skip

# Peers of the short form run in the suite's own environment: plain PyTorch and scikit-learn.
SHORT: tuple[Measurement, ...] = (
    Measurement(
        "2", "pipeline", "1,500 made-up PNGs, augmented", inputs.images, ours("pipeline.py", repeat=2),
        (peer("torch DataLoader(2)", "peers/torch_pipeline.py", at="ours"),),
        (Metric("later", "images/s", "more"),),
    ),
    Measurement(
        "3", "made_up_table", "made-up table", inputs.table, ours("train.py", "made_up", repeat=1),
        (peer("scikit-learn", "peers/tables.py", "scikit-learn:made_up", at="ours"),),
        (Metric("log_loss"),),
    ),
    Measurement(
        "5", "flops", "training FLOP/s", inputs.nothing, ours("flops.py", "--short", repeat=2),
        (peer("torch", "peers/torch_flops.py", "--short", at="ours", repeat=2, knob=True),),
        tuple(Metric(name, "FLOP/s", "more") for name in TRAINED),
    ),
    Measurement(
        "6", "ragged", "LSTM on ragged sequences", inputs.nothing, ours("ragged.py", "--short", repeat=2),
        (peer("packed nn.LSTM", "peers/torch_ragged.py", "packed", "--short", at="ours", repeat=2),),
        (Metric("tokens_per_second", "tokens/s", "more"),),
    ),
    Measurement(
        "7", "footprint", "footprint", inputs.nothing,
        Side("shinso", "common/footprint.py", ("shinso", "--short"), repeat=1),
        (peer("torch", "common/footprint.py", "torch", "--short", at="ours"),),
        (Metric("import_seconds", "s"),),
    ),
)  # fmt: skip
