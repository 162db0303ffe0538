"""Killed at every change of a file, or told that there is no room: nothing half, nothing lost.

Each job is first run undisturbed. Then the same job is run in sittings that are disturbed until one
comes to its end; what is there then is compared with the undisturbed result, file by file and byte
by byte (`jobs.result` says what may differ: times and costs).

The short form takes each kind of change once, in three jobs, and kills two more at some instants;
the long one (`--long`) goes through all kinds in all jobs, and kills all at random instants.
"""

from __future__ import annotations

import errno
import random
import signal
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from crash_jobs import JOBS, result, sandbox, unlike

from bequeath.kernel.codes import CODES

ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EDQUOT)
SAID = ("R521", "R522", "S705", "W852")
LIMITS = (0, 50, 400, 1500, 2500, 5000, 12_000, 20_000, 35_000)
MOST = 200
FIFTY = 50
DIED = 137


def every(*short: str) -> Any:
    """All jobs, those that are not named only in the long form."""
    marks = {name: () if name in short else pytest.mark.long for name in JOBS}
    return pytest.mark.parametrize("name", [pytest.param(n, marks=m) for n, m in marks.items()])


@pytest.fixture(scope="module")
def whole(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """name -> (a folder for sandboxes, the undisturbed result), made when first asked for."""
    made: dict[str, tuple[Path, dict[str, bytes]]] = {}

    def of(name: str) -> tuple[Path, dict[str, bytes]]:
        if name not in made:
            home = tmp_path_factory.mktemp(name)
            made[name] = home, server.undisturbed(home / "whole", name)
            again = server.undisturbed(home / "again", name)
            assert unlike(again, made[name][1]) == []  # else nothing could be compared
        return made[name]

    return of


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest) -> dict[str, set[str]]:
    """Kinds of changes that were disturbed already: in the short form by any job before."""
    return {"kill": set(), "fail": set()}


def start(seen: dict[str, set[str]], how: str, pytestconfig: pytest.Config) -> set[str]:
    return set() if pytestconfig.getoption("--long") else seen[how]


@every("kd", "exssnet", "ties")
def test_killed_at_every_kind_of_change(server, whole, seen, pytestconfig, name):
    """Death just before a file is opened, renamed or removed; once for each kind, in one folder."""
    home, wanted = whole(name)
    known = start(seen, "kill", pytestconfig)
    here = sandbox(home / "killed", name)
    before = len(known)
    for _ in range(MOST):
        done = server.run(here, stop="kill", seen=sorted(known))
        if not done["kind"]:
            break
        assert done["code"] == DIED
        known.add(done["kind"])
    assert done["code"] == 0, done["said"]
    assert len(known) - before > (50 if name == "kd" else 2)
    assert unlike(result(here), wanted) == []
    assert not list((here / "out").rglob("*.part")) and not (here / "out" / "work").exists()


@every("kd", "ties")
def test_refused_at_every_kind_of_change(server, whole, seen, pytestconfig, name):
    """No space, no permission, a disk that fails: said with its code, and the next run goes on."""
    home, wanted = whole(name)
    known = start(seen, "fail", pytestconfig)
    here = sandbox(home / "refused-0", name)
    for failures in range(MOST):
        number = ERRORS[failures % len(ERRORS)]
        done = server.run(here, stop=number, seen=sorted(known))
        if not done["kind"]:
            break
        known.add(done["kind"])
        if done["code"] == 0:  # it was no loss (a folder that was there, scratch to be removed)
            assert unlike(result(here), wanted) == [], done["kind"]
            here = sandbox(home / f"refused-{failures + 1}", name)
            continue
        assert done["code"] == 1, (done["kind"], done["said"])
        assert any(f"error[{code}]" in done["said"] for code in SAID), done["said"]
        assert "again" in done["said"] or "S705" in done["said"]
    assert done["code"] == 0, done["said"]
    assert failures > (20 if name == "kd" else 2)
    assert unlike(result(here), wanted) == []
    assert not list((here / "out").rglob("*.part"))


@pytest.mark.parametrize("fatal", [True, False], ids=["killed", "refused"])
@every("kd", "ties")
def test_in_the_middle_of_a_file(server, whole, name, fatal):
    """The system stops a write at so many bytes, of whatever language the writer is."""
    home, wanted = whole(name)
    here = sandbox(home / f"middle-{fatal}", name)
    ends = Counter()
    for limit in LIMITS:
        done = server.ask(home=str(here), arguments=["run", "job.yaml", "--quiet"],
                          limit=limit, fatal=fatal)  # fmt: skip
        ends[done["code"]] += 1
        if done["code"] == 1:
            assert not list((here / "out").rglob("*.part"))
            # what is said goes into a file too, and is cut with it
            assert limit < 400 or any(f"error[{code}]" in done["said"] for code in SAID)
        assert fatal or limit < 50 or "Traceback" not in done["said"], done["said"]
    assert ends[-signal.SIGXFSZ if fatal else 1] >= 5
    done = server.run(here)
    assert done["code"] == 0, done["said"]
    assert unlike(result(here), wanted) == []


@pytest.mark.parametrize(
    ("name", "runs"),
    [("er", 1), ("boot", 1), *(pytest.param(n, FIFTY, marks=pytest.mark.long) for n in JOBS)],
)
def test_killed_at_random_instants(server, whole, name, runs, capsys, pytestconfig):
    """Fifty runs of each method, each killed at one to three random instants.

    In the short form one of those whose kinds of changes are all met in other jobs.
    """
    home, wanted = whole(name)
    here = sandbox(home / f"timed-{runs}", name)
    length = server.run(here)["seconds"]
    drawn = random.Random(name)
    phases: Counter[str] = Counter()
    for number in range(runs):
        here = sandbox(home / f"random-{runs}-{number}", name)
        for _ in range(drawn.randint(1, 3)):
            done = server.run(here, kill_after=drawn.uniform(0, 1.1 * length))
            phases[phase(here) if done["code"] == -signal.SIGKILL else "it was done before"] += 1
        done = server.run(here)
        assert done["code"] == 0, done["said"]
        assert unlike(result(here), wanted) == [], number
        assert not list((here / "out").rglob("*.part"))
    told = f"\n{name}: {sum(phases.values())} kills, {dict(phases.most_common())}"
    with capsys.disabled() if runs == FIFTY else nullcontext():
        pytestconfig.get_terminal_writer().line(told)


def phase(home: Path) -> str:
    """What a run was doing when it was killed, by what it left."""
    out = home / "out"
    if not (out / "job.yaml").exists():
        return "start"
    if any(out.glob("runs/*/.*.part")):
        return "storing"
    if any(out.glob("work/**/checkpoints/*")):
        half = any(out.glob("work/**/.*.part"))
        return "writing a checkpoint" if half else "training or measuring"
    if any(out.glob("work/*/*")):
        return "before the first checkpoint"
    if any(out.glob(".*.part")) or (out / "report.json").exists():
        return "report"
    if any(out.glob("runs/*/*/record.json")):
        return "between runs, or the report"
    return "reference and teacher"


def test_the_codes_are_explained():
    assert all(code in CODES for code in SAID)
