"""Sound files, whole and damaged, and boxes in shares and in pixels."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from shinso.columns.audio import Audio
from shinso.columns.base import object_array
from shinso.columns.boxes import Boxes
from shinso.errors import DataError

SIZED = {"width": 200, "height": 100, "boxes": [{"label": "cat", "x1": 20, "y1": 10, "x2": 100, "y2": 50}]}


def tone(seconds: float = 0.2, rate: int = 8000, hertz: float = 440.0) -> NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def written(samples: NDArray[Any], rate: int = 8000, kind: str = "WAV", subtype: str | None = None) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=kind, subtype=subtype)
    return out.getvalue()


def audio(**fields: Any) -> Audio:
    return Audio(name="call", **fields)


# Audio ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "tolerance"), [("WAV", 1e-4), ("FLAC", 1e-4), ("OGG", 0.2)])
def test_formats(kind: str, tolerance: float, tmp_path: Path) -> None:
    data = written(tone(), kind=kind)
    path = tmp_path / f"sound.{kind.lower()}"
    path.write_bytes(data)
    column = audio().fit(object_array([path, None]))
    assert column.rate == 8000 and column.length == 1600
    array = column.encode(path)
    assert array.dtype == np.float32 and array.shape == (1600,)
    np.testing.assert_allclose(array, tone(), atol=tolerance)
    text = base64.b64encode(data).decode()
    for other in (data, text, f"data:audio/x;base64,{text}"):
        np.testing.assert_array_equal(column.encode(other), array)


def test_channels_are_mixed_and_rates_brought_together() -> None:
    stereo = np.stack([tone(rate=16_000), np.zeros(3200, np.float32)], 1)
    array = audio(rate=8000).encode(written(stereo, 16_000, subtype="FLOAT"))
    assert array.shape == (1600,)
    np.testing.assert_allclose(array[200:-200], tone()[200:-200] / 2, atol=0.01)


def test_the_most_common_rate_is_learned() -> None:
    sounds = [written(tone(rate=r), r) for r in (8000, 16_000, 16_000)]
    column = audio().fit(object_array(sounds))
    assert column.rate == 16_000
    assert column.summary(object_array(sounds))["rates"] == {"16000": 2, "8000": 1}


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_cut_file_is_refused(kind: str, share: float) -> None:
    data = written(tone(3.0), kind=kind)
    with pytest.raises(DataError, match="'call'"):
        audio(rate=8000).encode(data[: int(len(data) * share)])


def test_a_header_that_lies_about_its_length_is_refused() -> None:
    data = bytearray(written(tone()))
    at = data.index(b"data") + 4
    data[at : at + 4] = (2**31).to_bytes(4, "little")
    data[4:8] = (2**31 + 36).to_bytes(4, "little")
    with pytest.raises(DataError, match="truncated"):
        audio(rate=8000).encode(bytes(data))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"", "empty"), (b"not a sound at all", "no readable sound"), ("not base64!", "base64"),
        (5, "sound file"), ([1.0], "sound file"), (Path("no/such.wav"), "no file"), (Path("/"), "no file"),
        (b"RIFF1234WAVE", "'call'"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_sound_is_refused(value: Any, says: str) -> None:
    with pytest.raises(DataError, match=says) as error:
        audio().encode(value)
    assert "'call'" in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(bad: float) -> None:
    samples = tone()
    samples[5] = bad
    with pytest.raises(DataError, match="NaN or infinite"):
        audio(rate=8000).encode(written(samples, subtype="FLOAT"))


def test_a_long_sound_is_refused_from_its_header() -> None:
    silence = written(np.zeros(8000 * 61, np.int16), kind="FLAC")
    with pytest.raises(DataError, match="lasts 61 seconds; at most 60"):
        audio(rate=8000).encode(silence)
    with pytest.raises(DataError, match="lasts 61 seconds"):
        audio().fit(object_array([silence]))
    assert len(audio(rate=8000, max_seconds=100.0).encode(silence)) == 8000 * 61


def test_a_sound_without_samples_is_refused() -> None:
    with pytest.raises(DataError, match="no samples"):
        audio(rate=8000).encode(written(np.zeros(0, np.float32)))


def test_spans_are_silenced() -> None:
    column = audio(rate=8000)
    data = written(tone(), subtype="FLOAT")
    parts = column.parts(data)
    assert len(parts) == 16 and parts[0] == (0, 100)
    hidden = column.encode(column.hide(data, (0, 100)))
    assert not hidden[:100].any()
    np.testing.assert_array_equal(hidden[100:], column.encode(data)[100:])


def test_short_sounds_can_be_played() -> None:
    column = audio(rate=8000)
    shown = column.show(written(tone()))
    player = shown.partition("base64,")[2].partition('"')[0]
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(player)))
    assert rate == 8000 and len(samples) == 1600
    assert "<audio" not in column.show(written(tone(6.0)))


@pytest.mark.parametrize(
    ("values", "is_sound"),
    [
        ([Path("a.wav"), Path("b.FLAC"), None], True), ([b"fLaC12"], True),
        (["data:audio/wav;base64,A"], True), ([Path("a.png")], False), (["a.wav"], False),
        ([b"RIFF....WEBP"], False),
        ([None], False),
        ([1.0], False),
    ],
    ids=str,
)  # fmt: skip
def test_inference_of_sound(values: list[Any], is_sound: bool) -> None:
    assert Audio.matches(object_array(values)) == (0.95 if is_sound else 0.0)


# Boxes ---------------------------------------------------------------------------------------------


def boxes(**fields: Any) -> Boxes:
    return Boxes(name="cells", **fields)


def box(label: str = "cat", x1: Any = 0.1, y1: Any = 0.1, x2: Any = 0.5, y2: Any = 0.5) -> dict[str, Any]:
    return {"label": label, "x1": x1, "y1": y1, "x2": x2, "y2": y2}


def test_shares_of_the_picture() -> None:
    column = boxes().fit(object_array([[box("dog"), box("cat")], [], None]))
    assert column.labels == ("cat", "dog") and (column.width, column.height) == (0, 0)
    np.testing.assert_allclose(column.encode([box("dog")]), [[1, 0.1, 0.1, 0.5, 0.5]], rtol=1e-6)
    assert column.encode([]).shape == (0, 5) and np.isnan(column.encode(None)).all()
    assert column.encode(json.dumps([box("cat")])).tolist() == column.encode([box("cat")]).tolist()


def test_pixels_with_a_stated_size() -> None:
    column = boxes().fit(object_array([SIZED]))
    assert (column.width, column.height) == (200, 100)
    np.testing.assert_allclose(column.encode(SIZED), [[0, 0.1, 0.1, 0.5, 0.5]], rtol=1e-6)
    other = {**SIZED, "width": 400}
    np.testing.assert_allclose(column.encode(other)[0, 1:], [0.05, 0.1, 0.25, 0.5], rtol=1e-6)


def test_pixels_without_a_size_are_measured_by_the_training_rows() -> None:
    column = boxes().fit(object_array([[box(x1=0, y1=0, x2=320, y2=100)], [box(x1=0, y1=0, x2=16, y2=240)]]))
    assert (column.width, column.height) == (320, 240)
    np.testing.assert_allclose(column.encode([box(x1=32, y1=24, x2=64, y2=48)])[0, 1:], [0.1, 0.1, 0.2, 0.2])
    with pytest.raises(DataError, match=r"outside of its picture, at 2.00 times"):
        column.encode([box(x1=0, y1=0, x2=640, y2=48)])


def test_decoding_gives_boxes_in_the_units_of_the_column() -> None:
    column = boxes().fit(object_array([SIZED]))
    found = column.decode(np.array([[0, 0.9, 0.1, 0.1, 0.5, 1.5], [-1, 0, 0, 0, 0, 0]], np.float32))
    assert len(found) == 1 and found[0]["label"] == "cat" and found[0]["score"] == pytest.approx(0.9)
    assert [found[0][k] for k in ("x1", "y1", "x2", "y2")] == pytest.approx([20, 10, 100, 100])
    assert column.decode(np.zeros((0, 6))) == []


def test_padding_is_no_box_and_missing_is_neither() -> None:
    column = boxes(labels=("cat",))
    batch = column.collate([column.encode([box()] * 2), column.encode([]), column.encode(None)])
    assert batch.shape == (3, 2, 5)
    assert batch[1, :, 0].tolist() == [-1, -1] and np.isnan(batch[2, 0]).all() and batch[2, 1, 0] == -1
    assert column.collate([column.encode([])]).shape == (1, 1, 5)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([box("cot")], "Did you mean 'cat'"), ([box(x2=0.05)], "x1 < x2"), ([box(x1=-1)], "0 or more"),
        ([box(x1=None)], "x1 is a number"), ([box(x1="1")], "x1 is a number"), ([box(x1=True)], "x1 is a"),
        ([box(x2=float("nan"))], "x2 is a number"), ([box(y2=float("inf"))], "y2 is a number"),
        ([box(x2=10**400)], "x2 is a number"), ("{", "as JSON"), ("[" * 100_000, "as JSON"), ([5], "like"),
        (5, "list of boxes"), ([{"label": 1}], "like"), ([box()] * 10_001, "at most"),
        ({"boxes": []}, "width"), ({"width": 1e9, "height": 5, "boxes": []}, "width is"),
        ({"width": 0, "height": 5, "boxes": []}, "a side"),
        ({"width": 5, "height": 5, "boxes": None}, "list of"),
    ],
    ids=lambda v: str(v)[:30],
)  # fmt: skip
def test_what_is_no_box_is_refused(value: Any, says: str) -> None:
    with pytest.raises(DataError, match=says) as error:
        boxes(labels=("cat",)).encode(value)
    assert "'cells'" in str(error.value) and len(str(error.value)) < 400


def test_no_box_at_all_is_nothing_to_learn() -> None:
    with pytest.raises(DataError, match="no box"):
        boxes().fit(object_array([[], None]))


def test_boxes_are_hidden_one_by_one() -> None:
    column = boxes().fit(object_array([SIZED]))
    two = [box("cat"), box("cat", x1=0.2)]
    assert column.parts(two) == [0, 1] and column.hide(two, 0) == [two[1]]
    assert column.hide(SIZED, 0) == {"width": 200, "height": 100, "boxes": []}
    assert column.show(two) == "2 × cat" and column.show([]) == "no box"


@pytest.mark.parametrize(
    ("values", "is_boxes"),
    [
        ([[box()], []], True), ([SIZED], True), ([json.dumps([box()]), "[]"], True), ([[], []], False),
        ([[1.0, 2.0]], False), (["[1, 2]"], False), ([{"a": 1}], False), ([None], False), ([["a"]], False),
    ],
    ids=lambda v: str(v)[:30],
)  # fmt: skip
def test_inference_of_boxes(values: list[Any], is_boxes: bool) -> None:
    assert Boxes.matches(object_array(values)) == (0.95 if is_boxes else 0.0)
