"""The pass in which a teacher is asked about all samples, a view at a time, for what is missing."""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch

from bequeath.kernel.errors import Problem, RunError
from bequeath.kernel.units import show_seconds, show_size
from bequeath.signals.cache import Cache, Rows
from bequeath.signals.check import surroundings
from bequeath.signals.live import LiveTeacher
from bequeath.signals.question import Open, Question
from bequeath.signals.signal import finite

log = logging.getLogger(__name__)

# After so many batches the time of a whole pass is known well enough to be held against a budget.
_JUDGED_AT = 8
# Below this size a model that is let go needs no collection of garbage (0.1 s): see `let_go`.
_LARGE = 64 * 2**20


class TimeIsOver(Exception):
    """The budget of the run does not last for the pass; the message says how it stood."""


def fill(question: Question, opened: Open, cache: Cache) -> dict[int, list[str]]:
    """Ask for what is missing or damaged, in one pass a view; -> view -> outputs that were asked.

    To be called with the lock of the cache held. RunError S701, S705, S708. TimeIsOver when the
    run's budget ends before the pass does; views that were complete by then are kept.
    """
    outputs, views = list(opened.names.values()), question.views
    cache.load()
    if damaged := cache.damaged(outputs, views):
        cache.set_aside(damaged)
        what = "; ".join(f"{name}: {why}" for name, why in damaged.items())
        warnings.warn(
            f"the teacher cache `{cache.key}` was damaged ({what}); it is made again", stacklevel=3
        )
    missing = cache.missing(outputs, views)
    if missing:
        _pass(question, opened, cache, missing)
    if damaged and (again := cache.damaged(outputs, views)):
        raise RunError(_damaged_again(cache, again))
    return missing


def _pass(question: Question, opened: Open, cache: Cache, missing: dict[int, list[str]]) -> None:
    size = opened.size(question, missing)
    cache.check_room(size)
    text = f"{question.samples} samples in {len(missing)} views ({show_size(size)})"
    log.info("asking the teacher about %s", text)
    made_with = surroundings(question.ctx.device)
    watch = _Watch(question, len(missing))
    for view, absent in missing.items():
        wanted = {kept: name for name, kept in opened.names.items() if kept in absent}
        cache.write_view(view, _answers(question, opened.live, view, wanted, watch), made_with)


def _answers(
    question: Question, live: LiveTeacher, view: int, wanted: dict[str, str], watch: _Watch
) -> Iterator[tuple[Rows, float]]:
    from rich.progress import track

    label = "asking the teacher" + (f", view {view + 1}" if question.views > 1 else "")
    show = question.ctx.show
    silent = not question.ctx.processes.main or not (sys.stderr.isatty() if show is None else show)
    batches = question.view(view)
    for batch in track(batches, label, total=watch.steps, transient=True, disable=silent):
        watch.look()
        started = time.perf_counter()
        said = finite(live(batch), batch).outputs()
        rows = {kept: said[name].cpu().numpy() for kept, name in wanted.items()}
        yield rows, time.perf_counter() - started


class _Watch:
    """Holds a pass against the run's budget, batch by batch.

    Unless the job says `cache: on`, a pass that will clearly not end in time is not gone on with:
    its answers could not be used, and the student can learn in that time.
    """

    def __init__(self, question: Question, views: int):
        self.budget = question.ctx.budget
        self.steps = -(-question.samples // question.batch_size)
        self.total = self.steps * views
        self.done = 0
        self.foresees = question.ctx.train.cache != "on"
        self.started = time.perf_counter()

    def look(self) -> None:
        left = self.budget.left()
        if left <= 0:
            raise TimeIsOver(f"the time ended after {self.done} of {self.total} batches")
        if self.foresees and self.done == _JUDGED_AT:
            rest = (time.perf_counter() - self.started) / self.done * (self.total - self.done)
            if rest > left:
                raise TimeIsOver(
                    f"it would take {show_seconds(rest)}, {show_seconds(left)} are left for it"
                )
        self.done += 1


def let_go(live: LiveTeacher, device: Any) -> None:
    """Give the teacher's memory back: to the allocator of the device, and to the system."""
    size = live.close()
    if size >= _LARGE:
        gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what was freed otherwise


def _damaged_again(cache: Cache, files: dict[str, str]) -> Problem:
    return Problem(
        "S701",
        f"the teacher cache `{cache.key}` is damaged again right after it was written",
        notes=(*(f"{name}: {why}" for name, why in files.items()), f"in {cache.folder}"),
        remedies=(
            "the disk loses data: set BEQUEATH_CACHE to a folder on another one",
            "set `train.cache: off` to ask the teacher live",
        ),
    )
