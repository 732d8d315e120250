"""Grad-CAM: where the last feature maps raise the evidence (Selvaraju et al., ICCV 2017).

For every reader whose features keep their places: maps of an image, tokens in time of series and sound.
P players, D channels, H, W cells, T times.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SettingError
from ..features import Features
from .game import Game
from .scoring import Floats
from .seats import Seat, differs

PLACED = ("image", "series", "audio")  # kinds whose features keep their places


def gradcam(game: Game, rng: np.random.Generator) -> Floats:
    """(P,): the map's mean over each part, in units of evidence; 0 for columns without places."""
    values: list[Floats] = []
    found = False
    for seat in game.seats:
        encoder = _encoder(game, seat.column.name)
        if seat.column.kind in PLACED and encoder is not None:
            cells = cam(game, encoder, seat)
            found = found or cells is not None
            values.append(_by_part(cells, seat) if cells is not None else np.zeros(len(seat.groups)))
        else:
            values.append(np.zeros(len(seat.groups)))
    if not found:
        raise SettingError(
            "Grad-CAM needs features that keep their places, as of images, series and sound; this network "
            "has none. Methods that suit every model: shap, occlusion, lime."
        )
    return np.concatenate(values)


def cam(game: Game, encoder: nn.Module, seat: Seat) -> Tensor | None:
    """(H, W) or (1, T): the weighted sum of the channels, negative parts cut off; None without places."""
    kept: list[Features] = []

    def keep(module: nn.Module, inputs: Any, output: Features) -> None:
        kept.append(output)

    handle = encoder.register_forward_hook(keep)
    batch = game.batch(game.all)
    batch = {n: v.float().requires_grad_() if n == seat.column.name else v for n, v in batch.items()}
    try:
        with torch.enable_grad():
            outputs = game.scorer.outputs(game.network, batch, 1)
            target = torch.tensor([game.target], device=outputs.device)
            evidence = game.scorer.evidence(outputs, target).sum()
    finally:
        handle.remove()
    features, game.evaluations = kept[0], game.evaluations + 2
    places = [] if features.members else [*reversed(features.maps), features.tokens]
    slopes = torch.autograd.grad(evidence, places, allow_unused=True) if places else ()
    for place, slope in zip(places, slopes, strict=True):
        if slope is not None and place.shape[1 if place.ndim == 3 else 2 :].numel() > 1:
            maps = place if place.ndim == 4 else place.transpose(1, 2).unsqueeze(2)
            weights = slope if place.ndim == 4 else slope.transpose(1, 2).unsqueeze(2)
            return F.relu((maps * weights.sum((2, 3), keepdim=True)).sum(1))[0].detach()
    return None


def _by_part(cells: Tensor, seat: Seat) -> Floats:
    """The mean of the cells over what each part touches."""
    shape = seat.base.shape
    size = (shape[0], shape[1]) if seat.column.kind == "image" else (1, shape[0])
    fine = (
        F.interpolate(cells[None, None].float(), size, mode="bilinear", align_corners=False)[0, 0]
        .cpu()
        .numpy()
    )
    found = np.zeros(len(seat.groups))
    for i, alone in enumerate(seat.alone):
        if alone.shape != shape:
            continue
        if seat.column.kind == "image":
            flat = places_of(seat, i)
        else:
            flat = np.any(differs(alone, seat.base).reshape(len(alone), -1), axis=1)[None]
        found[i] = float((fine * flat).sum() / max(1, fine.size))
    return found


def places_of(seat: Seat, player: int) -> Any:
    """(H, W) of an image: the patch of a player, also where hiding it changes nothing."""
    height, width = seat.base.shape[:2]
    rows = 1 + max(p[0] for group in seat.groups for p in group if isinstance(p, tuple))
    columns = 1 + max(p[1] for group in seat.groups for p in group if isinstance(p, tuple))
    patch = np.zeros((height, width), bool)
    for part in seat.groups[player]:
        assert isinstance(part, tuple)
        y, x = part
        patch[
            y * height // rows : (y + 1) * height // rows, x * width // columns : (x + 1) * width // columns
        ] = True
    return patch


def _encoder(game: Game, column: str) -> nn.Module | None:
    encoders = list(game.network.encoders.values())[1 if game.network.reads_scalars else 0 :]
    return dict(zip(game.network.sources, encoders, strict=True)).get(column)
