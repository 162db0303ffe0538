"""A hostile case, and the child process with hard limits in which it meets the command line.

A child is forked for each case: what the case would run, allocate or leave behind ends with it, a
hang is killed, and what it took is counted apart from everything else.
"""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import bad_files as make

from bequeath.cli import run_cli
from bequeath.fleet.folder import REPORT_LOCK
from bequeath.train.budget import peak_resident, reset_peak, resident

CPU = 5.0  # seconds a case may take; the child is killed a little later
WALL = 90.0  # a busy machine is no hang
GROWTH = 300_000_000  # bytes of memory a case may add
SPACE = 6 << 30  # bytes of addresses it may ask for: beyond that, an allocation fails
NOBODY = 65534
GOES_ON = ("out/work", "out/.bequeath", "out/job.yaml")
CHECK = ("check", "--deep", "job.yaml")
RUN = ("run", "--quiet", "job.yaml")


@dataclass(frozen=True)
class Case:
    """name and what: unique in the corpus. make: writes job.yaml and all else into a folder.

    codes: what must come, in this order, each once; `usage`: the command itself is refused. exit:
    2 the job is wrong, 1 the run failed. says: words of the answer. nobody: another user asks,
    without rights of its own. placed: a place in a file, or a path in the job, is named; False
    where the fault lies in no line of a job (the file cannot be read at all). needs: a
    library outside the core.
    """

    name: str
    what: str
    codes: str
    make: Callable[[Path], object]
    arguments: Sequence[str] = CHECK
    exit: int = 2
    says: tuple[str, ...] = ()
    nobody: bool = False
    placed: bool = True
    needs: str = ""


@dataclass
class Answer:
    """code: of the process, or minus the signal that ended it. growth: bytes of memory."""

    code: int
    said: str
    cpu: float
    growth: int = 0
    codes: list[str] = field(default_factory=list)


def ask(case: Case, folder: Path) -> Answer:
    """Run the command line in a child, in `folder`."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _answer(case, folder, writer)  # does not return
    os.close(writer)
    said, usage, status = _listen(child, reader)
    code = os.waitstatus_to_exitcode(status)
    match = re.search(r"\n?GROWTH (\d+)\n$", said)
    answer = Answer(code, said[: match.start()] if match else said, usage)
    answer.growth = int(match[1]) if match else 0
    answer.codes = list(dict.fromkeys(re.findall(r"^error\[(\w+)\]", answer.said, re.M)))
    if re.search(r"^Usage: ", answer.said, re.M):
        answer.codes.append("usage")
    return answer


def _answer(case: Case, folder: Path, writer: int) -> None:
    code = 99
    try:
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        os.chdir(folder)
        _limit()
        if case.nobody and os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        reset_peak()
        before = resident()
        try:
            code = run_cli(case.arguments)
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        sys.stdout.write(f"\nGROWTH {max(0, peak_resident() - before)}\n")
        sys.stdout.flush()
    finally:
        os._exit(code)


def _limit() -> None:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + SPACE, now + SPACE))
    resource.setrlimit(resource.RLIMIT_CPU, (int(3 * CPU), int(3 * CPU) + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _listen(child: int, reader: int) -> tuple[str, float, int]:
    """What the child said, its processor seconds, how it ended. Killed when it takes too long."""
    parts: list[bytes] = []
    ends = time.monotonic() + WALL
    while True:
        left = ends - time.monotonic()
        if left <= 0:
            os.kill(child, signal.SIGKILL)
            break
        if select.select([reader], [], [], left)[0]:
            part = os.read(reader, 1 << 16)
            if not part:
                break
            parts.append(part)
    os.close(reader)
    _, status, usage = os.wait4(child, 0)
    said = b"".join(parts).decode("utf-8", "replace")
    return said, usage.ru_utime + usage.ru_stime, status


def job(text: str | bytes, *makes: make.Make) -> Callable[[Path], None]:
    """job.yaml with this text, then further files."""
    return make.both(make.text("job.yaml", text), *makes)


def faults(case: Case, answer: Answer, before: dict, after: dict) -> list[str]:
    """Everything that is wrong with an answer."""
    found = []
    if answer.code != case.exit:
        found.append(f"exit code {answer.code}, not {case.exit}")
    if answer.codes != case.codes.split():
        found.append(f"codes {' '.join(answer.codes)}, not {case.codes}")
    if "Traceback" in answer.said or re.search(r"^  File \"", answer.said, re.M):
        found.append("a traceback")
    if case.placed and answer.codes != ["usage"] and " --> " not in answer.said:
        found.append("no place")
    if not all(c.isprintable() or c == "\n" for c in answer.said):
        found.append("what it says could steer a terminal")
    if len(answer.said) > 100_000:
        found.append(f"{len(answer.said)} characters of answer")
    found += [f"does not say `{words}`" for words in case.says if words not in answer.said]
    if case.exit == 1:  # a run goes on where it broke: what it needs for that stays, whole
        kept = {name: fact for name, fact in after.items() if name.startswith(GOES_ON)}
        parts = [name for name in kept if name.endswith(".part")]
        found += [f"left behind: {name}" for name in parts]
        after = {name: fact for name, fact in after.items() if name not in (*kept, "out")}
        after = {name: fact for name, fact in after.items() if not name.endswith(REPORT_LOCK)}
    if after != before:
        changed = sorted({*after.items()} ^ {*before.items()})
        found.append(f"changed on disk: {[name for name, _ in changed][:5]}")
    if answer.cpu > CPU:
        found.append(f"{answer.cpu:.1f} s of processor")
    if answer.growth > GROWTH:
        found.append(f"{answer.growth / 1e6:.0f} MB of memory")
    return found
