"""The output folder: ours alone while a job runs, never another job's, complete or absent parts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bequeath.evidence.record import RECORD_FILE, load_record
from bequeath.kernel.errors import JobError, Problem, RunError
from bequeath.kernel.files import is_part, leftovers, refusal, remove

LOCK = ".bequeath-lock"
MARK = ".bequeath"  # says that the folder is ours; names like `runs` do not, anybody has those
REPORT_LOCK = ".bequeath-report-lock"
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
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    with alone(out):
        _refuse_orphans(out)
        if fresh:
            (out / MARK).touch()  # by which a folder half emptied is still known as ours
            for name in OURS:
                remove(out / name)
        _refuse_other_jobs(out, planned)
        if not (out / MARK).exists():  # a job that is refused leaves not even a new time
            (out / MARK).touch()
        with reporting(out):  # which writes parts of its own
            for part in list(leftovers(out)):
                remove(part)
        try:
            yield
        except JobError:
            # refused after all: as if never begun
            if made and not any(out.glob("**/runs/*/seed-*")):
                _unmake(made)
            raise


def _unmake(made: Sequence[Path]) -> None:
    """Take away a folder that was made, and of those above it that were made for it the empty."""
    for i, folder in enumerate(made):
        if i == 0:
            remove(folder)
        else:
            with contextlib.suppress(OSError):  # somebody else has put something there
                folder.rmdir()


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold the lock of `out`. The system frees it when its process ends, however it ends.

    JobError R510 when another process has it.
    """
    with _lock(out / LOCK, out):
        yield


@contextmanager
def reporting(out: Path) -> Iterator[None]:
    """Read the records and write the reports alone, waiting for whoever does.

    A report may be asked for while the job runs. Whoever writes later has read later.
    """
    from filelock import FileLock

    with FileLock(out / REPORT_LOCK):
        yield


@contextmanager
def doing(work: Path, patience: float = -1.0) -> Iterator[None]:
    """Hold the run whose scratch is `work` for this process, so that no two are ever at it.

    The lock lies beside the scratch and goes with it. patience: seconds to wait for another
    process, by default for ever; filelock.Timeout after them.
    """
    from filelock import FileLock

    work.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(work.with_name(f"{work.name}.lock"), timeout=patience):
        yield


def missing_or_other(folder: Path, key: str) -> bool:
    """Whether this run has still to be done."""
    return _key_of(folder) != key


def clean(out: Path) -> None:
    """Take away the scratch of a job that is done."""
    remove(out / "work")


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """RunError R522 where the system does not let the block write, into `out` above all."""
    try:
        yield
    except Exception as error:
        number = refusal(error) or _inside(out, error)
        if number is None:
            raise
        raise RunError(
            Problem(
                "R522",
                f"cannot write into `{out}`: {os.strerror(number)}",
                notes=_elsewhere(out, error),
                remedies=(
                    "free some space, or allow writing there; then run the same command again: it "
                    "goes on",
                ),
            )
        ) from error


def _inside(out: Path, error: Exception) -> int | None:
    """The system's number of an error that is about a file in `out`."""
    if not isinstance(error, OSError) or not isinstance(error.filename, str | os.PathLike):
        return None
    inside = Path(error.filename).absolute().is_relative_to(out.absolute())
    return error.errno if inside else None


def _elsewhere(out: Path, error: Exception) -> tuple[str, ...]:
    """The file that could not be written, where it is none of `out`: kept for other jobs, say."""
    name = getattr(error, "filename", None)
    if not isinstance(name, str) or Path(name).absolute().is_relative_to(out.absolute()):
        return ()
    return (f"the file is `{name}`",)


def _key_of(folder: Path) -> str | None:
    if not (folder / RECORD_FILE).is_file():
        return None
    with contextlib.suppress(RunError):
        return load_record(folder).provenance.job_hash
    return None


def refuse_strangers(out: Path) -> None:
    """JobError R512 when `out` holds files and is not a folder that a job has written."""
    if not out.is_dir():
        return
    # Looked at before the mark, which is the first that a job writes: another may be starting.
    names = sorted(
        p.name for p in out.iterdir() if p.name not in (LOCK, REPORT_LOCK) and not is_part(p.name)
    )
    if names and not ours(out):
        raise JobError(
            Problem(
                "R512",
                f"`{out}` is not empty and was not made by bequeath",
                at=("out",),
                notes=(f"it holds: {', '.join(names[:5])}",),
                remedies=("choose another folder with `out:` or `--set out=...`",),
            )
        )


def ours(out: Path) -> bool:
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
            what = f"`{folder.parent.name}` there was made with other settings, models or data, "
            what += "or by another number of processes"
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


def _refuse_orphans(out: Path) -> None:
    """JobError R510 while a run is still done for a process that was killed (`--jobs`)."""
    for lock in out.glob("work/*/*.lock"):
        with _lock(lock, out):
            pass


@contextmanager
def _lock(path: Path, out: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        problem = Problem(
            "R510",
            f"another process is working in `{out}`",
            at=("out",),
            remedies=("wait for it, or choose another folder",),
        )
        raise JobError(problem) from None
    try:
        yield
    finally:
        lock.release()
