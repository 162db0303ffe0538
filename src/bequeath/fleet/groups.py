"""Which seeds train as one, where runs may go side by side too.

Batched, R seeds cost less work than one by one; side by side, several cores are at work. Both are
had by as many groups as keep the workers busy: how many follows from an estimate of when all would
be done. A worker then tries its group, measures, and may leave its seeds alone after all.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bequeath.fleet.found import Found, found_of, kept
from bequeath.fleet.gates import Opened
from bequeath.fleet.one import Planned
from bequeath.fleet.protocols import protocol_of
from bequeath.fleet.units import Unit
from bequeath.fleet.width import seconds_at_least
from bequeath.methods.catalog import family_of
from bequeath.train.together import usual


def groups_of(opened: Opened, waiting: Sequence[Planned], width: int) -> list[list[Planned]]:
    """The runs of `waiting` to train as one, with so many workers; none where nothing can be.

    A group that an earlier sitting has begun stays as it is, and what it found to be left alone,
    or has begun alone, is in none.
    """
    job = opened.job
    if job.train.batch_seeds == "off" or opened.processes.world > 1:
        return []
    # Where a protocol hands out tasks, requests or queries, a method is more than a fit of data.
    if getattr(protocol_of(job.want).Run, "offer", "its own") is not None:
        return []
    if family_of(job.want).first is not None:
        return []
    made: list[list[Planned]] = []
    fresh: dict[str, list[Planned]] = {}
    seconds: dict[str, float] = {}
    others: list[float] = []  # seconds of what is to be done besides
    for label in dict.fromkeys(one.arm.label for one in waiting):
        runs = [one for one in waiting if one.arm.label == label]
        seconds[label] = seconds_at_least(opened, runs[0].arm)
        groups, rest, alone = _as_before(runs, job.out)
        if not any(need.trains for need in runs[0].arm.needs.models.values()):
            rest, alone = [], runs
        others += [_takes(len(group), seconds[label]) for group in groups]
        others += [seconds[label]] * len(alone)
        made, fresh[label] = made + groups, rest
    counts = {label: len(runs) for label, runs in fresh.items() if runs}
    least = 2 if job.train.batch_seeds == "on" else 1
    for label, sizes in deal(counts, seconds, width, others, least).items():
        ends = list(itertools.accumulate(sizes))
        cut = [fresh[label][end - size : end] for end, size in zip(ends, sizes)]
        made += [group for group in cut if len(group) > 1]
    return made


def _as_before(
    runs: Sequence[Planned], out: Path
) -> tuple[list[list[Planned]], list[Planned], list[Planned]]:
    """Runs of an arm: groups that go on, runs nobody has begun, and those that go on alone."""
    by_seed = {one.seed: one for one in runs}
    settled: set[int] = set()
    groups = []
    for found in kept(out, runs[0].arm.label, runs[0].key):
        if not found.open:
            settled.update(found.seeds)
        elif set(found.seeds) <= set(by_seed):
            settled.update(found.seeds)
            groups.append([by_seed[seed] for seed in found.seeds])
    left = [one for one in runs if one.seed not in settled]
    fresh = [one for one in left if not begun(one, out)]
    grouped = {one.seed for group in groups for one in group}
    alone = [one for one in runs if one not in fresh and one.seed not in grouped]
    return groups, fresh, alone


def begun(planned: Planned, out: Path) -> bool:
    """Whether a run has trained already, alone; then it goes on alone."""
    work = planned.work(out)
    key = work / "key"
    same = key.is_file() and key.read_text(encoding="utf-8") == planned.key
    return same and (work / "checkpoints").is_dir()


def deal(
    counts: Mapping[str, int],
    seconds: Mapping[str, float],
    width: int,
    others: Sequence[float] = (),
    least: int = 1,
) -> dict[str, list[int]]:
    """How many seeds of each arm train as one: the sizes of the groups that are done soonest.

    counts: arm -> seeds. seconds: arm -> of one run by itself. others: seconds of what is to be
    done besides. least: of a group. The time is that of `width` workers, each taking the longest
    that is left.
    """
    sizes = {label: [n] for label, n in counts.items()}
    best, soonest = sizes, _over(sizes, seconds, width, others)
    for _ in range(width + len(sizes)):
        splits = [label for label, n in counts.items() if n // (len(sizes[label]) + 1) >= least]
        if not splits:
            break
        longest = max(splits, key=lambda label: _takes(sizes[label][0], seconds[label]))
        parts = len(sizes[longest]) + 1
        each, more = divmod(counts[longest], parts)
        sizes = {**sizes, longest: [each + 1] * more + [each] * (parts - more)}
        if (over := _over(sizes, seconds, width, others)) < soonest:
            best, soonest = sizes, over
    return best


def _takes(size: int, seconds: float) -> float:
    return max(seconds, 1e-9) * usual(size)


def _over(
    sizes: Mapping[str, Sequence[int]],
    seconds: Mapping[str, float],
    width: int,
    others: Sequence[float],
) -> float:
    """Seconds until everything is done."""
    parts = [_takes(size, seconds[label]) for label, of in sizes.items() for size in of]
    free = [0.0] * width
    for part in sorted([*parts, *others], reverse=True):
        heapq.heapreplace(free, free[0] + part)
    return max(free)


def told(out: Path, unit: Unit, insisted: bool) -> Iterator[str]:
    """What became of a group, for whoever waits for it.

    What was seen without a trial not to go (texts, convolutions, ...) stands in the records; it is
    told to whoever insisted.
    """
    name = unit.runs[0]
    found = found_of(out, name.label, name.key, name.seed)
    if found is None:
        return
    if insisted or found.verdict.batched or found.verdict.difference is not None:
        yield f"{name.label}: {_words(found)}"


def _words(found: Found) -> str:
    verdict, seeds = found.verdict, found.seeds
    if not verdict.batched:
        return f"{len(seeds)} seeds each by itself: {verdict.why}"
    text = f"{len(seeds)} seeds trained as one model"
    if verdict.faster is not None:
        text += f", {verdict.faster:.1f} times as fast as one by one"
    if verdict.difference is not None:
        text += f"; gradients agree to {verdict.difference:.0e} of their size"
    return text
