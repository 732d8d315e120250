"""What verbs give, as lines of plain text for a terminal or a pipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .handle import work
from .schema import display_width, pad
from .writing import to_csv


def lines(verb: str, result: Any) -> list[str]:
    """The result of a verb as lines."""
    return PRESENTERS[verb](result)


def later(module: str, name: str = "lines") -> Callable[[Any], list[str]]:
    """The presenter of a module that is imported on use: what needs no torch also prints without it."""

    def present(result: Any) -> list[str]:
        found: list[str] = getattr(work(module), name)(result)
        return found

    return present


def _answers(result: dict[str, list[Any]]) -> list[str]:
    return to_csv(result).removesuffix("\n").split("\n")


def _settings(result: dict[str, dict[str, Any]]) -> list[str]:
    width = max(map(display_width, result))
    return [
        f"{pad(name, width)}  {'recipe' if s['default'] is None else s['default']!s:10}  {s['help']}"
        for name, s in result.items()
    ]


def _comparison(result: dict[str, Any]) -> list[str]:
    return list(result["lines"])


def _machine(result: dict[str, Any]) -> list[str]:
    found = [
        f"{result['processor']}{', ' + result['accelerator'] if result['accelerator'] else ''}",
        f"{result['cores']} cores, {result['memory'] / 2**30:.1f} GiB, {result['bandwidth'] / 1e9:.0f} GB/s "
        f"read and written, measured with {result['threads']} threads",
    ]
    for kind in ("matmul", "convolution"):
        for name, rate in result[kind].items():
            error = result["errors"].get(name) if kind == "matmul" else None
            beside = "" if error is None else f"  relative error {error:.0e}"
            found.append(f"  {kind:12} {name:20} {rate / 1e9:8,.0f} GFLOP/s{beside}")
    plan = result["plan"]
    onednn = ", fp32 products through oneDNN" if plan["onednn"] else ""
    found.append(f"plan: {plan['precision']} on {plan['device']}, {plan['threads']} threads{onednn}")
    return [*found, *(f"  {reason}" for reason in plan["reasons"])]


def _rates(result: dict[str, Any]) -> list[str]:
    pairs = list(zip(result["rates"], result["losses"], strict=True))
    shown = pairs[:: max(1, len(pairs) // 20)]
    high, low = max(loss for _, loss in shown), min(loss for _, loss in shown)
    wide = [round(40 * (loss - low) / max(high - low, 1e-12)) for _, loss in shown]
    return [
        *(
            f"  rate {rate:9.2e}  loss {loss:8.4f}  {'#' * bar}"
            for (rate, loss), bar in zip(shown, wide, strict=True)
        ),
        f"The loss falls fastest near {result['suggested']:.2g} and is least at {result['lowest']:.2g}.",
        f"To train with it: --set train.learning_rate={result['suggested']:.2g}",
    ]


PRESENTERS: dict[str, Callable[[Any], list[str]]] = {
    "audit": later("reporting.audit_page"),
    "check": later("preflight"),
    "predict": _answers,
    "evaluate": later("reporting.measured", "evaluation_lines"),
    "mitigate": later("reporting.measured", "mitigation_lines"),
    "explain": later("reporting.explanations"),
    "doctor": later("diagnosis.examine"),
    "robustness": later("stress.measure"),
    "settings": _settings,
    "models": later("catalogue"),
    "compare": _comparison,
    "machine": _machine,
    "find-rate": _rates,
    "monitor": later("watching.monitor"),
    "label": later("watching.labelling"),
    "promote": later("watching.deployment"),
    "rollback": later("watching.deployment"),
}
