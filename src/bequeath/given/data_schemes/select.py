"""Which samples of a source: classes, a split where the source has none, a balanced handful.

Every choice is a function of (split_seed, position in the source, class), so train and test of
one source never overlap, `take: 100` lies within `take: 200`, and nothing depends on a generator.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from bequeath.given.data_schemes.source import Found, fail, listed, near
from bequeath.kernel.errors import JobError, Problem

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "val", "test", "all")
ALIASES = {"valid": "val", "validation": "val", "dev": "val"}


def resolve_classes(words: Sequence[str], names: Sequence[str], key: str = "classes") -> list[int]:
    """Class numbers meant by `words`: names, numbers, or ranges such as `0-4` (both ends count).

    A word that is a name means that name. Where all names are whole numbers a range runs over
    names, else over positions. Raises JobError (D211, at `key`) for a class that is not there, or
    twice.
    """
    position = {name: i for i, name in enumerate(names)}
    numeric = all(re.fullmatch(r"\d+", name) for name in names)
    chosen: list[int] = []
    for word in words:
        span = re.fullmatch(r"(\d+)\s*(?:-|\.\.)\s*(\d+)", word)
        if word in position:
            chosen.append(position[word])
            continue
        if span and int(span[2]) - int(span[1]) < 1_000_000:
            wanted = [str(i) for i in range(int(span[1]), int(span[2]) + 1)]
        else:
            wanted = [word]
        for one in wanted:
            at = position.get(one) if numeric else _index(one, len(names))
            if at is None:
                _unknown_class(one, names, key)
            chosen.append(at)
    if len(set(chosen)) < len(chosen):
        twice = next(names[i] for i in chosen if chosen.count(i) > 1)
        fail("D211", f"class `{twice}` is chosen twice", at=(key,))
    if not chosen:
        fail("D211", f"`{key}` chooses none", at=(key,))
    return chosen


def derived(split: str) -> str:
    """The name of a split that a source without splits can be divided into; JobError D215."""
    name = ALIASES.get(split, split)
    if name not in SPLITS:
        fail(
            "D215",
            f"there is no split `{split}`",
            at=("split",),
            label=near(split, SPLITS),
            notes=(f"this source has no splits of its own; it can give {listed(SPLITS)}",),
        )
    return name


def share(count: int, split: str, options: Any) -> int:
    """How many of a class of `count` samples lie in `split`."""
    test, val = int(count * options.test_size + 0.5), int(count * options.val_size + 0.5)
    val = min(val, count - test)
    return {"all": count, "test": test, "val": val, "train": count - test - val}[split]


def narrow(found: Found, options: Any) -> tuple[int | None, tuple[str, ...] | None, list[Problem]]:
    """Samples and classes left by the options, as far as listings and headers tell."""
    problems: list[Problem] = []
    n, classes, counts = found.n, found.classes, found.counts
    try:
        if options.classes is not None:
            if classes is not None:
                chosen = resolve_classes(options.classes, classes)
                classes = tuple(classes[i] for i in chosen)
                counts = tuple(counts[i] for i in chosen) if counts is not None else None
            n = sum(counts) if counts is not None else None
        if options.only is not None:
            if classes is not None:
                kept = set(resolve_classes(options.only, classes, "only"))
                if counts is not None:
                    counts = tuple(c if i in kept else 0 for i, c in enumerate(counts))
            n = sum(counts) if counts is not None else None
        if options.split is not None and not found.native:
            split = derived(options.split)
            if split != "all":
                n = None if counts is None else sum(share(c, split, options) for c in counts)
        if n == 0:
            raise JobError(empty(options))
        if options.take is not None:
            if n is not None and options.take > n:
                raise JobError(too_few(options.take, n))
            n = options.take
    except JobError as error:
        problems += error.problems
    return n, classes, problems


def choose(
    n: int, y: np.ndarray | None, classes: tuple[str, ...], native: bool, options: Any
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Rows of the source that the options ask for (int64, ascending), their labels, the classes.

    y: int64 [n] or None. Raises JobError: D205 nothing left, D211, D212, D215.
    """
    import numpy as np

    rows = np.arange(n, dtype=np.int64)
    if options.classes is not None:
        if y is None:
            fail("D211", "`classes` needs labels, and this data has none", at=("classes",))
        chosen = resolve_classes(options.classes, classes)
        renumber = np.full(len(classes), -1, dtype=np.int64)
        renumber[chosen] = np.arange(len(chosen))
        y, classes = renumber[y], tuple(classes[i] for i in chosen)
        rows = rows[y >= 0]
    if options.only is not None:
        if y is None:
            fail("D211", "`only` needs labels, and this data has none", at=("only",))
        rows = rows[np.isin(y[rows], resolve_classes(options.only, classes, "only"))]
    groups = y if y is not None else np.zeros(n, dtype=np.int64)
    if options.split is not None and not native:
        rows = _divide(rows, groups, derived(options.split), options)
    if len(rows) == 0:
        raise JobError(empty(options))
    if options.take is not None:
        if options.take > len(rows):
            raise JobError(too_few(options.take, len(rows)))
        rank, count, noise = _ranks(rows, groups, options.split_seed, salt=2)
        order = np.lexsort((noise, (rank + 0.5) / count))
        rows = np.sort(rows[order[: options.take]])
    return rows, y[rows] if y is not None else None, classes


def empty(options: Any) -> Problem:
    split = options.split
    if split is not None and ALIASES.get(split, split) == "val" and options.val_size == 0:
        return Problem(
            "D205",
            f"split `{split}` is empty: `val_size` is 0",
            at=("split",),
            remedies=("say for example `val_size: 0.1`, in every reference to this source",),
        )
    what = f"split `{split}`" if split is not None else "the data set"
    return Problem("D205", f"{what} is empty", at=("split",) if split is not None else ("ref",))


def too_few(take: int, n: int) -> Problem:
    return Problem(
        "D212",
        f"`take` asks for {take} samples but there are only {n}",
        at=("take",),
        remedies=(f"take {n} or fewer, or leave `take` out to have them all",),
    )


def _divide(rows: np.ndarray, groups: np.ndarray, split: str, options: Any) -> np.ndarray:
    import numpy as np

    if split == "all" or len(rows) == 0:
        return rows
    rank, count, _ = _ranks(rows, groups, options.split_seed, salt=1)
    sizes = np.unique(count)
    test = {int(c): share(int(c), "test", options) for c in sizes}
    val = {int(c): share(int(c), "val", options) for c in sizes}
    first = np.array([test[int(c)] for c in count])
    second = first + np.array([val[int(c)] for c in count])
    part = {"test": rank < first, "val": (rank >= first) & (rank < second), "train": rank >= second}
    return rows[part[split]]


def _ranks(
    rows: np.ndarray, groups: np.ndarray, seed: int, salt: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each row: its place in a random order of its class, the size of its class, its noise."""
    import numpy as np

    noise = noise_of(rows, seed, salt)
    order = np.lexsort((noise, groups[rows]))
    sorted_groups = groups[rows][order]
    starts = np.flatnonzero(np.r_[True, sorted_groups[1:] != sorted_groups[:-1]])
    sizes = np.diff(np.r_[starts, len(rows)])
    rank, count = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    rank[order] = np.arange(len(rows)) - np.repeat(starts, sizes)
    count[order] = np.repeat(sizes, sizes)
    return rank, count, noise


def noise_of(rows: np.ndarray, seed: int, salt: int) -> np.ndarray:
    """uint64 noise, a function of (seed, salt, row): splitmix64 (Steele et al. 2014)."""
    import numpy as np

    mask = 2**64 - 1
    start = np.uint64(((seed * 8 + salt) * 0xD1342543DE82EF95 + 1) & mask)
    z = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + start
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return z


def _index(word: str, n: int) -> int | None:
    return int(word) if re.fullmatch(r"\d{1,9}", word) and int(word) < n else None


def _unknown_class(word: str, names: Sequence[str], key: str) -> NoReturn:
    fail(
        "D211",
        f"there is no class `{word}`",
        at=(key,),
        label=near(word, names),
        notes=(f"the {len(names)} classes are {listed(names)}",),
    )
