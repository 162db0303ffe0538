"""The losses of a student's next words: of all logits at once, or in chunks of tokens.

    student = NextWords(model, texts=ctx.train.batch_size)
    asked = targets(model, batch)
    soft, hard = student.losses(batch, asked, rows_of(asked, teacher(batch).answer), measure, ...)

Which way it goes follows from the size of a batch's logits and decides nothing but time and memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bequeath.blocks.targets import Targets, rows_of
from bequeath.given.words import has_parts, in_parts, is_large
from bequeath.losses.divergence import Divergence, dense
from bequeath.losses.liger import fits_liger, liger_divergence
from bequeath.losses.vocabulary import Projected, Rows, fused


class NextWords:
    """A BoundModel that is trained, and how its losses are to be computed.

    texts: in a batch. in_parts: whether the vocabulary is so large that logits are made in chunks
    (and the model allows it); the teacher should then be asked for its logits in parts too.
    """

    def __init__(self, model: Any, texts: int):
        self.model = model
        large = model.facts.per_token and is_large(model.facts, model.preprocess, texts)
        self.in_parts = bool(large and has_parts(model))

    def said(self, batch: Mapping[str, Any], asked: Targets) -> Tensor | Projected:
        """What it says in each row, with its graph: logits [N, V], or a Projected of them."""
        answer = in_parts(self.model, batch) if self.in_parts else self.model(batch)
        found: Tensor | Projected = rows_of(asked, answer)
        return found


@dataclass(frozen=True)
class Weights:
    """Of the two sums in the loss, each over its count; and of each row within them, [N] or 1."""

    soft: float = 0.0
    hard: float = 0.0
    soft_rows: Tensor | None = None
    hard_rows: Tensor | None = None


def next_word_sums(
    said: Tensor | Projected,
    teacher: Rows | None,
    measure: Divergence | None,
    y: Tensor | None,
    weights: Weights,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """(soft, hard), 0-d, as of `vocabulary.fused`; `said` may be all logits too.

    What weighs nothing is not computed, and is 0.
    """
    use_soft = weights.soft != 0 and measure is not None
    if isinstance(said, Projected):
        if use_soft and measure is not None and fits_liger(said, teacher, measure, weights):
            return liger_divergence(said, teacher, measure, temperature), said.hidden.new_zeros(())
        return fused(
            said,
            teacher if use_soft else None,
            measure if use_soft else None,
            temperature=temperature,
            y=y,
            soft=weights.soft if use_soft else 0.0,
            hard=weights.hard,
            soft_rows=weights.soft_rows,
            hard_rows=weights.hard_rows,
        )
    soft = hard = said.new_zeros(())
    said = said.float() if said.dtype in (torch.bfloat16, torch.float16) else said
    if use_soft and measure is not None and teacher is not None:
        each = dense(said, teacher[:], measure, temperature)
        soft = _sum(each, weights.soft_rows)
    if weights.hard:
        assert y is not None, "cross-entropy needs the right words"
        hard = _sum(F.cross_entropy(said, y, reduction="none"), weights.hard_rows)
    return soft, hard


def _sum(each: Tensor, rows: Tensor | None) -> Tensor:
    if rows is None:
        return each.sum()
    return torch.where(rows != 0, each * rows.to(each.dtype), 0.0).sum()
