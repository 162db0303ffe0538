"""The r smallest magnitudes of a tensor seen in parts: exactly, in a few passes, in bounded memory.

The bits of a float that is not negative, read as a whole number, are in the order of the floats.
So the r-th smallest is found digit by digit: count how often each value of the leading 16 bits
occurs, see in which the r-th falls, count the next bits of those, and so on. Two passes for
float32, four for float64. Where several elements equal the one at the border, their positions
decide, so that exactly r are below; one more pass finds where.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from bequeath.weights.rule import Part, Whole

if TYPE_CHECKING:
    from torch import Tensor

DIGIT = 16  # bits


class Cut(NamedTuple):
    """Above: larger than `value`; or equal, and before position `split` (not before, if not
    `before`)."""

    value: float
    split: int
    before: bool

    def above(self, magnitude: Tensor, start: int) -> Tensor:
        """1 or 0 in place of the magnitudes [n], the first of which is at position `start`."""
        head = min(max(self.split - start, 0), magnitude.numel())
        self._side(magnitude[:head], self.before)
        self._side(magnitude[head:], not self.before)
        return magnitude

    def _side(self, magnitude: Tensor, equal: bool) -> None:
        # In place, and so in the magnitudes' type: torch multiplies by truth values six times
        # slower than by numbers.
        magnitude.ge_(self.value) if equal else magnitude.gt_(self.value)


class Rank(NamedTuple):
    """The `below` smallest magnitudes of a tensor are below the cut.

    first_below: of equal ones, the first by position go below; else the last.
    """

    below: int
    first_below: bool


def cuts(
    whole: Whole, magnitudes: Callable[[Part], list[Tensor]], ranks: list[list[Rank]]
) -> list[list[Cut | None]]:
    """One cut for each rank of each tensor that `magnitudes` gives; None where nothing is below.

    magnitudes: of a part, flat, float32 or float64, not negative, no NaN.
    """
    wanted = [
        (column, rank.below)
        for column, some in enumerate(ranks)
        for rank in some
        if 0 < rank.below < whole.size
    ]
    borders = _borders(whole, magnitudes, sorted(set(wanted)))
    made: list[list[Cut | None]] = []
    ties: dict[tuple[int, float], list[int]] | None = None
    for column, some in enumerate(ranks):
        made.append([])
        for rank in some:
            if rank.below <= 0:
                made[-1].append(None)
                continue
            if rank.below >= whole.size:
                made[-1].append(Cut(float("inf"), 0, True))
                continue
            border = borders[column, rank.below]
            if border.ties_below == 0:
                made[-1].append(Cut(border.value, 0, False))
                continue
            if ties is None:
                ties = _ties(whole, magnitudes, borders)
            number = border.ties_below if rank.first_below else border.ties - border.ties_below
            split = _position(whole, magnitudes, column, border.value, number, ties)
            made[-1].append(Cut(border.value, split, not rank.first_below))
    return made


class _Border(NamedTuple):
    value: float
    ties: int
    ties_below: int


def _borders(
    whole: Whole,
    magnitudes: Callable[[Part], list[Tensor]],
    wanted: list[tuple[int, int]],
) -> dict[tuple[int, int], _Border]:
    """(column, r) -> the value that has r elements before it in ascending order."""
    if not wanted:
        return {}
    bits = whole.itemsize * 8 - 1
    prefix = dict.fromkeys(wanted, 0)
    left = {key: key[1] for key in wanted}
    ties = dict.fromkeys(wanted, 0)
    shift = bits
    while shift > 0:
        width = min(DIGIT, shift)
        shift -= width
        groups = sorted({(column, prefix[column, r]) for column, r in wanted})
        counts = _count(whole, magnitudes, groups, shift, width, shift + width == bits)
        for key in wanted:
            running = counts[key[0], prefix[key]].cumsum(0)
            digit = int((running <= left[key]).sum())
            before = int(running[digit - 1]) if digit else 0
            ties[key] = int(running[digit]) - before
            left[key] -= before
            prefix[key] = prefix[key] << width | digit
    return {key: _Border(_float(prefix[key], bits), ties[key], left[key]) for key in wanted}


def _count(
    whole: Whole,
    magnitudes: Callable[[Part], list[Tensor]],
    groups: list[tuple[int, int]],
    shift: int,
    width: int,
    first: bool,
) -> dict[tuple[int, int], Tensor]:
    """How often each digit occurs among a column's elements that begin with a prefix."""
    import torch

    def look(part: Part) -> list[Tensor]:
        found = magnitudes(part)
        answers = []
        for column, prefix in groups:
            x = found[column].numpy()  # its choice of some elements takes a quarter of torch's time
            numbers = x.view(f"i{x.itemsize}")
            if not first:
                numbers = numbers[numbers >> (shift + width) == prefix]
            digits = numbers >> shift & ((1 << width) - 1)
            answers.append(torch.bincount(torch.from_numpy(digits), minlength=1 << width))
        return answers

    sums = [torch.zeros(1 << width, dtype=torch.int64) for _ in groups]
    for answers in whole.each(look):
        for into, answer in zip(sums, answers, strict=True):
            into += answer
    return dict(zip(groups, sums, strict=True))


def _ties(
    whole: Whole,
    magnitudes: Callable[[Part], list[Tensor]],
    borders: dict[tuple[int, int], _Border],
) -> dict[tuple[int, float], list[int]]:
    """(column, value) -> number of elements equal to the value, part by part."""
    values = sorted({(column, b.value) for (column, _), b in borders.items() if b.ties_below})

    def look(part: Part) -> list[int]:
        found = [x.numpy() for x in magnitudes(part)]
        return [int((found[column] == value).sum()) for column, value in values]

    rows = list(whole.each(look))
    return {key: [row[i] for row in rows] for i, key in enumerate(values)}


def _position(
    whole: Whole,
    magnitudes: Callable[[Part], list[Tensor]],
    column: int,
    value: float,
    number: int,
    ties: dict[tuple[int, float], list[int]],
) -> int:
    """The position of the equal element that `number` others come before."""
    counts = ties[column, value]
    part_number = 0
    while number >= counts[part_number]:
        number -= counts[part_number]
        part_number += 1

    def look(part: Part) -> int:
        return part.start + int(magnitudes(part)[column].eq(value).nonzero()[number])

    return whole.only(part_number, look)


def _float(bits: int, width: int) -> float:
    if width == 31:
        return struct.unpack("<f", struct.pack("<I", bits))[0]
    return struct.unpack("<d", struct.pack("<Q", bits))[0]
