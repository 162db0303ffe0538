"""The output folder: ours alone while a job runs, never another job's, complete or absent parts."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from safetensors import SafetensorError

from bequeath.evidence.record import RECORD_FILE, load_record
from bequeath.kernel.errors import JobError, Problem, RunError

LOCK = ".bequeath-lock"
MARK = ".bequeath"  # says that the folder is ours; names like `runs` do not, anybody has those
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
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
    refuse_strangers(out)
    new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    lock = out / LOCK
    _lock(lock, out)
    try:
        if fresh:
            for name in OURS:
                _remove(out / name)
        _refuse_other_jobs(out, planned)
        if not (out / MARK).exists():  # a job that is refused leaves not even a new time
            (out / MARK).touch()
        yield
    except JobError:
        if new and not any(out.glob("runs/*/seed-*")):  # refused after all: as if never begun
            shutil.rmtree(out, ignore_errors=True)
        raise
    finally:
        lock.unlink(missing_ok=True)


def missing_or_other(folder: Path, key: str) -> bool:
    """Whether this run has still to be done."""
    return _key_of(folder) != key


def clean(out: Path) -> None:
    """Take away the scratch of a job that is done, and what a killed process had half-written."""
    shutil.rmtree(out / "work", ignore_errors=True)
    for pattern in (".*.part", "runs/*/.*.part", "references/.*.part"):
        for part in out.glob(pattern):
            _remove(part)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """RunError R522 where the disk does not take what the block writes into `out`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        code = re.search(r"os error (\d+)", str(error))
        number = error.errno if isinstance(error, OSError) else int(code[1]) if code else None
        if number not in NO_ROOM:
            raise
        raise RunError(
            Problem(
                "R522",
                f"the results cannot be written: {os.strerror(number)}",
                notes=(f"in `{out}`",),
                remedies=("free some space, then run the same command again: it goes on",),
            )
        ) from error


def _key_of(folder: Path) -> str | None:
    if not (folder / RECORD_FILE).is_file():
        return None
    with contextlib.suppress(RunError):
        return load_record(folder).provenance.job_hash
    return None


def refuse_strangers(out: Path) -> None:
    """JobError R512 when `out` holds files and is not a folder that a job has written."""
    if not out.is_dir() or _ours(out):
        return
    names = sorted(
        p.name
        for p in out.iterdir()
        if p.name != LOCK and not (p.name.startswith(".") and p.suffix == ".part")
    )
    if names:
        raise JobError(
            Problem(
                "R512",
                f"`{out}` is not empty and was not made by bequeath",
                at=("out",),
                notes=(f"it holds: {', '.join(names[:5])}",),
                remedies=("choose another folder with `out:` or `--set out=...`",),
            )
        )


def _ours(out: Path) -> bool:
    """By its mark, or (before there were marks) by what only a job writes."""
    written = ("runs/*/seed-*/record.json", "references/*/record.json", "work/*/seed-*/key")
    return (out / MARK).is_file() or any(any(out.glob(pattern)) for pattern in written)


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
    me = f"{os.getpid()} {psutil.Process().create_time()} {socket.gethostname()}"
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
    """Whether the process that holds the lock is gone. On another machine one cannot tell.

    A number alone does not name a process: in a container the next one often has the same.
    """
    with contextlib.suppress(OSError, ValueError):
        pid, began, host = lock.read_text(encoding="utf-8").split(" ", 2)
        if host != socket.gethostname():
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            return abs(psutil.Process(int(pid)).create_time() - float(began)) > 1
        return True
    return not lock.exists()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
