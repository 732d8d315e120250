"""Conditions on rows, as in `age>60 and sex=Female`: parsed, never executed as code.

    condition  := all ("or" all)*
    all        := one ("and" one)*
    one        := "not" one | "(" condition ")" | column compare value | column "in" "(" value, ... ")"
                | column "is" ["not"] "missing"

A column or value with spaces or signs stands in quotes. Values are compared as numbers where the column holds
numbers, as dates where it holds dates, as text otherwise. A row without a value fulfils no comparison.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..columns import Values
from ..columns.base import missing_mask
from ..columns.category import label_of
from ..errors import DataError, SettingError, did_you_mean

Mask = NDArray[np.bool_]
ValuesOf = Callable[[str], Values]
Condition = Callable[[ValuesOf], Mask]
LONGEST, DEEPEST = 1000, 40  # characters, and parentheses inside each other
COMPARE: dict[str, np.ufunc] = {
    "<=": np.less_equal, ">=": np.greater_equal, "!=": np.not_equal, "<>": np.not_equal, "==": np.equal,
    "<": np.less, ">": np.greater, "=": np.equal,
}  # fmt: skip
TOKEN = re.compile(r"""\s*(?:("[^"]*"|'[^']*')|(<=|>=|!=|<>|==|[<>=(),])|([^\s<>=!(),'"]+))""")
SIGNS = re.compile(r"[<>=]|\b(in|is)\b")
TRUTHS = {"true": "True", "yes": "True", "1": "True", "false": "False", "no": "False", "0": "False"}


@dataclass(frozen=True)
class Token:
    """A piece of a condition; `quoted` ones are never words of the language."""

    text: str
    quoted: bool
    place: int


def is_condition(text: str) -> bool:
    """Whether a text is a condition, not the name of a column.

    >>> is_condition("age>60"), is_condition("region")
    (True, False)
    """
    return SIGNS.search(text) is not None


def parse(text: str, names: Sequence[str]) -> Condition:
    """A condition on the columns `names`; `SettingError` says where it is wrong.

    >>> rows = {"age": np.array([30.0, 70.0, np.nan]), "sex": np.array(["f", "f", "m"], object)}
    >>> parse("age > 60 or sex = m", list(rows))(rows.__getitem__).tolist()
    [False, True, True]
    """
    parser = _Parser(text, _tokens(text), names)
    found = parser.condition(0)
    if parser.at < len(parser.tokens):
        raise parser.wrong("expected the end, or and/or")
    return found


def _tokens(text: str) -> list[Token]:
    if len(text) > LONGEST:
        raise SettingError(f"A condition has at most {LONGEST} characters; received {len(text):,}.")
    found, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = TOKEN.match(text, at)
        if match is None:
            raise SettingError(f"The condition {text!r} cannot be read at {text[at:].strip()[:20]!r}.")
        quoted = match[1] is not None
        found.append(Token(match[1][1:-1] if quoted else match[2] or match[3], quoted, match.start()))
        at = match.end()
    return found


class _Parser:
    """Reads tokens from left to right."""

    def __init__(self, text: str, tokens: list[Token], names: Sequence[str]) -> None:
        self.text, self.tokens, self.names, self.at = text, tokens, names, 0

    def condition(self, depth: int) -> Condition:
        if depth > DEEPEST:
            raise SettingError(
                f"The condition {self.text[:40]!r} has too many parentheses inside each other."
            )
        parts = [self.every(depth)]
        while self.word("or"):
            parts.append(self.every(depth))
        return parts[0] if len(parts) == 1 else lambda of: np.logical_or.reduce([part(of) for part in parts])

    def every(self, depth: int) -> Condition:
        parts = [self.one(depth)]
        while self.word("and"):
            parts.append(self.one(depth))
        return parts[0] if len(parts) == 1 else lambda of: np.logical_and.reduce([part(of) for part in parts])

    def one(self, depth: int) -> Condition:
        if depth > DEEPEST:
            raise SettingError(f"The condition {self.text[:40]!r} says not too often.")
        if self.word("not"):
            inner = self.one(depth + 1)
            return lambda of: ~inner(of)
        if self.word("("):
            inner = self.condition(depth + 1)
            self.expect(")")
            return inner
        name = self.take("a column").text
        if name not in self.names:
            raise DataError(f"There is no column {name!r} for the condition {self.text!r}. "
                            f"{did_you_mean(name, self.names)}")  # fmt: skip
        if self.word("is"):
            wanted = not self.word("not")
            self.expect("missing")
            return lambda of: missing_mask(of(name)) == wanted
        if self.word("in"):
            return self.among(name)
        sign = self.take("one of = != < <= > >=, in, is missing")
        if sign.quoted or sign.text not in COMPARE:
            self.at -= 1
            raise self.wrong("expected one of = != < <= > >=, in, is missing")
        value = self.take("a value").text
        return lambda of: compared(name, of(name), sign.text, value)

    def among(self, name: str) -> Condition:
        self.expect("(")
        values = [self.take("a value").text]
        while self.word(","):
            values.append(self.take("a value").text)
        self.expect(")")
        return lambda of: np.logical_or.reduce([compared(name, of(name), "=", value) for value in values])

    def word(self, text: str) -> bool:
        there = self.at < len(self.tokens) and not self.tokens[self.at].quoted
        found = there and self.tokens[self.at].text.lower() == text
        self.at += found
        return found

    def expect(self, text: str) -> None:
        if not self.word(text):
            raise self.wrong(f"expected {text!r}")

    def take(self, what: str) -> Token:
        if self.at >= len(self.tokens) or (
            not self.tokens[self.at].quoted and self.tokens[self.at].text in "(),"
        ):
            raise self.wrong(f"expected {what}")
        self.at += 1
        return self.tokens[self.at - 1]

    def wrong(self, expected: str) -> SettingError:
        place = self.tokens[self.at].place if self.at < len(self.tokens) else len(self.text)
        rest = self.text[place:].strip()[:20]
        found = f"at {rest!r}" if rest else "at its end"
        return SettingError(
            f"The condition {self.text!r} cannot be understood {found}: {expected}. "
            f"Write it as age>60, sex=Female, 'age>60 and city in (Kyoto, Nara)', or income is missing."
        )


def compared(name: str, values: Values, sign: str, text: str) -> Mask:
    """(n,) whether a comparison holds; False where a value is missing."""
    known = ~missing_mask(values)
    compare = COMPARE[sign]
    out = np.zeros(len(values), bool)
    if values.dtype.kind in "if":
        try:
            out[known] = compare(values[known], float(text))
        except ValueError:
            raise SettingError(f"Column {name!r} holds numbers; {text!r} is none.") from None
    elif values.dtype.kind == "M":
        try:
            out[known] = compare(values[known], np.datetime64(text))
        except ValueError:
            raise SettingError(f"Column {name!r} holds dates; {text!r} is none. Write 2024-12-31.") from None
    elif sign in ("<", ">", "<=", ">="):
        out[known] = compare(_as_numbers(name, values[known]), float(text) if _is_number(text) else np.nan)
    else:
        wanted = label_of(text) if values.dtype.kind != "b" else TRUTHS.get(text.lower(), text)
        equal = np.array([_label(v) == wanted for v in values], bool)
        out = known & (equal if compare is np.equal else ~equal)
    return out


def _label(value: object) -> str | None:
    try:
        return label_of(value)
    except TypeError:
        return str(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _as_numbers(name: str, values: Values) -> NDArray[np.float64]:
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError):
        raise SettingError(f"Column {name!r} holds text, which is not ordered. Use = or != or in.") from None
