"""Documentation is run: every command and example of the pages, every recipe of CONTRIBUTING, every doctest.

Blocks of one page run in order, in a folder that holds the data of `docs/make_data.py`. Recipes choose a tiny
network and one epoch here; what the pages set themselves stays.

- `sh`: lines that begin with `shinso` are run; a trailing `# exits with status 2` says that it must fail.
- `text` after such a line: what was printed must hold these lines, spaces aside; `...` stands for anything.
- `python`: executed, with one namespace a page. `pycon`: a doctest.
- A block after `<!-- not run: reason -->` is left alone.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import importlib.util
import io
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import shinso
from shinso import cli, recipes, training
from shinso.config import RunConfig, settings
from shinso.models import FAMOUS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("README*.md"), *ROOT.glob("docs/guides/*.md"), *ROOT.glob("docs/concepts/*.md")])
ALL_PAGES = sorted(p for p in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if "log" not in p.name)
OTHER_PROGRAMS = ("make", "git", "cd", "python", "pip", "sudo", "kill", "cat", ".")
TINY: dict[str, Any] = {
    "model.width": 16, "model.depth": 1, "model.members": 2, "model.embedding": 4, "train.epochs": 1,
    "train.batch_size": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int
    run: bool


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a Markdown page."""
    found: list[Block] = []
    inside: list[str] | None = None
    language, start, run = "", 0, True
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if line.startswith("```") and inside is None:
            inside, language, start = [], line[3:].strip(), number
        elif line.startswith("```") and inside is not None:
            found.append(Block(language, "\n".join(inside) + "\n", start, run))
            inside, run = None, True
        elif inside is not None:
            inside.append(line)
        elif line.strip():
            run = not line.startswith("<!-- not run:")
    assert inside is None, f"{page.name}: the block of line {start} is not closed"
    return found


def load_script(path: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    load_script(ROOT / "docs/make_data.py").main(folder)
    return folder


@pytest.fixture
def workplace(made_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the data, in which recipes choose something tiny."""
    place = tmp_path / "here"
    shutil.copytree(made_data, place)
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr("shinso.machine.cores", lambda: 1)

    def tiny(config: RunConfig, schema: Any, facts: Any) -> RunConfig:
        values = config.model_dump()
        own = config.model.name in FAMOUS  # has sizes of its own
        unset = {
            n: v for n, v in TINY.items()
            if values[n.split(".")[0]][n.split(".")[1]] is None and not (own and n.startswith("model."))
        }  # fmt: skip
        return recipes.resolve(config.override(unset), schema, facts)

    monkeypatch.setattr(training, "resolve", tiny)
    return place


# ---- commands and examples of the pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page(page: Path, workplace: Path) -> None:
    namespace: dict[str, Any] = {"__name__": f"page_{page.stem}"}
    printed = ""
    for block in blocks(page):
        where = f"{page.relative_to(ROOT)}, line {block.line}"
        if not block.run:
            continue
        if block.language == "sh":
            printed = run_commands(block, where)
        elif block.language == "text" and printed:
            must_hold(printed, block.text, where)
        elif block.language == "python":
            printed = run_python(block, page, namespace)
        elif block.language == "pycon":
            run_doctest(block, namespace, where)
        elif block.language in ("toml", "json"):
            write_named(block, workplace)


def run_commands(block: Block, where: str) -> str:
    printed = io.StringIO()
    for line in block.text.replace("\\\n", " ").splitlines():
        command, _, comment = line.partition("  #")
        words = shlex.split(command, comments=True)
        if not words or words[0] in OTHER_PROGRAMS:
            continue
        assert words[0] == "shinso", f"{where}: only shinso's own commands are run, not {words[0]!r}"
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            status = cli.main(words[1:])
        expected = 2 if "exits with status 2" in comment else 0
        assert status == expected, f"{where}: {line!r} ended with {status}\n{printed.getvalue()}"
    return printed.getvalue()


def run_python(block: Block, page: Path, namespace: dict[str, Any]) -> str:
    printed = io.StringIO()
    first = block.text.partition("\n")[0]
    if match := re.fullmatch(r"# (\w+\.py)", first):
        Path(match[1]).write_text(block.text, "utf-8")
    code = compile("\n" * block.line + block.text, str(page), "exec")
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        exec(code, namespace)
    return printed.getvalue()


def run_doctest(block: Block, namespace: dict[str, Any], where: str) -> None:
    test = doctest.DocTestParser().get_doctest(block.text, namespace, where, None, block.line)
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=report.write, clear_globs=False)
    assert runner.failures == 0, report.getvalue()
    namespace.update(test.globs)


def write_named(block: Block, folder: Path) -> None:
    """A file whose first line is a comment with its name, as in `# mine.toml`."""
    if match := re.fullmatch(r"# ([\w.]+)", block.text.partition("\n")[0]):
        (folder / match[1]).write_text(block.text, "utf-8")


def must_hold(printed: str, shown: str, where: str) -> None:
    """Every shown line stands in what was printed, spaces aside."""
    squeezed = " ".join(printed.split())
    for line in filter(str.strip, shown.splitlines()):
        pattern = ".*?".join(re.escape(" ".join(piece.split())) for piece in line.split("..."))
        assert re.search(pattern, squeezed), f"{where}: not printed: {line!r}\n{printed}"


# ---- links


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists() or path.relative_to(ROOT).as_posix() in WRITTEN_LATER, f"{page.name}: {link}"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{page.name}: there is no heading for {link}"


WRITTEN_LATER: tuple[str, ...] = ()


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page get."""
    headings = re.findall(r"^#+ +(.+?)\s*$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_pages_of_a_folder_are_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text("utf-8")
    for folder in ("guides", "concepts", "reference", "decisions"):
        for page in (ROOT / "docs" / folder).glob("*.md"):
            assert f"({folder}/{page.name})" in index, f"docs/README.md does not list {folder}/{page.name}"


# ---- reference


def test_reference_is_up_to_date() -> None:
    made = load_script(ROOT / "docs/make_reference.py").pages()
    for name, text in made.items():
        found = (ROOT / "docs/reference" / name).read_text("utf-8")
        assert found == text, f"docs/reference/{name} is old: run python docs/make_reference.py"


def test_every_setting_and_command_is_in_the_reference() -> None:
    listed = (ROOT / "docs/reference/settings.md").read_text("utf-8")
    assert [name for name in settings() if f"`{name}`" not in listed] == []
    commands = (ROOT / "docs/reference/commands.md").read_text("utf-8")
    assert [verb for verb in cli.VERBS if f"## shinso {verb}" not in commands] == []


def test_settings_named_in_pages_exist() -> None:
    sections = "|".join(sorted({name.partition(".")[0] for name in settings() if "." in name}))
    for page in ALL_PAGES:
        for line in page.read_text("utf-8").splitlines():
            for name in re.findall(rf"--set ((?:{sections})\.\w+)=", line):
                right = name in settings() or "exits with status 2" in line
                assert right, f"{page.name} names a setting {name} that does not exist"


# ---- recipes of CONTRIBUTING


def test_recipes_of_contributing(tmp_path: Path) -> None:
    """A copy of the program is changed as CONTRIBUTING says, and what was added is checked and used."""
    page = ROOT / "CONTRIBUTING.md"
    tree = tmp_path / "project"
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for block in blocks(page):
        first = block.text.partition("\n")[0]
        if block.language == "diff":
            add_lines(tree, block, f"CONTRIBUTING.md, line {block.line}")
        elif block.language == "python" and (match := re.fullmatch(r"# ((?:src/)?[\w/]+\.py)", first)):
            (tree / match[1]).write_text(block.text, "utf-8")
    command = [sys.executable, "-W", "error", str(ROOT / "tests/check_recipes.py")]
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def add_lines(tree: Path, block: Block, where: str) -> None:
    """A diff whose first line names the file; `@@` begins a new place in it."""
    name, *lines = block.text.splitlines()
    path = tree / name.strip()
    text = path.read_text("utf-8").splitlines()
    for hunk in "\n".join(lines).split("\n@@\n"):
        at, waiting = -1, list[str]()
        for line in hunk.splitlines():
            if line.startswith("+"):
                waiting.append(line[1:])
                continue
            start = at + 1 + len(waiting) if at >= 0 else 0
            if at >= 0:
                text[at + 1 : at + 1] = waiting
                waiting = []
            matches = [i for i in range(start, len(text)) if text[i] == line[1:]]
            assert matches, f"{where}: {name.strip()} has no line {line[1:]!r}"
            at = matches[0]
            text[at:at] = waiting
            at, waiting = at + len(waiting), []
            if line.startswith("-"):
                del text[at]
                at -= 1
        text[at + 1 : at + 1] = waiting
    path.write_text("\n".join(text) + "\n", "utf-8")


# ---- doctests of the program


def modules() -> Iterator[str]:
    for found in pkgutil.walk_packages(shinso.__path__, "shinso."):
        if not found.name.endswith("__main__"):
            yield found.name


@pytest.mark.parametrize("name", [*modules(), "shinso"])
def test_doctests(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0
