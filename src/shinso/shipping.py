"""What a user calls to bring a model to its users, from Python and from the command line, without torch.

As in `api.py`, each verb hands over to the module that does the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .handle import Data, Run, allowed_by, path_of, work


def export(
    run: Run | str | Path, *, to: str = "onnx", data: Data = None, out: str | Path | None = None,
    allow: Sequence[str] = (), quiet: bool = False,
) -> Path:  # fmt: skip
    """Write a run for other programs, and for shinso without torch, once it is proven to answer alike.

    Args:
        run: Run directory.
        to: onnx, torch (torch.export) or openvino.
        data: Rows to compare on; the run's own validation rows when left out.
        out: Folder to write; exports/NAME in the run by default. It must not exist.
        allow: Model of your own to import, as in my_module:MyEncoder, when the run names it.
        quiet: Say nothing on stderr.
    """
    found: Path = work("exporting.write").export(
        path_of(run), to, data, out=out, allow=(*allowed_by(run), *allow), quiet=quiet
    )
    return found
