"""Several processes on one folder: one works, the others wait or are refused, nothing is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from crash_jobs import RUN, result, sandbox, unlike

from bequeath.fleet.folder import alone, claim, doing
from bequeath.kernel.errors import JobError, Problem, RunError

REFUSED = 2

# Four processes that try to hold one folder, again and again; every third holder dies in it. Who is
# inside says so by a file that must not be there yet.
RACE = """
import os, signal, sys, time
from pathlib import Path
from bequeath.fleet import folder
from bequeath.kernel.errors import JobError
out, rounds = Path(sys.argv[1]), int(sys.argv[2])
inside = out.parent / "inside"

def attempt(instant, die):
    while time.monotonic() < instant:
        pass
    try:
        with folder.claim(out, []):
            try:
                os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                os._exit(3)  # two are in
            time.sleep(0.003)
            inside.unlink()
            if die:
                os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    except JobError as error:
        os._exit(2 if error.problems[0].code == "R510" else 4)

counts = {}
for number in range(rounds):
    instant = time.monotonic() + 0.004
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            attempt(instant, number % 3 == 0)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert set(codes) <= {0, 2, -9} and set(codes) & {0, -9}, codes
    for code in codes:
        counts[code] = counts.get(code, 0) + 1
print(counts[2])
"""


@pytest.mark.parametrize("rounds", [20, pytest.param(1000, marks=pytest.mark.long)])
def test_of_several_that_start_at_once_one_holds_the_folder(tmp_path, rounds):
    done = subprocess.run(
        [sys.executable, "-c", RACE, str(tmp_path / "out"), str(rounds)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0  # they did meet


def test_the_program_started_four_times_at_once(server, tmp_path):
    wanted = server.undisturbed(tmp_path / "whole", "kd")
    home = sandbox(tmp_path / "many", "kd")
    answers = server.together(*[(home, RUN)] * 4)
    assert {one["code"] for one in answers} <= {0, REFUSED}
    assert any(one["code"] == 0 for one in answers)
    refused = [one["said"] for one in answers if one["code"] == REFUSED]
    assert all("error[R510]" in said for said in refused)
    assert unlike(result(home), wanted) == []


def test_two_jobs_ask_one_teacher_at_once(server, tmp_path):
    """Different students, one cache: each has what it has alone."""
    jobs = {name: {"method": {"name": "kd", "temperature": t}} for name, t in (("a", 2), ("b", 4))}
    wanted = {}
    for name, changes in jobs.items():
        assert server.run(sandbox(tmp_path / name / "whole", "kd", **changes))["code"] == 0
        wanted[name] = result(tmp_path / name / "whole")
    homes = {n: sandbox(tmp_path / n / "shared", "kd", **c) for n, c in jobs.items()}
    shutil.rmtree(homes["b"] / "cache")
    (homes["b"] / "cache").symlink_to(homes["a"] / "cache")
    answers = server.together(*[(home, RUN) for home in homes.values()])
    assert [one["code"] for one in answers] == [0, 0], answers
    assert all(unlike(result(homes[n]), wanted[n]) == [] for n in jobs)


def test_a_report_is_made_while_the_job_runs(server, tmp_path):
    wanted = server.undisturbed(tmp_path / "whole", "kd")
    home = sandbox(tmp_path / "busy", "kd")
    for _ in range(2):
        answers = server.together((home, RUN), *[(home, ("report", "out"))] * 3)
        assert answers[0]["code"] == 0, answers[0]["said"]
        for one in answers[1:]:
            assert one["code"] == 0 or "error[R564]" in one["said"], one["said"]
        assert unlike(result(home), wanted) == []
        said = json.loads((home / "out" / "report.json").read_text(encoding="utf-8"))
        assert len(said["runs"]) == 2  # whoever wrote last knew both runs


def test_starting_over_is_refused_while_another_works(server, tmp_path):
    home = sandbox(tmp_path / "one", "ties")
    assert server.run(home)["code"] == 0
    before = {p: p.read_bytes() for p in (home / "out").rglob("*") if p.is_file()}
    with alone(home / "out"):
        done = server.run(home, *RUN, "--fresh")
    assert done["code"] == REFUSED and "error[R510]" in done["said"]
    assert before == {p: p.read_bytes() for p in (home / "out").rglob("*") if p.is_file()}


def test_killed_while_it_threw_away_what_was_there(server, tmp_path):
    """After `--fresh` was killed anywhere, no half of an old result passes for a whole one."""
    wanted = server.undisturbed(tmp_path / "whole", "ties")
    home = sandbox(tmp_path / "fresh", "ties")
    known: set[str] = set()
    for _ in range(60):
        done = server.run(home)
        assert done["code"] == 0 and unlike(result(home), wanted) == [], sorted(known)
        done = server.run(home, *RUN, "--fresh", stop="kill", seen=sorted(known))
        if "runs" not in done["kind"] and known & {"os.rename /out/runs"}:
            break
        known.add(done["kind"])
    assert len(known) > 3


def test_a_run_whose_job_was_killed_still_holds_the_folder(tmp_path):
    """With `--jobs` runs are other processes, which may outlive the one that holds the lock."""
    out = tmp_path / "out"
    with claim(out, []):
        pass
    with doing(out / "work" / "kd" / "seed-0"), pytest.raises(JobError) as caught, claim(out, []):
        pass
    assert caught.value.problems[0].code == "R510"
    with claim(out, []):
        pass


def test_a_job_that_is_refused_after_all_leaves_no_folder(tmp_path):
    """Nor those above it that were made for it, unless somebody else has put something there."""

    def refused(*meanwhile: str) -> list[str]:
        out = tmp_path / "a" / "b" / "out"
        with pytest.raises(JobError), claim(out, []):
            for name in meanwhile:
                (tmp_path / name).touch()
            raise JobError(Problem("R511", "no"))
        return sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*"))

    assert refused() == []
    assert refused("a/mine") == ["a", "a/mine"]
    assert refused() == ["a", "a/mine"]


def test_a_folder_that_is_none_of_ours_gets_no_lock(tmp_path):
    from bequeath.fleet.sweep import render_report

    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(RunError):
        render_report(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["photo.jpg"]
