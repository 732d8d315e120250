"""What a client is told when it gets no answer: a stable code, the field, what happened, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from ..errors import SettingError, ShinsoError, did_you_mean

TYPES = re.compile(r",? or give the column another type[^.]*(?=\.)")  # which only who trains can do

# Every code that the server gives, with its HTTP status. Clients may rely on them.
CODES: dict[str, int] = {
    "bad_json": 400,
    "bad_request": 400,
    "bad_value": 400,
    "bad_tensor": 400,
    "missing_field": 400,
    "unknown_field": 400,
    "no_rows": 400,
    "not_explained": 400,
    "no_coverage": 400,
    "no_key": 401,
    "forbidden": 403,
    "not_found": 404,
    "no_log": 404,
    "unknown_model": 404,
    "unknown_version": 404,
    "wrong_method": 405,
    "deadline_expired": 408,
    "conflict": 409,
    "too_large": 413,
    "wrong_type": 415,
    "no_finite_answer": 422,
    "client_gone": 499,
    "model_refused": 409,
    "too_many": 429,
    "head_too_large": 431,
    "internal": 500,
    "overloaded": 503,
    "not_ready": 503,
}


@dataclass(frozen=True)
class Trouble:
    """What went wrong with one request."""

    code: str
    message: str
    remedy: str = ""
    field: str | None = None
    retry_after: float | None = None  # seconds

    @property
    def status(self) -> int:
        """The HTTP status."""
        return CODES[self.code]

    def to_dict(self) -> dict[str, Any]:
        """The object under "error" in an answer."""
        return {"code": self.code, "field": self.field, "message": self.message, "remedy": self.remedy}


class Refusal(Exception):
    """A request that is not answered, for a reason that its sender is told."""

    def __init__(
        self, code: str, message: str, remedy: str = "", *, field: str | None = None,
        retry_after: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.trouble = Trouble(code, message, remedy, field, retry_after)


class Fence:
    """Holds what is raised inside its block, so that one client's trouble stays its own.

    A model may raise anything. This is the one place where any exception is held; it is kept in `error`,
    which who uses the fence has to look at. Cancelling and leaving the program pass.
    """

    error: Exception | None = None

    def __enter__(self) -> Fence:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.error = error if isinstance(error, Exception) else None
        return self.error is not None


def refusal_of(error: Exception, fields: Iterable[str] = ()) -> Refusal:
    """What a client is told about an error: our own words where it is theirs, nothing of ours where not."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, SettingError):  # only a coverage is a setting of a request
        return Refusal("no_coverage", *sentences(str(error)), field="coverage")
    if isinstance(error, ShinsoError):
        said = TYPES.sub("", " ".join(str(error).split()))
        field = next((name for name in fields if repr(name) in said), None)
        message, remedy = sentences(said)
        return Refusal("bad_value", message, remedy, field=field)
    return Refusal(
        "internal", "The server could not answer this request.", "Tell who runs it the request id."
    )


def sentences(text: str) -> tuple[str, str]:
    """What happened, and the last sentence, which says what to do.

    >>> sentences("Column 'age' holds numbers; received 'x'. Correct the value.")
    ("Column 'age' holds numbers; received 'x'.", 'Correct the value.')
    """
    head, found, tail = text.rstrip().rpartition(". ")
    return (head + ".", tail) if found else (text, "Correct the request.")


def unknown_field(name: str, known: Iterable[str]) -> Refusal:
    """The refusal of a field that the model does not read."""
    remedy = f"{did_you_mean(name, known)} Leave it out, or correct its name."
    return Refusal("unknown_field", f"The model reads no field {name!r}.", remedy, field=name)


def missing_field(name: str) -> Refusal:
    """The refusal of a row without a field that the model reads."""
    remedy = "Add it; give null where its value is not known."
    return Refusal("missing_field", f"The field {name!r} is missing.", remedy, field=name)
