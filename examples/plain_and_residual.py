"""Why ResNets have shortcuts: 34 layers without them learn more slowly than 18, with them they do not."""

from __future__ import annotations

import argparse

from PIL import Image, ImageDraw

import shinso

COLOURS = {"plain18": "#e59866", "plain34": "#c0392b", "resnet18": "#7dcea0", "resnet34": "#1e8449"}
WIDTH, HEIGHT, LEFT, TOP, HIGHEST = 640, 360, 50, 40, 3.0  # pixels; loss at the top


def training_loss(folder: str, model: str, width: int, epochs: int) -> list[float]:
    """The mean loss of each pass: what He et al. (2015, figure 4) compare, for it is no overfitting."""
    settings = {
        "model.width": width, "model.stem": "small", "train.optimizer": "sgd", "train.learning_rate": 0.05,
        "train.epochs": epochs, "train.batch_size": 64, "train.augment": "none", "train.label_smoothing": 0.0,
    }  # fmt: skip
    run = shinso.train(folder, model=model, settings=settings, out=f"runs/{model}", quiet=True)
    return [float(entry["loss"]["label"]) for entry in run.metrics]


def draw(found: dict[str, list[float]]) -> None:
    """The training losses, pass by pass."""
    pen = ImageDraw.Draw(picture := Image.new("RGB", (WIDTH, HEIGHT), "white"))
    for loss in range(int(HIGHEST) + 1):
        y = HEIGHT - TOP - (HEIGHT - 2 * TOP) * loss / HIGHEST
        pen.line([(LEFT, y), (WIDTH - 20, y)], fill="#dddddd")
        pen.text((20, y - 6), str(loss), fill="black")
    for k, (model, losses) in enumerate(found.items()):
        across = [LEFT + (WIDTH - LEFT - 20) * i / (len(losses) - 1) for i in range(len(losses))]
        down = [HEIGHT - TOP - (HEIGHT - 2 * TOP) * min(loss, HIGHEST) / HIGHEST for loss in losses]
        pen.line(list(zip(across, down, strict=True)), fill=COLOURS[model], width=3)
        pen.text((LEFT + 10 + 90 * k, 8), model, fill=COLOURS[model])
    pen.text((LEFT, HEIGHT - 25), "training loss, from the first to the last pass", fill="black")
    picture.save("plain_and_residual.png")


def main(*, tiny: bool = False) -> dict[str, float]:
    """Train plain and residual networks of 18 and 34 layers, and draw how they learn."""
    folder, found = str(shinso.samples("digits", out="digits_resnet")), {}
    for model in ("plain34", "resnet34") if tiny else COLOURS:
        found[model] = training_loss(folder, model, 64 if tiny else 128, 2 if tiny else 8)
        print(f"{model}: training loss {found[model][-1]:.3f} after {2 if tiny else 8} passes")
    draw(found)
    return {model: losses[-1] for model, losses in found.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="thin networks of 34 layers only")
    main(tiny=parser.parse_args().tiny)
