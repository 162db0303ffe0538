"""The output folder: ours alone while a job runs, never another job's, complete or absent parts."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from bequeath.evidence.record import RECORD_FILE, load_record
from bequeath.kernel.errors import JobError, Problem, RunError

LOCK = ".bequeath-lock"
# Everything a job leaves in its folder; `--fresh` removes these and nothing else.
OURS = (
    "runs",
    "references",
    "work",
    "job.yaml",
    "report.html",
    "report.json",
    "MODEL_CARD.md",
)


@contextmanager
def claim(out: Path, planned: Sequence[tuple[Path, str]], *, fresh: bool = False) -> Iterator[None]:
    """Hold `out` for one process. planned: run folder -> key of the experiment it will hold.

    JobError R510: another process is at work here; R511: the folder holds another job's results;
    R512: it holds files that are none of ours.
    """
    _refuse_strangers(out)
    out.mkdir(parents=True, exist_ok=True)
    lock = out / LOCK
    _lock(lock, out)
    try:
        if fresh:
            for name in OURS:
                _remove(out / name)
        _refuse_other_jobs(out, planned)
        yield
    finally:
        lock.unlink(missing_ok=True)


def missing_or_other(folder: Path, key: str) -> bool:
    """Whether this run has still to be done."""
    return _key_of(folder) != key


def clean(out: Path) -> None:
    """Take away the scratch of a job that is done."""
    shutil.rmtree(out / "work", ignore_errors=True)


def _key_of(folder: Path) -> str | None:
    if not (folder / RECORD_FILE).is_file():
        return None
    with contextlib.suppress(RunError):
        return load_record(folder).provenance.job_hash
    return None


def _refuse_strangers(out: Path) -> None:
    if not out.is_dir():
        return
    names = sorted(p.name for p in out.iterdir() if p.name not in OURS and p.name != LOCK)
    mine = any((out / name).exists() for name in OURS)
    if names and not mine:
        raise JobError(
            Problem(
                "R512",
                f"`{out}` is not empty and was not made by bequeath",
                at=("out",),
                notes=(f"it holds: {', '.join(names[:5])}",),
                remedies=("choose another folder with `out:` or `--set out=...`",),
            )
        )


def _refuse_other_jobs(out: Path, planned: Sequence[tuple[Path, str]]) -> None:
    mine = dict(planned)
    arms = {folder.parent.name for folder in mine}
    for folder in sorted((out / "runs").glob("*/seed-*")):
        theirs = _key_of(folder)
        if theirs is None:
            continue
        expected = next((k for f, k in mine.items() if f.parent == folder.parent), None)
        if folder.parent.name not in arms or theirs != expected:
            what = f"`{folder.parent.name}` there was made with other settings, models or data"
            if folder.parent.name not in arms:
                what = f"this job has no method called `{folder.parent.name}`"
            raise JobError(
                Problem(
                    "R511",
                    f"`{out}` holds the results of another job",
                    at=("out",),
                    notes=(what,),
                    remedies=(
                        "choose another folder with `out:` or `--set out=...`",
                        "start over with `--fresh`, which removes those results",
                    ),
                )
            )


def _lock(lock: Path, out: Path) -> None:
    me = f"{os.getpid()} {socket.gethostname()}"
    for _ in range(2):
        try:
            with lock.open("x", encoding="utf-8") as file:
                file.write(me)
            return
        except FileExistsError:
            if not _stale(lock):
                break
            lock.unlink(missing_ok=True)
    raise JobError(
        Problem(
            "R510",
            f"another process is working in `{out}`",
            at=("out",),
            remedies=("wait for it, or choose another folder", f"if none is: remove `{lock}`"),
        )
    )


def _stale(lock: Path) -> bool:
    """Whether the process that holds the lock is gone. On another machine one cannot tell."""
    with contextlib.suppress(OSError, ValueError):
        pid, _, host = lock.read_text(encoding="utf-8").partition(" ")
        return host == socket.gethostname() and not psutil.pid_exists(int(pid))
    return not lock.exists()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
