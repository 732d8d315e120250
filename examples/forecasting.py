"""What comes next: hourly readings with a daily and a weekly rhythm, forecast for a day."""

from __future__ import annotations

import argparse

import numpy as np

import shinso


def readings(hours: int) -> dict[str, list[object]]:
    """A made-up load on a network, and the temperature that drives a part of it."""
    rng = np.random.default_rng(0)
    hour = np.arange(hours)
    warm = 10 + 6 * np.sin(2 * np.pi * (hour - 9) / 24) + rng.normal(0, 0.6, hours)
    used = 60 + 20 * np.sin(2 * np.pi * (hour - 8) / 24) - 15 * (hour // 24 % 7 >= 5) - warm
    used += rng.normal(0, 1.5, hours)
    times = np.datetime64("2024-01-01T00", "h") + hour
    return {
        "time": times.astype("datetime64[us]").tolist(),
        "load": used.tolist(),
        "temperature": warm.tolist(),
    }


def main(*, tiny: bool = False) -> shinso.Run:
    """Look a week back, forecast a day."""
    table = readings(500 if tiny else 24 * 7 * 30)
    past, ahead = (48, 12) if tiny else (24 * 7, 24)
    settings = {"train.epochs": 1} if tiny else None
    run = shinso.train(table, predict="load", past=past, ahead=ahead, effort="quick", settings=settings)
    mae = run.evaluation["outputs"]["load"]["metrics"]["mae"]
    print(f"mean error of the test forecasts: {mae['value']:.2f} ({mae['low']:.2f} to {mae['high']:.2f})")
    future = run.predict(table)
    print([round(value, 1) for value in future["load"]])
    return run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="500 hours, one pass over them")
    main(tiny=parser.parse_args().tiny)
