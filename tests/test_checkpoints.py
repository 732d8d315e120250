"""Checkpoints: what is committed is whole, what is damaged is noticed, a full disk loses nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shinso.checkpoints import KEEP, Progress, load_checkpoint, save_checkpoint
from shinso.errors import RunError, ShinsoError
from shinso.files import read_json, read_json_lines, write_atomic, write_json


def groups(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {"module": {"weight": torch.full((3, 2), value)}, "optimizer": {"0.0.step": torch.tensor(value)}}


def test_round_trip_and_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (5, 50, 500, 5000):
        save_checkpoint(tmp_path, Progress(step=step, best=0.1 + step, sums={"y": 1.5}), groups(step))
    assert len(list(tmp_path.iterdir())) == KEEP
    progress, found = load_checkpoint(tmp_path)
    assert progress == Progress(step=5000, best=5000.1, sums={"y": 1.5})
    assert torch.equal(found["module"]["weight"], torch.full((3, 2), 5000.0))
    assert found["optimizer"]["0.0.step"].item() == 5000.0


def test_no_folder_means_start_from_the_beginning(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "checkpoints") is None


@given(st.data())
def test_any_damage_to_the_newest_falls_back_to_the_one_before(tmp_path_factory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("checkpoints")
    save_checkpoint(folder, Progress(step=1), groups(1))
    path = save_checkpoint(folder, Progress(step=2), groups(2))
    raw = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(raw))
    progress, found = load_checkpoint(folder)
    whole = progress.step == 1 and torch.equal(found["module"]["weight"], groups(1)["module"]["weight"])
    harmless = torch.equal(found["module"]["weight"], groups(2)["module"]["weight"])
    assert whole or harmless  # a flip inside the JSON of the progress may leave the tensors as they were


def test_damage_to_all_says_so(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, Progress(step=1), groups(1)).write_bytes(b"\xff" * 40)
    with pytest.raises(RunError, match=r"No checkpoint .* is whole.*Train again"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["fsync", "write"])
def test_a_full_disk_is_one_clear_error_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    save_checkpoint(tmp_path, Progress(step=1), groups(1))

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if name == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr("shinso.files.tempfile.mkstemp", full)
    with pytest.raises(ShinsoError, match=r"No space left on device.*Free some space"):
        save_checkpoint(tmp_path, Progress(step=2), groups(2))
    assert load_checkpoint(tmp_path)[0].step == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_kill_between_writing_and_renaming_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomic(tmp_path / "a.txt", "old")

    def killed(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"


def test_json_refuses_what_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(RunError, match=r"deep.json is damaged"):
        read_json(tmp_path / "deep.json")


def test_a_last_line_cut_short_is_left_out_but_not_one_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert read_json_lines(path) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\n{"a\n{"a": 3}\n')
    with pytest.raises(RunError, match="line 2"):
        read_json_lines(path)
