"""Processes side by side, killed and stopped: nothing lost, nothing done twice, the same bytes."""

from __future__ import annotations

import pickle
import re
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from sweeps import ALL, CHANGES, PATIENCE, begin, same, trained, until
from tiny_jobs import job, runs

from bequeath.fleet import check_deep, run_job, worker
from bequeath.fleet.units import Unit, name_of, plan
from bequeath.fleet.worker import Task, attempt, do, holding
from bequeath.kernel.errors import RunError
from bequeath.train.budget import Deadline


def workers(child: subprocess.Popen[str]) -> list[psutil.Process]:
    return [p for p in psutil.Process(child.pid).children() if "LokyProcess" in str(p.cmdline())]


@pytest.mark.slow
def test_a_killed_worker_s_run_goes_on_in_another(tmp_path, undisturbed):
    out = tmp_path / "out"
    child = begin(tmp_path, "--jobs", "2")
    until(child, lambda: trained(out) and len(workers(child)) == 2)
    before = workers(child)
    before[0].kill()
    _, said = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, said
    assert said.count("its worker was lost, it is started again") == 1
    finished = re.findall(r"\[\d/4\] (\w+), seed (\d)", said)
    assert len(finished) == 4 and {f"{arm}/seed-{seed}" for arm, seed in finished} == ALL
    assert runs(out) == ALL and same(out, undisturbed)
    assert not (out / "work").exists() and not any(p.is_running() for p in before)


@pytest.mark.slow
def test_killed_then_stopped_then_done(tmp_path, undisturbed):
    """The parent is killed, then told to stop; each time no worker stays, and what they had is
    used."""
    out = tmp_path / "out"
    child = begin(tmp_path, "--jobs", "2")
    until(child, lambda: trained(out) and len(workers(child)) == 2)
    left = workers(child)
    child.kill()
    child.communicate()
    assert psutil.wait_procs(left, timeout=PATIENCE)[1] == []

    child, now = begin(tmp_path, "--jobs", "2"), time.time_ns()
    until(child, lambda: trained(out, now) and len(workers(child)) == 2)
    left = workers(child)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130, said
    assert "run it again to go on" in said and "Traceback" not in said
    assert not any(p.is_running() for p in left)
    assert trained(out) and runs(out) < ALL
    run_job(job(out, **CHANGES), jobs=1, quiet=True)
    assert runs(out) == ALL and same(out, undisturbed)


def task(out: Path, **changes) -> Task:
    loaded = job(out)
    names = tuple(name_of(one) for one in plan(check_deep(loaded)))
    unit, home = Unit(names), str(Path.cwd())
    usual = {"job": pickle.dumps(loaded), "home": home, "unit": unit, "threads": 1}
    return Task(**usual | changes)


def test_what_is_complete_is_left_as_it_is(made, tmp_path):
    out = shutil.copytree(made, tmp_path / "out")
    before = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (out / "runs").rglob("*")}
    assert attempt(task(out)) is None
    after = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (out / "runs").rglob("*")}
    assert before == after


def test_one_at_a_time_at_a_run(made, tmp_path, monkeypatch):
    """The second to come waits, finds the run complete, and does nothing; or gives up in words."""
    out = tmp_path / "out"
    opened = check_deep(job(out))
    one = plan(opened)[0]
    unit = Unit((name_of(one),))
    made_by: list[int] = []
    real = worker.run_one

    def slowly(*arguments):
        time.sleep(0.3)
        made_by.append(1)
        return real(*arguments)

    monkeypatch.setattr(worker, "run_one", slowly)
    with ThreadPoolExecutor(2) as two:
        asked = [two.submit(do, opened, unit, 1, Deadline(None), False) for _ in "ab"]
        assert [a.result() for a in asked] == [None, None]
    assert made_by == [1]
    monkeypatch.setattr(worker, "PATIENCE", 0.1)
    with holding(one, out), pytest.raises(RunError) as caught:
        do(opened, unit, 1, Deadline(None), False)
    assert caught.value.problem.code == "R531"


def test_a_worker_that_sees_something_else_says_so(made, tmp_path):
    out = shutil.copytree(made, tmp_path / "out")
    names = task(out).unit.runs
    other = Unit(tuple(name.__class__(name.label, name.seed, "other") for name in names))
    token = tmp_path / "work" / "token"
    token.parent.mkdir()
    token.write_text("mine")
    for changes, hint in (
        ({"unit": other}, "other models, data or code"),
        ({"home": str(tmp_path / "nowhere")}, "nowhere"),
        ({"version": "0"}, "bequeath 0"),
        ({"token": (str(token), "theirs")}, "another folder"),
        ({"token": (str(tmp_path / "work" / "none"), "theirs")}, "another folder"),
    ):
        error = attempt(task(out, **changes))
        assert isinstance(error, RunError) and error.problem.code == "R534"
        assert hint in str(error)
    assert attempt(task(out, token=(str(token), "mine"))) is None


def test_the_threads_of_what_is_there_are_kept(made, tmp_path, monkeypatch):
    """Unless that many cannot be had; then somebody is told."""
    from bequeath.fleet import executors
    from bequeath.fleet.width import Width

    opened = check_deep(job(made, train={"threads": None}))
    said: list[str] = []
    planned = plan(opened)
    monkeypatch.setattr(executors.joblib, "cpu_count", lambda: 2)
    assert executors._as_before(opened, planned, Width(1, 2), said.append) == Width(1, 1)
    monkeypatch.setattr(executors, "threads_before", lambda *_: 2)
    assert executors._as_before(opened, planned, Width(2, 1), said.append) == Width(2, 1)
    assert len(said) == 1 and "2 CPU threads" in said[0]
