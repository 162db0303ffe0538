"""The table beside the peers: what its rows say of the numbers, and the limits they are held to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import _rows

    return _rows


def test_less_is_better_of_seconds_and_more_of_a_rate(rows):
    seconds = rows.Row("a", "s", 4.0, 8.0, "peer", 2.0, limit=1.0)
    rate = rows.Row("a", "images/s", 40.0, 20.0, "peer", 2.0, limit=80.0, faster=True)
    assert seconds.of_limit == 0.25 and rate.of_limit == 0.5
    assert rows.Row("a", "MB", 4.0, 8.0, "peer", 2.0).told()["of_limit"] is None


def test_a_row_has_a_cell_for_each_head(rows):
    told = rows.Row("a", "s", 4.0, 1234.5, "peer", 2.0, 1.5, 2.5, 1.0, note="b").told()
    assert told["cells"] == ["a; b", "4 s", "peer 1,234", "2.00 (1.50 to 2.50)", "1", "25%"]
    assert len(told["cells"]) == len(rows.HEAD)


def merge_run(arm: str, seconds: float, growth: float, turn: int) -> dict:
    return {"round": turn, "rule": "ties", "arm": arm, "seconds": seconds, "growth": growth}


def test_a_merge_is_compared_turn_by_turn_and_held_to_the_disk(rows):
    runs = [
        merge_run(arm, seconds * (1 + turn), growth, turn)
        for turn in (0, 1)  # a machine that slows down slows all arms
        for arm, seconds, growth in (("floor", 2, 1e3), ("bequeath", 4, 1e8), ("mergekit", 12, 2e9))
    ]
    elsewhere = {**merge_run("bequeath", 1, 1e6, 0), "where": "memory"}
    time, memory = rows.merge_rows(
        {"gb": 1.0, "runs": [*runs, elsewhere]}, {"read": 1e9, "write": 5e8}
    )
    assert (time.ours, time.peer, time.ratio) == (6.0, 18.0, 3.0)
    assert time.limit == 3.0  # a base and two models read while one is written
    assert (memory.ours, memory.peer, memory.ratio) == (100.0, 2000.0, 20.0)


def test_a_loop_that_takes_longer_than_one_by_hand_is_a_loss(rows):
    one = {"ratio": 1.25, "low": 1.0, "high": 2.0, "flops_a_step": 1e9}
    one |= {"fit_ms_a_step": 5.0, "hand_ms_a_step": 4.0}
    raw = {"conv": one, "mlp": one, "threads": 1, "limits": {"flops": 1e12}}
    row = rows.loop_rows(raw)[0]
    assert (row.ratio, row.low, row.high) == (0.8, 0.5, 1.0)
    assert row.limit == pytest.approx(1.0) and row.of_limit == pytest.approx(0.2)


def test_the_committed_table_is_what_its_numbers_say(rows):
    found = json.loads((ROOT / "benchmarks/results/peers.json").read_text(encoding="utf-8"))
    fields = rows.Row.__dataclass_fields__
    for row in (row for part in found["parts"].values() for row in part["rows"]):
        numbers = {name: value for name, value in row.items() if name in fields}
        assert rows.Row(**numbers).told() == row


def test_rates_of_a_machine_are_positive_and_ratios_are_of_neighbours(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import _measure

    assert all(rate > 0 for rate in _measure.disk(tmp_path, 1 << 24).values())
    assert not list(tmp_path.iterdir())
    turns: list[str] = []

    def arm(name: str, seconds: float):
        return lambda: turns.append(name) or seconds * len(turns)

    times = _measure.alternate(3, {"a": arm("a", 2.0), "b": arm("b", 1.0)})
    assert turns == ["a", "b", "b", "a", "a", "b"]
    assert times == {"a": [2.0, 8.0, 10.0], "b": [2.0, 3.0, 6.0]}
    found = _measure.ratio(times, "a", "b")
    assert (found["ratio"], found["low"], found["high"]) == (10 / 6, 1.0, 8 / 3)
