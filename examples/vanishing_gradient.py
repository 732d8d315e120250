"""How far back a recurrent network learns: the gradient of its last state by each earlier input, drawn.

The LSTM begins with forget gates that are open, as is usual.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from shinso.models.recurrent import Recurrent

COLOURS = {"rnn": "#c0392b", "gru": "#2471a3", "lstm": "#1e8449"}
WIDTH, HEIGHT, LEFT, TOP, LOWEST = 640, 360, 60, 30, -8  # pixels; exponent at the bottom of the picture


def reach(cell: str, steps: int, hidden: int) -> list[float]:
    """The size of the gradient by the input 0, 1, ... steps before the end, over that of the last input."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Recurrent(cell, 16, hidden)  # type: ignore[arg-type]
        with torch.no_grad():
            if cell == "lstm":  # a forget gate that begins open (Gers et al. 2000; Jozefowicz et al. 2015)
                network.layers.get_parameter("bias_ih_l0")[hidden : 2 * hidden] = 3.0
        x = torch.randn(8, steps, 16, requires_grad=True)
        network(x, torch.full((8,), steps))[:, -1].sum().backward()
    assert x.grad is not None
    sizes = x.grad.flip(1).norm(dim=(0, 2))
    return [float(s / sizes[0]) for s in sizes]


def draw(found: dict[str, list[float]], path: Path) -> None:
    """Curves on a logarithmic scale."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen, steps = ImageDraw.Draw(picture), len(next(iter(found.values())))
    for exponent in range(0, LOWEST - 1, -2):
        y = TOP + (HEIGHT - 2 * TOP) * exponent / LOWEST
        pen.line([(LEFT, y), (WIDTH - 20, y)], fill="#dddddd")
        pen.text((10, y - 6), f"1e{exponent}" if exponent else "1", fill="black")
    for k, (cell, sizes) in enumerate(found.items()):
        heights = [max(LOWEST, math.log10(max(s, 1e-30))) / LOWEST for s in sizes]
        across = [LEFT + (WIDTH - LEFT - 20) * i / (steps - 1) for i in range(steps)]
        line = [(x, TOP + (HEIGHT - 2 * TOP) * h) for x, h in zip(across, heights, strict=True) if h < 1]
        pen.line(line, fill=COLOURS[cell], width=3)
        pen.text((LEFT + 10 + 70 * k, 8), cell, fill=COLOURS[cell])
    pen.text((LEFT, HEIGHT - 20), f"steps before the end: 0 to {steps - 1}", fill="black")
    picture.save(path)


def main(*, tiny: bool = False) -> dict[str, float]:
    """Measure and draw."""
    steps = 30 if tiny else 60
    found = {cell: reach(cell, steps, 64) for cell in COLOURS}
    for cell, sizes in found.items():
        print(f"{cell}: of the gradient by the last input, {sizes[-1]:.1e} is left {steps - 1} steps before")
    draw(found, Path("vanishing_gradient.png"))
    return {cell: sizes[-1] for cell, sizes in found.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="30 steps in place of 60")
    main(tiny=parser.parse_args().tiny)
