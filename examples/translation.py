"""Text to text: English number words to Japanese numerals, "three hundred twelve" to 三百十二."""

from __future__ import annotations

import argparse

import numpy as np

import shinso

ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
SMALL = [*ONES.split(), "seventeen", "eighteen", "nineteen"]
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
DIGITS = "〇一二三四五六七八九"


def english(number: int) -> str:
    """312 to "three hundred twelve"."""
    if number < 20:
        return SMALL[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f" {SMALL[number % 10]}" if number % 10 else "")
    rest = f" {english(number % 100)}" if number % 100 else ""
    return f"{SMALL[number // 100]} hundred{rest}"


def japanese(number: int) -> str:
    """312 to "三百十二"."""
    text = ""
    for value, name in ((100, "百"), (10, "十"), (1, "")):
        digit = number // value % 10
        if digit:
            text += ("" if digit == 1 and name else DIGITS[digit]) + name
    return text or DIGITS[0]


def main(*, tiny: bool = False) -> shinso.Run:
    """Train on numbers below a thousand and translate some."""
    numbers = np.random.default_rng(0).permutation(1000)[: 80 if tiny else 1000].tolist()
    table = {"english": [english(n) for n in numbers], "japanese": [japanese(n) for n in numbers]}
    settings = {"data.max_length": 16, **({"train.epochs": 1, "model.width": 16} if tiny else {})}
    types = {"english": "text", "japanese": "text"}
    run = shinso.train(
        table, predict="japanese", given="english", types=types, effort="quick", settings=settings
    )
    for number in (7, 42, 312, 999):
        written = run.predict({"english": [english(number)]})["japanese"][0]
        print(f"{english(number)}: {written} (right: {japanese(number)})")
    return run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="80 numbers, one pass over them")
    main(tiny=parser.parse_args().tiny)
