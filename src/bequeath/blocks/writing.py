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

from bequeath.blocks.targets import answers_in, prompt_tokens
from bequeath.blocks.whole import whole
from bequeath.given.words import Speaker

Says = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Written:
    """tokens: int64 [B, T]; mask: 1 up to the end of each text; start: how many tokens of each
    were given, [B]."""

    tokens: Tensor
    mask: Tensor
    start: Tensor

    @property
    def batch(self) -> dict[str, Any]:
        """As models take it. `idx` are numbers of this batch, of no data set."""
        idx = torch.arange(len(self.tokens), device=self.tokens.device)
        return {"idx": idx, "tokens": {"input_ids": self.tokens, "attention_mask": self.mask}}


@dataclass(frozen=True)
class Start:
    """The first `length` [B] of the tokens [B, P] of each text, P the largest of them."""

    tokens: Tensor
    length: Tensor


def beginnings(model: Any, batch: Mapping[str, Any], most: int) -> Start:
    """What a model is to go on with: the prompts of a batch; of texts without, the first tokens.

    Of these there are `most`, or one less than the shortest text has.
    """
    tokens = model.preprocess(batch, batch["idx"].device)
    ids, mask = tokens["input_ids"], tokens.get("attention_mask")
    if answers_in(batch):
        length = prompt_tokens(model.preprocess, batch).to(ids.device).clamp_min(1)
    else:
        shortest = ids.shape[1] if mask is None else int(mask.sum(1).min())
        length = torch.full_like(ids[:, 0], max(1, min(most, shortest - 1)))
    return Start(ids[:, : int(length.max())], length)


@torch.no_grad()
def go_on(
    model: Any,
    start: Start,
    new: int,
    rng: torch.Generator,
    *,
    temperature: float = 1.0,
    other: Callable[[], Says] | None = None,
    share: float = 0.0,
) -> Written:
    """Let a BoundModel go on with B texts by up to `new` tokens, drawn from what it says.

    All are read together from the end of the shortest beginning on; what is left of a longer one
    is taken from there and not drawn, so nothing needs padding. A text is over at the token that
    ends texts; the longest the model reads is never passed.

    other, share: draw from share * p + (1 - share) * q, p of another model with the same words
    (a Predictor's `speaker`, or a Speaker made anew). The model is in eval mode meanwhile. rng: on
    the CPU; the draw is the same on every device but for the rounding of the probabilities.
    """
    was_training = model.training
    model.eval()
    says, mixed = Speaker(model), other() if other is not None else None
    end = model.preprocess.end
    last, longest = start.length + new, start.tokens.shape[1]
    tokens = start.tokens[:, : int(start.length.min())]
    mask = torch.ones_like(tokens)
    open_ = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
    with whole():  # one process may write longer than another
        for place in range(tokens.shape[1], min(int(last.max()), model.preprocess.max_length)):
            open_ = open_ & (last > place)
            if not open_.any():
                break
            p = (says(tokens).float() / temperature).softmax(1)
            if mixed is not None:
                theirs = (mixed(tokens).float() / temperature).softmax(1)
                p = share * theirs + (1 - share) * p
            drawn = torch.multinomial(p.cpu(), 1, generator=rng)[:, 0].to(tokens.device)
            drawn = torch.where(open_, drawn, 0 if end is None else end)
            given = start.length > place
            if place < longest:
                drawn = torch.where(given, start.tokens[:, place], drawn)
            tokens = torch.cat([tokens, drawn[:, None]], 1)
            mask = torch.cat([mask, open_[:, None].long()], 1)
            if end is not None:
                open_ = open_ & (given | (drawn != end))
    model.train(was_training)
    return Written(tokens, mask, start.length)
