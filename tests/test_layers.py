"""The architecture, held by a walk over the syntax trees: imports point down, and house rules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import shinso

ROOT = Path(shinso.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
NAMES = [path.relative_to(ROOT).as_posix() for path in FILES]
IDS = pytest.mark.parametrize("path", FILES, ids=NAMES)

# From the bottom up. A module may import from lower layers and from its own.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("version", "errors", "config", "console", "files", "intervals", "ngrams", "memory", "later", "logistic"),
    ("columns",),
    ("data", "schema", "forecasting", "calibration", "answers", "exported", "graphfile", "runtimes"),
    ("features", "layers", "augment"),  # torch starts here
    ("models", "heads", "fusers"),
    (
        "network",
        "machine",
        "operations",
        "plan",
        "optim",
        "randomness",
        "recipes",
        "transfer",
        "weights",
        "loop",
        "rates",
        "checkpoints",
    ),
    ("run",),
    (),  # every other module: the verbs and what they are made of
    ("handle",),
    ("presenting",),
    ("api", "shipping"),
    ("cli", "__main__", "__init__"),
)
VERBS = len(LAYERS) - 5
TORCH_FROM = 3

# Above torch, and instant without it.
NO_TORCH = ("api.py", "shipping.py", "exporting/rows.py", "handle.py", "cli.py", "__init__.py", "__main__.py")

# Optional extras, which alone may be imported inside a function.
EXTRAS = {
    "optuna", "captum", "onnx", "onnxruntime", "onnxscript", "openvino", "polars", "pandas", "tqdm", "rich",
    "timm", "transformers", "uvloop", "grpc", "psycopg",
}  # fmt: skip

FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "torch.load", "torch.save", "yaml.load"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}


def layer(module: str) -> int:
    first = module.split(".")[0]
    return next((i for i, names in enumerate(LAYERS) if first in names), VERBS)


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text("utf-8"), str(path))))


def calls(path: Path) -> list[tuple[ast.Call, str]]:
    return [(node, ast.unparse(node.func)) for node in nodes(path) if isinstance(node, ast.Call)]


def module_of(path: Path) -> str:
    """`columns.base` for columns/base.py, `columns` for columns/__init__.py, `__init__` for the package."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """(node, absolute name below shinso with a leading dot, or the outer module's name)."""
    package = path.relative_to(ROOT).parent.parts
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node, node.module or ""
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((node, "." + ".".join((*base, *([n] if n else ())))) for n in names)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in nodes(path) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def under_type_checking(path: Path) -> set[ast.AST]:
    branches = (node for node in nodes(path) if isinstance(node, ast.If))
    guarded = (node for node in branches if "TYPE_CHECKING" in ast.unparse(node.test))
    return {child for node in guarded for child in ast.walk(node)}


@IDS
def test_imports_point_down(path: Path) -> None:
    mine = layer(module_of(path))
    typing_only = under_type_checking(path)
    for node, name in imports(path):
        assert not name.startswith("shinso"), f"{name}: imports inside the package are relative"
        if name.startswith(".") and node not in typing_only:
            theirs = layer(name[1:])
            assert theirs <= mine, f"{module_of(path)} (layer {mine}) imports {name} (layer {theirs})"


def test_the_package_has_no_cycle() -> None:
    known = {module_of(path) for path in FILES}
    graph: dict[str, set[str]] = {}
    for path in FILES:
        skipped = under_type_checking(path)
        targets = {n[1:] for node, n in imports(path) if n.startswith(".") and node not in skipped}
        graph[module_of(path)] = {t for t in targets if t in known} - {module_of(path)}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"a cycle: {' -> '.join((*trail, module))}"
        if module not in done:
            for target in sorted(graph[module]):
                visit(target, (*trail, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


@IDS
def test_torch_starts_at_features(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    if layer(module_of(path)) < TORCH_FROM or name in NO_TORCH:
        found = [n for _, n in imports(path) if n.split(".")[0] in ("torch", "safetensors.torch")]
        assert not found, f"{name} imports {found}: NumPy and codecs only, so that serving needs no torch"


@IDS
def test_imports_stand_at_the_top(path: Path) -> None:
    for function in functions(path):
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {a.name.split(".")[0] for a in node.names} if isinstance(node, ast.Import) else set()
                names |= {(node.module or "").split(".")[0]} if isinstance(node, ast.ImportFrom) else set()
                assert names <= EXTRAS, f"{path.name}:{node.lineno} imports {names} inside {function.name}"


@IDS
def test_no_star_imports_and_nothing_that_runs_data(path: Path) -> None:
    for node, name in imports(path):
        assert name.split(".")[0] not in FORBIDDEN_MODULES, f"{path.name} imports {name}"
        assert not any(alias.name == "*" for alias in getattr(node, "names", ())), f"{path.name}: star import"
    for call, what in calls(path):
        restricted = what == "torch.load" and path.name == "weights.py" and weights_only(call)
        assert what not in FORBIDDEN_CALLS or restricted, f"{path.name}:{call.lineno} calls {what}"
        pickles = [k for k in call.keywords if k.arg == "allow_pickle" and ast.unparse(k.value) != "False"]
        assert not pickles, f"{path.name}:{call.lineno} allows pickle"


def weights_only(call: ast.Call) -> bool:
    """Whether torch.load is told to build nothing but tensors."""
    return any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in call.keywords)


@IDS
def test_errors_are_never_swallowed_whole(path: Path) -> None:
    for node in nodes(path):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path.name}:{node.lineno}: bare except"
            caught = {ast.unparse(t) for t in ast.walk(node.type) if isinstance(t, ast.expr)}
            wide = caught & {"Exception", "BaseException"}
            raises = any(isinstance(n, ast.Raise) for n in ast.walk(node))
            assert not wide or raises, f"{path.name}:{node.lineno}: except {wide} that does not raise"


@IDS
def test_no_probing_and_no_pass_through(path: Path) -> None:
    for node in nodes(path):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "hasattr", f"{path.name}:{node.lineno}: hasattr"
    for function in functions(path):
        assert function.args.kwarg is None, f"{path.name}: {function.name} takes **{function.args.kwarg}"


@IDS
def test_house_sizes(path: Path) -> None:
    lines = len(path.read_text("utf-8").splitlines())
    limit = 600 if path.parent.name == "models" else 400
    assert lines < limit, f"{path.name} has {lines} lines; the house size is under {limit}"
    for function in functions(path):
        assert function.end_lineno is not None
        length = function.end_lineno - function.lineno + 1
        assert length <= 60 or path.name == "loop.py", f"{path.name}: {function.name} has {length} lines"


def test_functions_are_short_as_a_rule() -> None:
    lengths = sorted((f.end_lineno or 0) - f.lineno + 1 for path in FILES for f in functions(path))
    assert lengths[len(lengths) // 2] <= 8, "the median function has at most 8 lines"
    assert lengths[int(len(lengths) * 0.9)] <= 35, "nine functions in ten have at most 35 lines"


@IDS
def test_functions_take_few_arguments(path: Path) -> None:
    for function in functions(path):
        arguments = [*function.args.posonlyargs, *function.args.args]
        count = len([a for a in arguments if a.arg not in ("self", "cls")])
        assert count <= 7, f"{path.name}: {function.name} takes {count} positional arguments"


@IDS
def test_no_global_randomness(path: Path) -> None:
    allowed = {"np.random.default_rng", "np.random.Generator"}
    assert "random" not in {name for _, name in imports(path)}, f"{path.name} imports a global generator"
    for call, what in calls(path):
        where = f"{path.name}:{call.lineno} calls {what}"
        if what.startswith(("np.random.", "numpy.random.")):
            assert what.split("(")[0] in allowed, where
        assert what != "torch.manual_seed" or path.name == "randomness.py", where
