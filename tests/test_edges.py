"""Values, files and settings at the edge of what is sensible: none is misread, lost or ignored in silence."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import nn

import shinso
from shinso import comparison, console, presenting, rates
from shinso.columns.audio import Audio
from shinso.columns.base import object_array
from shinso.columns.category import Category, label_of
from shinso.columns.datetime import Datetime
from shinso.columns.image import Image
from shinso.columns.labels import Labels
from shinso.columns.mask import IGNORE, Mask
from shinso.columns.published import word_pieces
from shinso.columns.series import Series
from shinso.columns.text import Text
from shinso.config import DataConfig, ModelConfig, TrainConfig
from shinso.data import archive
from shinso.data.entries import Entries
from shinso.data.filters import parse
from shinso.data.split import split
from shinso.data.table import Table
from shinso.errors import DataError, RunError, SettingError, ShinsoError
from shinso.features import Features
from shinso.files import read_json_lines, write_atomic
from shinso.heads import HeadOptions, Loss
from shinso.heads.classify import Classify
from shinso.models import must_obey
from shinso.models.images import PlainEncoder
from shinso.models.residual import ResidualNet
from shinso.plan import Plan
from shinso.preparing import class_weights
from shinso.run import RunDirectory
from shinso.schema import fit_column
from shinso.slices import cells_of
from small_runs import FAST, houses, train

SEPARATOR = "\u2028"  # a character that ends a line for Python and stands unescaped in JSON

# ---- columns


def fitted_mask(*levels: tuple[int, int]) -> Mask:
    """A mask with so many pixels of each level."""
    pixels = np.concatenate([np.full(count, level, np.uint8) for level, count in levels])
    return Mask(name="organ").fit(object_array([pixels.reshape(1, -1)]))


def test_many_classes_of_a_mask_stay_classes() -> None:
    rare = [(level, 10) for level in range(1, 13)]
    assert fitted_mask((0, 5000), *rare).levels == tuple(range(13))
    assert fitted_mask(*((level, 9) for level in range(150))).levels == tuple(range(150))
    framed = fitted_mask((0, 5000), *rare, (255, 800))
    assert framed.levels == tuple(range(13)) and framed.ignored == (IGNORE,)
    gap = fitted_mask((0, 5000), *[pair for pair in rare if pair[0] != 7], (255, 800))
    assert 8 in gap.levels


def test_blurred_masks_are_black_and_white_and_others_are_refused() -> None:
    edges = [(level, 3) for level in (1, 2, 5, 60, 128, 190, 250, 253, 254)]
    assert fitted_mask((0, 5000), *edges, (255, 4000)).levels == (0, 255)
    with pytest.raises(DataError, match=r"100 levels.*number of each pixel's class"):
        fitted_mask(*((2 * level, 9) for level in range(100)))


def test_none_is_a_label_where_tables_read_it_as_one(tmp_path: Path) -> None:
    assert [label_of(word) for word in ("none", "Na", "None", "NA")] == ["none", "Na", None, None]
    rows = "".join(f"{i},{'none' if i % 2 else 'some'}\n" for i in range(60))
    (tmp_path / "x.csv").write_text(f"size,damage\n{rows}")
    values = Table.read(tmp_path / "x.csv").values("damage")
    assert Category(name="damage").fit(values).labels == ("none", "some")


def test_targets_that_count_as_missing_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = houses()
    data["dear"] = ["NA" if i % 3 == 0 else "yes" if i % 3 == 1 else "no" for i in range(len(data["dear"]))]
    run = train(tmp_path, data, predict="dear", given="area", quiet=False)
    said = capsys.readouterr().err
    assert "80 rows teach nothing of 'dear': 'NA' counts as missing" in said
    assert sum(entry["column"] == "dear" for entry in Quarantine.of(run.path)) == 80


class Quarantine:
    """What a run left out."""

    @staticmethod
    def of(path: Path) -> list[dict[str, object]]:
        return read_json_lines(path / "quarantine.jsonl")


def test_one_class_beside_missing_words_is_refused(tmp_path: Path) -> None:
    data = houses()
    data["dear"] = ["yes" if i % 2 else "None" for i in range(len(data["dear"]))]
    with pytest.raises(DataError, match="only one class"):
        train(tmp_path, data, predict="dear", given="area")


def test_labels_too_rare_to_keep_teach_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shinso.columns.category.MOST_LABELS", 2)
    column = Category(name="y").fit(object_array(["a", "a", "a", "b", "b", "c"]))
    assert (column.labels, column.folded) == (("a", "b"), 1)
    head = Classify(column, 4, 0, HeadOptions(label_smoothing=0.1))
    target = torch.from_numpy(np.asarray(column.encode_many(object_array(["a", "c", None]))))
    loss = head.loss(Features.of(torch.ones(3, 1, 4)), target)
    assert float(loss.count) == 1.0 and torch.isfinite(loss.total)


def test_class_weights_know_kept_labels_only() -> None:
    class Held:
        def __getitem__(self, name: str) -> Held:
            return self

        def take(self, rows: object) -> list[int]:
            return [0, 0, 1, 2, -1]

    column = Category(name="y", labels=("a", "b"), counts=(2, 1), folded=1)
    assert len(class_weights(column, Held(), np.arange(5))) == 2  # type: ignore[arg-type]


def test_labels_are_split_by_what_splits_them() -> None:
    column = Labels(name="tags").fit(
        object_array(["Kyoto, Japan|Osaka, Japan", "Kyoto, Japan", "Nara, Japan"])
    )
    assert column.separator == "|" and "Kyoto, Japan" in column.labels
    many = object_array(["|".join(f"tag{j}" for j in range(i, i + 40)) for i in range(0, 2000, 20)])
    assert Labels(name="tags").fit(many) == Labels(name="tags").fit(many)


def test_times_that_are_missing_far_off_or_no_times() -> None:
    column = Datetime(name="at").fit(np.array([1.7e9, np.nan, 1.8e9]))
    assert np.isnan(column.encode_many(np.array([np.nan, 1.75e9]))[0]).all()
    for value in (1e300, 10**400, 1e22, [1], "0001-01-01T00:00:00+09:00", "9999-12-31T23:59:59-09:00"):
        with pytest.raises(DataError, match="holds dates or times"):
            column.encode_many(object_array([value, "2024-01-31"]))


def test_a_damaged_sound_does_not_end_the_training(tmp_path: Path) -> None:
    good = Audio.examples(np.random.default_rng(0), 4)
    (tmp_path / "x.wav").write_bytes(b"RIFF")
    column = Audio(name="call").fit(object_array([*good, tmp_path / "x.wav"]))
    assert column.rate == 8000 and column.summary(object_array([*good, None]))["missing"] == 1
    with pytest.raises(DataError, match=r"no readable sound"):
        Audio(name="call").fit(object_array([tmp_path / "x.wav"]))


def test_settings_of_lengths_are_heeded() -> None:
    tones = Audio.examples(np.random.default_rng(0), 3)
    with pytest.raises(DataError, match=r"data\.max_seconds=1"):
        fit_column("call", "audio", tones, DataConfig(max_seconds=0.1)).encode_many(
            object_array([Audio.examples(np.random.default_rng(3), 9)[i] for i in range(9)])
        )
    column = fit_column("wave", "series", object_array([[1.0, 2.0, 3.0, 4.0]]), DataConfig(max_length=3))
    assert isinstance(column, Series) and len(column.encode([1.0, 2.0, 3.0, 4.0])) == 3


def test_a_piece_of_a_published_vocabulary_may_be_a_line_separator(tmp_path: Path) -> None:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", SEPARATOR, "film"]
    made = word_pieces("\n".join(pieces) + "\n", tmp_path / "vocab.txt")
    assert made.token_to_id("film") == 5


# ---- files


def test_a_first_line_of_json_may_be_long_or_hold_a_line_separator(tmp_path: Path) -> None:
    for text in ("あ" * 9_000, f"one{SEPARATOR}two"):
        lines = [json.dumps({"text": text, "y": i}, ensure_ascii=False) for i in range(3)]
        (tmp_path / "x.jsonl").write_text("\n".join(lines), "utf-8")
        table = Table.read(tmp_path / "x.jsonl")
        assert len(table) == 3 and table.values("text")[0] == text
    (tmp_path / "x.jsonl").write_text(json.dumps({"text": "a" * 9_000}), "utf-8")
    assert len(Table.read(tmp_path / "x.jsonl")) == 1


def test_halves_of_characters_and_huge_numbers_in_json(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"t": "a \\ud83d", "n": 1' + "0" * 400 + '}\n{"t": "b", "n": 2}\n')
    table = Table.read(tmp_path / "x.jsonl")
    assert table.values("t").tolist() == ["a ?", "b"] and np.isnan(table.values("n")[0])
    assert Table.read({"t": ["\ud83d", "b"]}).values("t").tolist() == ["?", "b"]
    deep = '{"a":' * 900 + "1" + "}" * 900
    (tmp_path / "x.jsonl").write_text('{"t": 1}\n' * 40 + deep + "\n")
    assert len(Table.read(tmp_path / "x.jsonl", DataConfig(bad_rows=1.0))) >= 40


def test_json_lines_are_read_and_written_whatever_characters_they_hold(tmp_path: Path) -> None:
    entries = [{"value": f"a{SEPARATOR}b\x85c"}, {"value": "\udc83\udcff.png"}]
    path = tmp_path / "x.jsonl"
    write_atomic(path, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries))
    assert read_json_lines(path) == entries
    path.write_text('{"a": 1}\n{"a"', "utf-8")  # cut short by a kill
    assert read_json_lines(path) == [{"a": 1}]


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    write_atomic(tmp_path / "x", "old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "x", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").read_text() == "old"


def test_answers_keep_their_lines() -> None:
    answers = {"row": [1, 2], "y": [f"a{SEPARATOR}b", "c"]}
    assert presenting.lines("predict", answers) == ["row,y", f"1,a{SEPARATOR}b", "2,c"]


@pytest.mark.parametrize("encoding", ["utf-8", "cp932"])
def test_japanese_names_in_an_archive(encoding: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        for label in ("表", "ソース"):  # whose second byte is a backslash in cp932
            member = zipfile.ZipInfo("placeholder")
            member.filename = f"{label}/1.png".encode(encoding).decode("cp437")
            packed.writestr(plainly(member), b"x")
    place, _ = archive.unpack(tmp_path / "x.zip", Entries(tmp_path / "cache"))
    assert sorted(path.name for path in place.iterdir()) == sorted(["表", "ソース"])


def plainly(member: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """A member whose name is written as the bytes that cp437 gives, without the mark of UTF-8."""
    raw = member.filename.encode("cp437")

    class Plain(zipfile.ZipInfo):
        def _encodeFilenameFlags(self) -> tuple[bytes, int]:
            return raw, 0

    return Plain(member.filename)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.new("L", (8, 8), 3).save(path, "PNG")


def test_what_is_left_out_of_a_folder_is_said(tmp_path: Path) -> None:
    for name in ("photos/cat/1.png", "photos/dog/1.png"):
        picture(tmp_path / name)
    for i in range(3):
        (tmp_path / "photos" / "cat" / f"{i}.heic").write_bytes(b"x")
    notes = [note.message for note in Table.read(tmp_path / "photos").notes]
    assert notes == ["3 files left out: no image that is read (the first: cat/0.heic)"]


def test_linked_folders_are_read_and_do_not_lead_in_circles(tmp_path: Path) -> None:
    picture(tmp_path / "all" / "cat" / "1.png")
    picture(tmp_path / "photos" / "dog" / "1.png")
    (tmp_path / "photos" / "cat").symlink_to(tmp_path / "all" / "cat")
    (tmp_path / "photos" / "dog" / "back").symlink_to(tmp_path / "photos")
    assert sorted(Table.read(tmp_path / "photos").values("label").tolist()) == ["cat", "dog"]


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "cat" / "1.png")
    name = os.fsencode(tmp_path / "photos" / "cat") + b"/\x83l\x83R.png"
    try:
        os.link(tmp_path / "photos" / "cat" / "1.png", name)
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(DataError, match=r"no valid UTF-8.*convmv"):
        Table.read(tmp_path / "photos")


def test_a_pattern_that_matches_folders_only(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(DataError, match=r"No file matches .*only folders"):
        Table.read(str(tmp_path / "*"))


def test_an_encoding_that_was_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("\ufeffid,y\n1,2\n", "utf-8")
    for name in ("utf-8", "UTF8", "utf_8"):
        assert Table.read(tmp_path / "x.csv", DataConfig(encoding=name)).names == ("id", "y")
    for name in ("base64", "rot13", "no-such"):
        with pytest.raises(SettingError, match="There is no encoding"):
            Table.read(tmp_path / "x.csv", DataConfig(encoding=name))


def test_tables_that_are_none_say_so(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x" * 200_000)
    with pytest.raises(DataError, match="begins with a cell of more than"):
        Table.read(tmp_path / "x.csv")
    (tmp_path / "y.csv").write_text("a、b\n1、2\n", "utf-8")
    with pytest.raises(DataError, match="one character of ASCII"):
        Table.read(tmp_path / "y.csv", DataConfig(separator="、"))
    (tmp_path / "x.db").write_bytes(b"SQLite format 3\0" + bytes(range(200)))
    with pytest.raises(DataError, match="restore the file from a copy"):
        Table.read(tmp_path / "x.db")


def test_truth_in_a_condition() -> None:
    flags = {"member": np.array([True, False, True])}
    for text, expected in (("member=true", 2), ("member=1", 2), ("member=no", 1), ("member!=True", 1)):
        assert int(parse(text, ["member"])(flags.__getitem__).sum()) == expected, text


def test_slices_of_dates_that_are_all_alike_or_all_missing() -> None:
    for dates in (["2024-01-01"] * 30, ["NaT"] * 30, ["2024-01-01"] * 29 + ["NaT"]):
        names, codes = cells_of(np.array(dates, "datetime64[us]"), 12)
        assert names is not None and codes.min() >= 0 and codes.max() < len(names)


# ---- settings


def test_settings_of_the_split_that_have_no_say_are_said() -> None:
    table = Table.read({"t": list(range(40)), "g": [i % 8 for i in range(40)], "y": [0.5] * 40})
    both = split(table, DataConfig(time="t", group="g"), None, 0)
    assert next(note.message for note in both.notes).startswith("data.group is not heeded")
    given = split(table.parted(np.arange(40, dtype=np.int8) // 14), DataConfig(time="t"), None, 0)
    assert next(note.message for note in given.notes).startswith("data.time is not heeded")
    assert not split(table, DataConfig(time="t"), None, 0).notes


def test_a_setting_that_the_model_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"no setting model.patch.*vit"):
        train(tmp_path, settings={**FAST, "model.patch": 4})
    given = (Text(name="t"),)
    must_obey(given, ModelConfig(name="gru", attention="dot"))
    must_obey(given, ModelConfig(name="my_module:Net", heads=4))
    with pytest.raises(SettingError, match=r"'gru' has no setting model.heads"):
        must_obey(given, ModelConfig(name="gru", heads=4))
    for name in ("my_module:Net", "timm:resnet18"):  # which would not have been looked for
        with pytest.raises(SettingError, match="reads one column"):
            must_obey((Category(name="c"),), ModelConfig(name=name))


def test_resuming_refuses_other_settings(tmp_path: Path) -> None:
    run = train(tmp_path)
    for options in ({"settings": {"train.epochs": 9}}, {"predict": "dear"}, {"out": "x"}, {"minutes": 3.0}):
        with pytest.raises(SettingError, match="goes on with the settings"):
            shinso.train(resume=run.path, quiet=True, **options)  # type: ignore[arg-type]


def test_the_current_folder_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="is the current folder"):
        shinso.train(houses(), predict="price", out=".", quiet=True)
    assert not list(tmp_path.iterdir())


def test_runs_that_predict_other_kinds_are_not_compared(tmp_path: Path) -> None:
    data = {**houses(), "rooms": [i % 3 for i in range(240)]}
    options = {"predict": "rooms", "given": "area", "settings": {**FAST, "data.time": "area"}}
    for kind in ("category", "number"):
        train(tmp_path / kind, data, types={"rooms": kind}, **options)
    with pytest.raises(RunError, match=r"rooms \(category\) and .* rooms \(number\)"):
        comparison.compare(tmp_path / "category" / "run", tmp_path / "number" / "run")


def test_folds_import_no_code_that_was_not_allowed(tmp_path: Path) -> None:
    data = houses()
    rows = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
    (tmp_path / "houses.json").write_text(json.dumps(rows), "utf-8")
    run = train(tmp_path, tmp_path / "houses.json")
    config = run.path / "config.toml"
    config.write_text(config.read_text("utf-8").replace("# name = (not set)", 'name = "evil:Net"'), "utf-8")
    RunDirectory(run.path).seal()
    with pytest.raises(RunError, match="--allow evil:Net"):
        shinso.evaluate(run.path, folds=3, quiet=True)


# ---- networks


class Reader(nn.Module):
    """Asks for the size of the vocabulary."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.embed(ids)
        return out


def test_a_module_of_the_user_may_ask_for_the_vocabulary_and_read_several_variables() -> None:
    text = Text(name="t").fit(object_array(["good film", "bad film"] * 4))
    encoder = PlainEncoder(text, ModelConfig(), Reader)
    assert encoder.body.embed.num_embeddings == len(text.tokens) and encoder.width == 4  # type: ignore[union-attr]
    series = Series(name="s").fit(object_array([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]))
    assert PlainEncoder(series, ModelConfig(), nn.Identity).width == 3


def test_the_narrowest_network_that_settings_allow() -> None:
    column = Image(name="photo", height=32, width=32).fit(Image.examples(np.random.default_rng(0), 9))
    net = ResidualNet(column, ModelConfig(width=4, depth=1))
    assert net(torch.zeros(2, 32, 32, 3, dtype=torch.uint8)).tokens.shape[-1] == net.width


def test_a_range_test_of_a_network_that_gives_no_number() -> None:
    class Broken:
        def __len__(self) -> int:
            return 1

        def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
            yield [0], {"x": np.ones(1, np.float32)}

    def losses(batch: dict[str, torch.Tensor], rows: int) -> dict[str, Loss]:
        return {"y": Loss(layer(batch["x"][:, None]).sum() * torch.nan, torch.tensor(1.0))}

    layer = nn.Linear(1, 1)
    config = TrainConfig(optimizer="sgd", learning_rate=0.1)
    with pytest.raises(ShinsoError, match="no rate can be found"):
        rates.range_test(layer, Broken(), losses, config, Plan("cpu", "fp32", 1), steps=12)


def test_a_bar_is_no_wider_than_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    shown = console.Console()
    shown.terminal = True
    with shown.progress("reading") as advance:
        advance(1, 1, "loss 0.1  " * 20)
    assert max(len(part) for part in capsys.readouterr().err.split("\r\x1b[2K")) < 40


def test_no_rows_at_all(tmp_path: Path) -> None:
    run = train(tmp_path, given=("area", "city"))
    for rows in ({"area": [], "city": []}, Table.read({"area": [1.0], "city": ["Nara"]}).take(slice(0, 0))):
        with pytest.raises(DataError, match="has no rows"):
            shinso.predict(run, rows, quiet=True)


def test_numbers_near_the_end_of_the_scale_make_a_run_that_opens(tmp_path: Path) -> None:
    """Their squares are infinite, and what is stored of a column must not be."""
    rows = 60
    data = {
        "x": [1.7e308, *range(rows - 1)],
        "y": [i % 7 for i in range(rows)],
        "label": list("ab" * (rows // 2)),
    }
    run = shinso.train(data, predict="label", settings={"train.epochs": 1}, out=tmp_path / "run", quiet=True)
    assert len(shinso.predict(run.path, data, quiet=True)["label"]) == rows
