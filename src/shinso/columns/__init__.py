"""One file a column type. To add one: write the file, add it to COLUMNS (CONTRIBUTING.md has the recipe)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import DataError, SettingError, did_you_mean
from .audio import Audio
from .base import Column, Value, Values
from .boxes import Boxes
from .category import Category
from .datetime import Datetime
from .image import Image
from .labels import Labels
from .mask import Mask
from .number import Number
from .series import Series
from .text import Text

# The order settles ties: of two types that match equally well the earlier one is taken.
COLUMNS: tuple[type[Column], ...] = (
    Image, Mask, Audio, Boxes, Series, Datetime, Number, Labels, Category, Text,
)  # fmt: skip

__all__ = ["COLUMNS", "Column", "Value", "Values", "column_type", "restore_column"]


def column_type(kind: str) -> type[Column]:
    """The class of a kind of column; an unknown kind is a `SettingError`."""
    for column in COLUMNS:
        if column.kind == kind:
            return column
    kinds = [c.kind for c in COLUMNS]
    raise SettingError(f"There is no column type {kind!r}. {did_you_mean(kind, kinds)}")


def restore_column(data: Mapping[str, Any]) -> Column:
    """The inverse of `Column.to_dict`; data of another shape is a `DataError`."""
    if not isinstance(data, Mapping) or not isinstance(data.get("kind"), str):
        raise DataError(f"A column is stored as an object with a 'kind'; received {str(data)[:80]!r}.")
    fields = {key: value for key, value in data.items() if key != "kind"}
    try:
        return column_type(data["kind"]).restore(fields)
    except TypeError as error:
        raise DataError(
            f"The stored column {str(fields.get('name'))!r} does not fit its type: {error}."
        ) from None
