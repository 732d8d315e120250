"""The suite's own logic: statistics, ratios, the gate, the table, starting a side. No peer is needed."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    """The suite's modules stand beside each other in benchmarks/."""
    before = list(sys.path)
    sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "common")]
    yield
    sys.path[:] = before


def entry(ratio: float | None, **changes: Any) -> dict[str, Any]:
    machine = {"processor": "made up", "cores": 2, "accelerator": "", "system": "Linux"}
    found = None if ratio is None else {"value": ratio, "at_least": False}
    return {
        "measurement": "speed", "form": "short", "machine": machine, "ratios": {"peer": {"seconds": found}},
        **changes,
    }  # fmt: skip


def measured(ours: list[dict[str, Any]], peer: list[dict[str, Any]]) -> dict[str, Any]:
    """A whole line of results.jsonl, from the answers of two sides."""
    import bench
    from ratios import Metric
    from running import Side
    from suite import Measurement

    one = Measurement(
        "1", "speed", "Speed", lambda data, folder: folder, Side("shinso", "x.py"), (Side("peer", "y.py"),),
        (Metric("seconds", "s", must=4, moonshot=8, total="total_seconds"), Metric("accuracy", "", "more")),
    )  # fmt: skip
    return {
        **entry(None), "form": "full", "commit": "abc", "date": "2026-01-01",
        "roofs": {"bf16_matmul": 9.4e11},
        "versions": {"torch": "2.13.0"}, **bench.summary(one, {"shinso": ours, "peer": peer}),
    }  # fmt: skip


def test_medians_and_ranges_leave_out_nothing() -> None:
    from ratios import spread

    found = spread([{"seconds": 5.0}, {"seconds": 1.0}, {"seconds": 2.0}], "seconds")
    assert found.to_dict() == {
        "median": 2.0,
        "low": 1.0,
        "high": 5.0,
        "values": [5.0, 1.0, 2.0],
        "missing": 0,
    }
    assert spread([{"seconds": 5.0}, {"failed": "no memory"}], "seconds").median is None
    assert spread([], "seconds").median is None


def test_ratios_say_how_many_times_better_ours_is() -> None:
    from ratios import Metric, ratio

    less, more = Metric("x"), Metric("x", better="more")
    assert ratio(less, [{"x": 2.0}], [{"x": 8.0}]).value == 4.0
    assert ratio(more, [{"x": 8.0}], [{"x": 2.0}]).value == 4.0
    assert ratio(less, [{"x": None}], [{"x": 8.0}]) is None
    assert ratio(less, [{"x": 2.0}], [{"failed": "did not end in 9 s"}]) is None


def test_a_peer_without_its_target_gives_a_lower_bound() -> None:
    from ratios import Metric, Ratio, ratio

    seconds = Metric("seconds", total="total_seconds")
    late = [{"seconds": None, "total_seconds": 90.0}]
    assert ratio(seconds, [{"seconds": 30.0}], late) == Ratio(3.0, at_least=True)
    assert ratio(seconds, late, [{"seconds": 30.0}]) is None  # ours never gets one


@pytest.mark.parametrize(
    ("value", "said"), [(3.9, "**missed**"), (4.0, "met"), (8.0, "moonshot"), (None, "not measured")]
)
def test_the_verdict(value: float | None, said: str) -> None:
    from ratios import Metric, Ratio, verdict

    assert verdict(Metric("x", must=4, moonshot=8), None if value is None else Ratio(value)) == said


def test_the_gate_fails_below_its_share_and_where_a_figure_is_lost() -> None:
    from ratios import fallen

    assert fallen(entry(7.0), entry(10.0)) == []
    assert "6.99" in fallen(entry(6.99), entry(10.0))[0]
    assert "no figure" in fallen(entry(None), entry(10.0))[0]
    assert fallen(entry(1.0), entry(None)) == []


def test_the_gate_compares_with_the_newest_line_of_a_like_machine() -> None:
    from ratios import committed

    other = {"processor": "another", "cores": 2, "accelerator": ""}
    past = [{"figure": "digits"}, entry(1.0), entry(2.0), entry(3.0, machine=other), entry(4.0, form="full")]
    assert committed(entry(9.0), past) == past[2]
    assert committed(entry(9.0, measurement="other"), past) is None


def test_the_table_has_a_line_for_each_metric_and_peer() -> None:
    import page

    ours = [{"seconds": 10.0, "accuracy": 0.925}, {"seconds": 12.0, "accuracy": 0.925}]
    text = page.table([measured(ours, [{"seconds": 55.0, "accuracy": 0.93}])])
    line = next(row for row in text.splitlines() if "seconds" in row)
    assert line == (
        "| 1 | Speed: seconds | 11 s (10 to 12) | peer | 55 s | 5 |  |  | 4 (8) | met |"
    )  # fmt: skip
    assert "made up, 2 cores, no GPU" in text and "bf16 matmul 940 GFLOP/s" in text and "abc" in text


def test_the_table_says_what_was_not_reached_and_what_failed() -> None:
    import page

    late = {"seconds": None, "total_seconds": 99.0, "accuracy": 0.7912}
    text = page.table([measured([{"seconds": 11.0, "accuracy": 0.81}], [late])])
    assert "not reached: 0.7912 after 99 s" in text and "over 9" in text
    text = page.table([measured([{"seconds": 11.0, "accuracy": 0.81}], [{"failed": "did not end in 5 s"}])])
    assert "did not end in 5 s" in text and "not measured" in text


def test_the_page_keeps_what_stands_around_the_table(tmp_path: Path) -> None:
    import page

    path = tmp_path / "page.md"
    path.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n", "utf-8")
    page.write(path, [])
    text = path.read_text("utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    path.write_text("no markers", "utf-8")
    with pytest.raises(SystemExit, match="markers"):
        page.write(path, [])


def run_script(tmp_path: Path, body: str, limit: float = 30.0) -> dict[str, Any]:
    from running import Side, run

    script = tmp_path / "side_script.py"
    script.write_text(textwrap.dedent(body), "utf-8")
    return run(Side("one", str(script), limit=limit), tmp_path, tmp_path)


def test_a_side_answers_with_its_last_line(tmp_path: Path) -> None:
    found = run_script(
        tmp_path,
        """
        import side
        race = side.Race(0.9)
        print("noise")
        assert not race.lap(lambda: 0.5)
        assert race.lap(lambda: 0.95)
        race.answer()
        """,
    )
    assert 0 < found["seconds"] <= found["total_seconds"] < 30
    assert found["accuracy"] == 0.95 and found["peak_bytes"] > 1e6


def test_a_side_that_fails_or_hangs_says_so(tmp_path: Path) -> None:
    assert "exit status 3" in run_script(tmp_path, "import sys; sys.exit(3)")["failed"]
    assert "no message" in run_script(tmp_path, "print('no JSON')")["failed"]
    hung = run_script(tmp_path, "import threading; threading.Event().wait()", limit=0.3)
    assert hung["failed"] == "did not end in 0.3 s"


def test_sides_take_turns_and_one_that_failed_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import bench
    from ratios import Metric
    from running import Side
    from suite import Measurement

    order: list[str] = []

    def ran(side: Side, data: Path, peers: Path) -> dict[str, Any]:
        order.append(side.name)
        return {"failed": "no"} if side.name == "b + bf16" else {"x": 1.0}

    monkeypatch.setattr(bench, "run", ran)
    one = Measurement(
        "1", "n", "N", lambda data, folder: folder, Side("shinso", "x", repeat=3),
        (Side("b", "y", repeat=2, knob=True),), (Metric("x"),),
    )  # fmt: skip
    answers = bench.measure(one, one.sides(), Path(), Path(), None)
    assert order == ["shinso", "b", "b + bf16", "shinso", "b", "shinso"]
    assert [len(found) for found in answers.values()] == [3, 2, 1]


def test_every_side_has_its_script_and_every_environment_its_pins() -> None:
    import environments
    from suite import FULL, SHORT

    for one in (*FULL, *SHORT):
        for side in one.sides():
            assert (BENCHMARKS / side.script).is_file()
            if side.environment != environments.OURS:
                pins = (environments.PINNED / f"{side.environment}.txt").read_text("utf-8").splitlines()
                assert all("==" in line or line.startswith("#") for line in pins)
    assert {side.environment for one in SHORT for side in one.sides()} == {environments.OURS}


def test_results_can_all_be_read() -> None:
    import bench

    for line in bench.history():
        assert "measurement" in line or "figure" in line
        assert json.loads(json.dumps(line)) == line
