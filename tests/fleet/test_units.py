"""The loop that has a sweep done, with a pool that does nothing but remember."""

from __future__ import annotations

import math
import os
import signal
import threading
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_jobs import job

from bequeath import cli
from bequeath.fleet import check_deep, run_job
from bequeath.fleet.units import LIVES, Name, Unit, drive, name_of, plan, units_of
from bequeath.fleet.width import Width, width_here
from bequeath.kernel.errors import Interrupted, JobError, Problem, RunError
from bequeath.train.budget import Deadline
from bequeath.train.processes import Processes


def unit(label: str, seed: int = 0, after: tuple[Unit, ...] = ()) -> Unit:
    return Unit((Name(label, seed, "key"),), frozenset(after))


class Script:
    """A pool whose units end in turn, each as `answers` says for its label (else well)."""

    def __init__(self, width: int, answers: dict[str, list[BaseException]] | None = None):
        self.width, self.answers = width, answers or {}
        self.log: list[str] = []
        self.seconds: list[float | None] = []
        self.running: list[tuple[Unit, Future]] = []
        self.most = 0

    def start(self, unit: Unit, seconds: float | None) -> Future:
        self.running = [(u, f) for u, f in self.running if not f.done()]
        self.log.append(f"+{unit.runs[0].label}")
        self.seconds.append(seconds)
        future: Future = Future()
        self.running.append((unit, future))
        self.most = max(self.most, len(self.running))
        threading.Timer(0.01 * len(self.log), self._end, (unit, future)).start()
        return future

    def _end(self, unit: Unit, future: Future) -> None:
        label = unit.runs[0].label
        self.log.append(f"-{label}")
        error = (self.answers.get(label) or [None]).pop(0)
        if isinstance(error, BrokenExecutor):
            future.set_exception(error)
        else:
            future.set_result(error)

    def lost(self, error: BaseException) -> bool:
        return isinstance(error, BrokenExecutor)

    def stop(self) -> None:
        self.log.append("stop")

    def ended(self, label: str) -> int:
        return self.log.count(f"-{label}")


def test_what_the_others_are_measured_against_comes_first_for_each_seed():
    arms = [SimpleNamespace(label=name, method=SimpleNamespace(name=name)) for name in "ga"]
    waiting = [SimpleNamespace(arm=arm, seed=s, key="key") for s in (0, 1) for arm in arms]
    units = units_of(waiting, "g")
    assert [str(u) for u in units] == ["g, seed 0", "a, seed 0", "g, seed 1", "a, seed 1"]
    assert [len(u.after) for u in units] == [0, 1, 0, 1]
    assert units[3].after == {units[2]}
    assert all(not u.after for u in units_of(waiting, None))
    # a gold that is complete is nothing to wait for
    assert all(not u.after for u in units_of([w for w in waiting if w.arm.label == "a"], "g"))


@pytest.mark.parametrize("width", [1, 2, 5])
def test_nothing_begins_before_what_it_depends_on(width):
    gold = unit("gold")
    pool = Script(width)
    finished: list[str] = []
    drive(
        [gold, unit("a", after=(gold,)), unit("b", after=(gold,)), unit("free")],
        pool,
        Deadline(None),
        done=lambda one: finished.append(one.runs[0].label),
    )
    assert sorted(finished) == ["a", "b", "free", "gold"]
    assert pool.log.index("-gold") < min(pool.log.index("+a"), pool.log.index("+b"))
    assert (pool.log.index("+free") < pool.log.index("-gold")) == (width > 1)
    assert pool.most <= width


def test_a_lost_worker_s_unit_begins_again_and_not_for_ever():
    said: list[str] = []
    few = Script(2, {"a": [BrokenExecutor("gone")] * (LIVES - 1)})
    drive([unit("a"), unit("b")], few, Deadline(None), say=said.append)
    assert few.ended("a") == LIVES and few.ended("b") == 1 and len(said) == LIVES - 1
    many = Script(2, {"a": [BrokenExecutor("gone")] * LIVES})
    with pytest.raises(RunError) as caught:
        drive([unit("a"), unit("b")], many, Deadline(None))
    assert caught.value.problem.code == "R530" and "a, seed 0" in caught.value.problem.message
    assert many.ended("b") == 1


def test_a_worker_that_somebody_stopped_is_as_good_as_lost():
    pool = Script(1, {"a": [Interrupted("stopped by SIGTERM")]})
    drive([unit("a")], pool, Deadline(None))
    assert pool.ended("a") == 2


def test_an_error_lets_what_runs_finish_and_starts_nothing_new():
    wrong = RunError(Problem("T601", "not finite"))
    pool = Script(2, {"a": [wrong]})
    finished: list[str] = []
    with pytest.raises(RunError) as caught:
        drive(
            [unit("a"), unit("b"), unit("c")],
            pool,
            Deadline(None),
            done=lambda one: finished.append(one.runs[0].label),
        )
    assert caught.value is wrong
    assert finished == ["b"] and "+c" not in pool.log and "stop" not in pool.log


def test_a_signal_stops_the_pool():
    pool = Script(1)
    pool._end = lambda unit, future: None  # never done
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(Interrupted, match="SIGTERM"):
        drive([unit("a")], pool, Deadline(None))
    assert pool.log == ["+a", "stop"]


def test_time_is_shared_by_what_is_left():
    pool = Script(2)
    drive([unit(name) for name in "abcd"], pool, Deadline(100.0))
    assert pool.seconds[0] == pytest.approx(50, abs=1)  # two of four at a time
    assert pool.seconds[-1] == pytest.approx(100, abs=2)  # the last one beside one other
    assert [s for s in Script(1).seconds if s] == []
    one = Script(1)
    drive([Unit((Name("a", 0, ""), Name("a", 1, ""))), unit("b")], one, Deadline(90.0))
    assert one.seconds[0] == pytest.approx(60, abs=1)  # two runs of three
    names = (Name("a", 0, ""), Name("a", 1, ""))
    group = Unit(names, together=True)
    grouped, after = Script(1), frozenset({group})
    drive([group, *(Unit((n,), after) for n in names), unit("b")], grouped, Deadline(90.0))
    assert grouped.seconds[0] == pytest.approx(60, abs=1)  # its runs are not counted twice
    assert grouped.log[:2] == ["+a", "-a"] and grouped.ended("a") == 3


def test_the_width_follows_from_the_job_and_the_machine(tmp_path):
    short = check_deep(job(tmp_path / "short", seeds=3))
    runs = plan(short)
    assert width_here(short, runs, "auto", 8).runs == 1  # over before a worker is there
    assert width_here(short, runs, 4, 8) == Width(4, 1)
    assert width_here(short, runs, 99, 8).runs == len(runs) == 6
    long = check_deep(job(tmp_path / "long", seeds=3, train={"epochs": 5000}))
    assert width_here(long, plan(long), "auto", 4) == Width(4, 1)
    assert width_here(long, plan(long)[:1], "auto", 4).runs == 1
    free = check_deep(job(tmp_path / "free", seeds=3, train={"epochs": 5000, "threads": None}))
    usual = torch.get_num_threads()
    assert width_here(free, plan(free), "auto", 12) == Width(6, min(usual, 2))
    assert width_here(free, plan(free), 1, 12) == Width(1, usual)
    free.job = free.job.but(budget=free.job.budget.model_copy(update={"memory": 4 << 30}))
    free.peak = 1 << 30
    assert width_here(free, plan(free), "auto", 12).runs == 3
    assert width_here(free, plan(free), "auto", 12).memory == (4 << 30) // 3
    long.processes = Processes(0, 2)
    assert width_here(long, plan(long), "auto", 4).runs == 1


@pytest.mark.parametrize(
    "place",
    ["mars", "ray://", "ray:", "ray:host", "ray:a:b", "", "ray:127.0.0.1:1", "ray://127.0.0.1:1"],
)
def test_a_place_that_is_none(place, tmp_path, monkeypatch):
    monkeypatch.setattr("bequeath.fleet.executors.find_spec", lambda name: True)
    with pytest.raises(JobError) as caught:
        run_job(job(tmp_path / "out"), on=place, quiet=True)
    assert [p.code for p in caught.value.problems] == ["R533"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("jobs", ["0", "-1", "two", "1e3", "²", "99999999"])
def test_a_number_of_runs_that_is_none(jobs, capsys):
    for arguments in (["run", "job.yaml"], ["reproduce", "nd"]):
        assert cli.run_cli([*arguments, "--jobs", jobs]) == 2
        assert "neither `auto` nor a number" in " ".join(capsys.readouterr().err.split())


def test_without_ray_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("bequeath.fleet.executors.find_spec", lambda name: None)
    with pytest.raises(JobError) as caught:
        run_job(job(tmp_path / "out"), on="ray", quiet=True)
    (problem,) = caught.value.problems
    assert problem.code == "R532" and "bequeath[ray]" in problem.remedies[0]


def test_a_run_is_named_by_what_it_will_be_kept_by(tmp_path):
    one = plan(check_deep(job(tmp_path / "out")))[0]
    name = name_of(one)
    assert (name.label, name.seed, name.key) == ("kd", 0, one.key)
    assert not math.isnan(hash(name))
    assert not Path(tmp_path / "out").exists()
