"""Groups of seeds beside other work: how they are dealt, and made by workers that may be lost."""

from __future__ import annotations

import re
import signal

import pytest
from sweeps import ALL, CHANGES, PATIENCE, begin, same, until
from test_batched_seeds import weights
from test_workers import workers
from tiny_jobs import job, record, runs

from bequeath.fleet import check_deep, run_job
from bequeath.fleet.found import Found, keep, kept
from bequeath.fleet.groups import deal, groups_of
from bequeath.fleet.units import plan, units_of
from bequeath.train.together import Verdict

ON = {"batch_seeds": "on"}
BOTH = {**CHANGES, "train": {**CHANGES["train"], **ON}}
FOUR = {"seeds": 4, "method": "kd", "baselines": False, "train": ON}
YES, NO = Verdict(True, alone_s=2.0, together_s=1.0), Verdict(False, "because")


@pytest.mark.parametrize(
    "counts, width, sizes",
    [
        ({"a": 5}, 1, {"a": [5]}),
        ({"a": 5}, 2, {"a": [3, 2]}),  # two cores, each with a group
        ({"a": 2}, 2, {"a": [1, 1]}),  # side by side is quicker than as one
        ({"a": 5}, 8, {"a": [1] * 5}),
        ({"a": 5, "b": 5}, 2, {"a": [5], "b": [5]}),  # the least work, and nobody idle
        ({"a": 5, "b": 5, "c": 5}, 2, {"a": [5], "b": [5], "c": [3, 2]}),
        ({}, 2, {}),
    ],
)
def test_groups_keep_the_workers_busy(counts, width, sizes):
    dealt = deal(counts, dict.fromkeys(counts, 1.0), width)
    assert sorted(map(sorted, dealt.values())) == sorted(map(sorted, sizes.values()))


def test_what_is_done_besides_and_what_is_insisted_on_count():
    one = {"a": 1.0}
    assert deal({"a": 5}, one, 2, others=[9.0]) == {"a": [5]}  # the other worker is at that
    assert deal({"a": 2}, one, 2, least=2) == {"a": [2]}
    assert deal({"a": 5}, one, 4, least=2) == {"a": [3, 2]}
    long = deal({"a": 5, "b": 5}, {"a": 10.0, "b": 1.0}, 2)
    assert long["a"] == [3, 2] and long["b"] == [5]


def seeds(groups) -> list[tuple[int, ...]]:
    return [tuple(one.seed for one in group) for group in groups]


def test_what_was_found_stays_for_all_sittings(tmp_path):
    out = tmp_path / "out"
    opened = check_deep(job(out, **FOUR))
    planned = plan(opened)
    assert seeds(groups_of(opened, planned, 1)) == [(0, 1, 2, 3)]
    assert seeds(groups_of(opened, planned, 2)) == [(0, 1), (2, 3)]
    keep(out, "kd", planned[0].key, Found((0, 1, 2), YES))
    assert seeds(groups_of(opened, planned, 1)) == [(0, 1, 2)]  # goes on, whatever the width
    assert seeds(groups_of(opened, planned, 4)) == [(0, 1, 2)]
    keep(out, "kd", planned[0].key, Found((0, 1, 2), YES, trained=True))
    assert groups_of(opened, planned, 1) == []
    keep(out, "kd", planned[0].key, Found((0, 1), NO))
    assert seeds(groups_of(opened, planned, 1)) == [(2, 3)]
    keep(out, "kd", "another experiment", Found((0, 1), YES))
    assert seeds(groups_of(opened, planned, 1)) == [(0, 1, 2, 3)]
    opened.job = job(out, **{**FOUR, "train": {"batch_seeds": "off"}})
    assert groups_of(opened, planned, 1) == []


def test_a_run_waits_for_its_group_and_for_no_other(tmp_path):
    planned = plan(check_deep(job(tmp_path / "out", **FOUR)))
    first, *singles = units_of(planned, None, [planned[:2]])
    assert first.together and [n.seed for n in first.runs] == [0, 1]
    assert [unit.after for unit in singles] == [{first}, {first}, frozenset(), frozenset()]
    assert not any(unit.together for unit in singles)


@pytest.mark.slow
def test_groups_in_workers_are_stopped_killed_and_done(tmp_path, undisturbed):
    """All told to stop, then a worker killed; what comes out is what one process makes."""
    out = tmp_path / "out"

    def training() -> bool:
        found = list(out.glob("work/*/together/seed-0/checkpoints/fit.safetensors"))
        return len(found) == 2 and len(workers(child)) == 2

    child = begin(tmp_path, "--jobs", "2", **BOTH)
    until(child, training)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130 and runs(out) == set(), said
    (about,) = {p.key for p in plan(check_deep(job(out, **BOTH))) if p.arm.label == "kd"}
    (found,) = kept(out, "kd", about)
    assert found.open and found.seeds == (0, 1)

    child = begin(tmp_path, "--jobs", "2", **BOTH)
    until(child, training)
    workers(child)[0].kill()
    _, said = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, said
    assert said.count("its worker was lost, it is started again") == 1, said
    assert said.count("2 seeds trained as one model") == 2, said
    finished = re.findall(r"\[\d/4\] (\w+), seed (\d)", said)
    assert len(finished) == 4 and {f"{arm}/seed-{seed}" for arm, seed in finished} == ALL
    assert runs(out) == ALL and not (out / "work").exists()

    one_process = run_job(job(tmp_path / "here", **BOTH), jobs=1, quiet=True)
    assert same(out, one_process)
    for arm in ("kd", "ce"):
        for seed in (0, 1):
            off = weights(out, arm, seed) - weights(undisturbed, arm, seed)
            assert off.abs().max() < 1e-3
            assert record(out, arm, seed).train.together.runs == 2
