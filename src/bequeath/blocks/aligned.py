"""Which tokens of one model's reading of a text belong to which of another's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from bequeath.blocks.targets import Targets


@dataclass(frozen=True)
class Aligned:
    """What another model says in its rows `pairs`, as rows of ours; -1 stands for its first row.

    Rows without a partner must weigh nothing.
    """

    told: Any
    pairs: Tensor

    def __getitem__(self, rows: Any) -> Any:
        return self.told[self.pairs[rows].clamp_min(0)]


def aligned(
    model: Any,
    asked: Targets,
    other: Any,
    theirs: Targets,
    texts: Sequence[str],
    how: Literal["position", "prefix"],
) -> Tensor:
    """For each row of `asked` the row of `theirs` that belongs to it, or -1: int64 [N].

    model, other: what has a preprocess. position: the same place in the same text. prefix: the row
    before which exactly the same characters have been read.
    """
    places, others = _places(asked), _places(theirs)
    if how == "prefix":
        places = _read(model, texts, places)
        others = _read(other, texts, others)
    known = {place: row for row, place in enumerate(map(tuple, others.tolist()))}
    found = [known.get(place, -1) for place in map(tuple, places.tolist())]
    return torch.tensor(found, dtype=torch.long, device=places.device)


def _places(asked: Targets) -> Tensor:
    """(text, token) of each row, [N, 2]."""
    assert asked.where is not None, "a classifier has no tokens"
    return asked.where.nonzero()


def _read(model: Any, texts: Sequence[str], places: Tensor) -> Tensor:
    """(text, characters read so far) of each row, [N, 2]; a row has read its own token."""
    ends = []
    for spans in model.preprocess.spans(texts):
        most = 0
        ends.append([most := max(most, end) for _, end in spans])
    length = [ends[text][token] for text, token in places.tolist()]
    return torch.stack([places[:, 0], places.new_tensor(length)], 1)
