"""The command line: instant help, data on stdout, everything else on stderr, status 2 for mistakes."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shinso import api, cli
from shinso.handle import work
from small_runs import FAST, houses, train


def program(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shinso", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "code", ["import shinso", "from shinso.cli import build_parser; build_parser().format_help()"]
)
def test_import_and_help_are_instant_and_without_torch(code: str) -> None:
    heavy = "{'torch', 'numpy', 'pydantic', 'pyarrow', 'sklearn'} & set(sys.modules)"
    check = f"import sys; {code}; assert not {heavy}, {heavy}"
    bare, ours = [], []
    for _ in range(5):  # the least of several, beside a bare interpreter: other work on the machine disturbs
        for command, times in (("pass", bare), (check, ours)):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", command], check=True)
            times.append(time.perf_counter() - start)
    assert min(ours) - min(bare) < 0.15 and min(ours) < 0.5


def test_every_parameter_of_every_verb_has_help_and_a_flag() -> None:
    parser = cli.build_parser()
    commands = parser._subparsers._group_actions[0].choices  # type: ignore[union-attr,index]
    for name, verb in cli.VERBS.items():
        text = commands[name].format_help()
        for parameter in inspect.signature(verb).parameters:
            flag = cli.NAMES.get(parameter, parameter)
            assert flag.replace("_", "-") in text or flag.upper() in text, (name, parameter)
            assert cli._helps(inspect.getdoc(verb) or "").get(parameter), (name, parameter)


def test_no_help_shows_a_doubled_percent_sign() -> None:
    done = program("evaluate", "--help")
    assert "95% interval" in " ".join(done.stdout.split()) and "%%" not in done.stdout


def test_the_flags_are_these_and_no_others() -> None:
    """Growing the command line is a visible act."""
    flags = {name: sorted(inspect.signature(verb).parameters) for name, verb in cli.VERBS.items()}
    assert flags == {
        "train": sorted(
            ["data", "predict", "given", "types", "effort", "minutes", "seed", "settings", "past", "ahead",
             "model", "weights", "tune", "protect", "out", "resume", "allow", "quiet"]
        ),
        "predict": ["abstain", "allow", "coverage", "data", "fair", "out", "quiet", "run"],
        "evaluate": sorted(
            ["run", "data", "by", "protect", "positive", "require", "fair", "folds", "curve", "out", "allow",
             "quiet"]
        ),
        "explain": ["allow", "column", "data", "method", "out", "quiet", "rows", "run"],
        "doctor": ["allow", "column", "data", "given", "predict", "quiet", "report", "settings", "source"],
        "robustness": ["against", "allow", "data", "out", "quiet", "rows", "run"],
        "models": [],
        "mitigate": ["allow", "goal", "protect", "quiet", "run"],
        "audit": sorted(
            ["data", "predict", "given", "test", "types", "settings", "only", "fix", "report", "out", "quiet"]
        ),
        "report": ["out", "run"],
        "compare": ["a", "b", "tried"],
        "samples": ["name", "out"],
        "settings": [],
        "machine": ["threads"],
        "serve": sorted(
            ["models", "host", "port", "grpc_port", "keys", "tls_cert", "tls_key", "deadline", "batch",
             "queue", "max_body", "share", "rate", "patience", "cors",
             "folder", "drain", "threads", "log_requests", "log", "log_sample",
             "log_private", "split", "shadow", "allow", "quiet"]
        ),
        "export": ["allow", "data", "out", "precision", "quiet", "run", "to"],
        "monitor": sorted(
            ["run", "log", "since", "until", "over", "reference", "key", "prometheus", "out", "quiet"]
        ),
        "label": ["data", "id", "log", "quiet"],
        "promote": ["force", "note", "shadow", "share", "version"],
        "rollback": ["folder", "note"],
        "find-rate": ["data", "given", "predict", "quiet", "seed", "settings", "steps", "types"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian", "x.csv"], "Did you mean 'train'"),
        (["train"], "Say what to train on"),
        (["train", "nothing.csv", "--predict", "y"], "nothing.csv"),
        (["train", "x.csv", "--set", "train.epochs"], "--set takes name=value; received 'train.epochs'"),
        (["train", "x.csv", "--set", "train.epoch=3"], "Did you mean 'train.epochs'"),
        (["train", "x.csv", "--types", "category"], "--types takes name=value"),
        (["predict", "runs/none", "x.csv"], "There is no run directory runs/none"),
        (["samples", "digit"], "Did you mean 'digits'"),
        (["train", "x.csv", "--epochs", "3"], "It is a setting: --set train.epochs=VALUE"),
        (["predict", "run", "x.csv", "--quite"], "Did you mean '--quiet'"),
        (["models", "extra"], "there is no place for 'extra'"),
    ],
)
def test_mistakes_end_with_status_two_and_help(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = program(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == "" and list(tmp_path.iterdir()) == []


def test_train_then_every_other_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(tmp_path, predict="dear")
    (tmp_path / "new.jsonl").write_text(
        "\n".join(
            json.dumps(dict(zip(houses(), row, strict=True))) for row in zip(*houses(6).values(), strict=True)
        )
    )
    new, answers = str(tmp_path / "new.jsonl"), tmp_path / "answers.csv"

    assert cli.main(["predict", str(run.path), new, "-o", str(answers)]) == 0
    lines = answers.read_text("utf-8").splitlines()
    assert lines[0] == "row,dear,dear: no,dear: yes" and len(lines) == 7
    assert capsys.readouterr().out == ""

    assert cli.main(["predict", str(run.path), new, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["row"] == [1, 2, 3, 4, 5, 6]

    assert cli.main(["evaluate", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"]["dear"]["metrics"]["accuracy"]["low"] >= 0
    assert cli.main(["evaluate", str(run.path), new]) == 0
    assert "Accuracy" in capsys.readouterr().out

    assert cli.main(["report", str(run.path), "-o", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "page.html")
    assert cli.main(["report", str(run.path)]) == 0
    assert cli.main(["predict", str(run.path), new]) == 0, "the manifest was renewed with the report"
    capsys.readouterr()

    assert cli.main(["compare", str(run.path), str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["paired"] is True


def test_settings_lists_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["settings"]) == 0
    assert "train.learning_rate" in capsys.readouterr().out
    assert cli.main(["settings", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["train.epochs"]["default"] is None


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_answers_in_every_format_are_the_same(tmp_path: Path, suffix: str) -> None:
    run = train(tmp_path)
    expected = api.predict(run, houses(5), out=tmp_path / f"answers{suffix}")
    from shinso.data.table import Table

    table = Table.read(tmp_path / f"answers{suffix}")
    assert list(table.values("price")) == pytest.approx(expected["price"])
    assert table.names == tuple(expected)


def test_an_unknown_format_of_answers_is_an_error(tmp_path: Path) -> None:
    run = train(tmp_path)
    done = program("predict", str(run.path), "x.csv", "-o", "answers.docx")
    assert done.returncode == 2


def test_fast_settings_are_settings() -> None:
    work("config").RunConfig().override(FAST)
