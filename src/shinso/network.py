"""Encoders by input type, one fuser, heads by output type: the only place where they meet."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Self

from torch import Tensor, nn

from .columns import Column
from .config import ModelConfig
from .errors import DataError
from .features import Features
from .fusers import Concat, Join, Nothing
from .heads import HEADS, POOLED, Head, HeadOptions, Loss
from .models import Encoder, encoder_for, must_read, scalars_for
from .schema import Schema

Batch = dict[str, Tensor]


class Network(nn.Module):
    """A whole model: given columns to features, features to predicted columns.

    All scalar columns (numbers, categories, dates, labels) are read together by one encoder, every other
    column by its own. `options` must be resolved: no size may be None.
    """

    def __init__(
        self, schema: Schema, options: ModelConfig, head_options: dict[str, HeadOptions] | None = None
    ) -> None:
        super().__init__()
        must_read(schema.given, options)
        scalars = tuple(c for c in schema.given if c.scalar)
        others = tuple(c for c in schema.given if not c.scalar)
        self.resting: tuple[nn.Module, ...] = ()  # modules that stay in evaluation mode
        self.sources = [c.name for c in others]
        self.reads_scalars = bool(scalars)
        encoders: list[Encoder] = [scalars_for(scalars, options)] if scalars else []
        pooled = all(c.kind in POOLED for c in schema.predict)
        forecasts = all(c.kind == "series" for c in schema.predict)
        encoders += [encoder_for(c, options, pooled=pooled, forecasts=forecasts) for c in others]
        names = (["scalars"] if scalars else []) + [module_name(i, c.name) for i, c in enumerate(others)]
        self.encoders = nn.ModuleDict(dict(zip(names, encoders, strict=True)))
        self.fuser = _fuser(encoders, schema, options)
        end = self.fuser if self.fuser is not None else encoders[0]
        maps = tuple(channels for encoder in encoders for channels in encoder.channels)
        self.outputs = [c.name for c in schema.predict]
        self.heads = nn.ModuleDict(
            {
                module_name(i, c.name): _head(
                    c,
                    end.width,
                    end.members,
                    replace((head_options or {}).get(c.name, HeadOptions()), maps=maps),
                )
                for i, c in enumerate(schema.predict)
            }
        )

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002
        """As of every module; but what rests keeps its statistics and drops nothing."""
        super().train(mode)
        for module in self.resting:
            module.eval()
        return self

    def features(self, batch: Batch, rows: int) -> Features:
        """What the encoders and the fuser make of the given columns of `batch`."""
        if isinstance(self.fuser, Nothing):
            return self.fuser(rows)
        encoders = list(self.encoders.values())
        parts = [encoders.pop(0)(batch)] if self.reads_scalars else []
        parts += [encode(batch[name]) for name, encode in zip(self.sources, encoders, strict=True)]
        return parts[0] if self.fuser is None else self.fuser(parts)

    def named_heads(self) -> list[tuple[str, Head]]:
        """The heads with the names of the columns they predict."""
        return list(zip(self.outputs, self.heads.values(), strict=True))  # type: ignore[arg-type]

    def losses(self, batch: Batch, rows: int) -> dict[str, Loss]:
        """By predicted column: the sum of the losses and what it was summed over."""
        features = self.features(batch, rows)
        return {name: head.loss(features, batch[name]) for name, head in self.named_heads()}

    def predict(self, batch: Batch, rows: int) -> dict[str, Tensor]:
        """By predicted column: (rows, ...) arrays for `column.decode`."""
        features = self.features(batch, rows)
        return {name: head.predict(features) for name, head in self.named_heads()}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """By predicted column: what one-pass heads give before a decision is made (logits)."""
        features = self.features(batch, len(next(iter(batch.values()))))
        return {name: head(features) for name, head in self.named_heads()}

    def rates(self) -> dict[str, float]:
        """Multiplier of the learning rate by parameter name, for those that are not 1."""
        found = {}
        for module_key, encoder in self.encoders.items():
            assert isinstance(encoder, Encoder)
            for name, _ in encoder.named_parameters():
                for prefix, rate in encoder.rates.items():
                    if name.startswith(prefix):
                        found[f"encoders.{module_key}.{name}"] = rate
        return found


def module_name(position: int, column: str) -> str:
    """A key for `nn.ModuleDict`, which forbids dots and the names of its own methods.

    >>> module_name(0, "unit.price")
    '0_unit_price'
    """
    return f"{position}_{re.sub(r'[^0-9A-Za-z]+', '_', column).strip('_') or 'column'}"


def _fuser(encoders: list[Encoder], schema: Schema, options: ModelConfig) -> Concat | Join | Nothing | None:
    width = options.width or 128
    if not encoders:
        return Nothing(width)
    if len(encoders) == 1:
        return None
    pooled = all(c.kind in POOLED for c in schema.predict)
    if options.fuser == "concat" or (options.fuser == "auto" and pooled):
        return Concat(
            [e.width for e in encoders], [e.members for e in encoders], width, options.dropout or 0.0
        )
    return Join([e.width for e in encoders], width)


def _head(column: Column, width: int, members: int, options: HeadOptions) -> Head:
    if column.kind not in HEADS:
        raise DataError(
            f"Column {column.name!r} is of type {column.kind}, which cannot be predicted yet. "
            f"Types that can: {', '.join(sorted(HEADS))}. "
            f"Give it another type with --types {column.name}=TYPE."
        )
    return HEADS[column.kind](column, width, members, options)
