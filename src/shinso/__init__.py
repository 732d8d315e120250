"""shinso (深層): predict these columns, given those. From data to a trained, reported model.

>>> import shinso
>>> run = shinso.train("houses.csv", predict="price")  # doctest: +SKIP
>>> run.predict("new.csv")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .api import (
    audit,
    check,
    compare,
    doctor,
    evaluate,
    explain,
    find_rate,
    mitigate,
    models,
    predict,
    report,
    robustness,
    samples,
    settings,
    train,
)
from .errors import DataError, RunError, SettingError, ShinsoError
from .handle import Run
from .shipping import export, label, monitor, promote, rollback, serve
from .version import VERSION

if TYPE_CHECKING:
    from .client import Client as Client
    from .config import RunConfig as RunConfig
    from .network import Network as Network
    from .schema import Schema as Schema

__version__ = VERSION

# Nouns that need NumPy, pydantic or torch are loaded when they are first asked for.
_NOUNS = {"Client": "client", "RunConfig": "config", "Schema": "schema", "Network": "network"}

__all__ = [
    "Client", "DataError", "Network", "Run", "RunConfig", "RunError", "Schema", "SettingError", "ShinsoError",
    "audit", "check", "compare", "doctor", "evaluate", "explain", "export", "find_rate", "label", "mitigate",
    "models", "monitor", "predict", "promote", "report", "robustness", "rollback", "samples", "serve",
    "settings", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _NOUNS:
        return getattr(import_module(f"{__name__}.{_NOUNS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
