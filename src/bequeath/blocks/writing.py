"""What language models write: texts gone on with, token by token, by one model or by two mixed.

written = go_on(student, start, new=32, rng=ctx.rng("gkd/say", step))
student(written.batch)            # a batch that models take as any other
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bequeath.given.words import Speaker

Says = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Written:
    """tokens: int64 [B, T]; mask: 1 up to the end of each text; start: how many were given."""

    tokens: Tensor
    mask: Tensor
    start: int

    @property
    def batch(self) -> dict[str, Any]:
        """As models take it. `idx` are numbers of this batch, of no data set."""
        idx = torch.arange(len(self.tokens), device=self.tokens.device)
        return {"idx": idx, "tokens": {"input_ids": self.tokens, "attention_mask": self.mask}}


def beginnings(model: Any, batch: Mapping[str, Any], most: int) -> Tensor:
    """The first tokens of each text of a batch, int64 [B, P].

    P is `most`, or one less than the shortest text has: all texts of a batch begin alike long, so
    that none needs padding.
    """
    tokens = model.preprocess(batch, batch["idx"].device)
    ids, mask = tokens["input_ids"], tokens.get("attention_mask")
    shortest = ids.shape[1] if mask is None else int(mask.sum(1).min())
    return ids[:, : max(1, min(most, shortest - 1))]


@torch.no_grad()
def go_on(
    model: Any,
    start: Tensor,
    new: int,
    rng: torch.Generator,
    *,
    temperature: float = 1.0,
    other: Callable[[], Says] | None = None,
    share: float = 0.0,
) -> Written:
    """Let a BoundModel go on with texts [B, P] by up to `new` tokens, drawn from what it says.

    other, share: draw from share * p + (1 - share) * q, p of another model with the same words
    (a Predictor's `speaker`, or a Speaker made anew). A text is over at the token that ends texts;
    the longest the model reads is never passed. The model is in eval mode meanwhile. rng: on the
    CPU; the draw is the same on every device but for the rounding of the probabilities.
    """
    was_training = model.training
    model.eval()
    says, mixed = Speaker(model), other() if other is not None else None
    end = model.preprocess.end
    room = min(new, model.preprocess.max_length - start.shape[1])
    tokens, mask = start, torch.ones_like(start)
    open_ = torch.ones(len(start), dtype=torch.bool, device=start.device)
    for _ in range(max(0, room)):
        p = (says(tokens).float() / temperature).softmax(1)
        if mixed is not None:
            theirs = (mixed(tokens).float() / temperature).softmax(1)
            p = share * theirs + (1 - share) * p
        drawn = torch.multinomial(p.cpu(), 1, generator=rng).to(start.device)
        if end is not None:
            drawn = torch.where(open_[:, None], drawn, end)
        tokens = torch.cat([tokens, drawn], 1)
        mask = torch.cat([mask, open_[:, None].long()], 1)
        if end is not None:
            open_ = open_ & (drawn[:, 0] != end)
            if not open_.any():
                break
    model.train(was_training)
    return Written(tokens, mask, start.shape[1])
