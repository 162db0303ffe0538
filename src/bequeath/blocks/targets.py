"""What a batch asks a model to predict: one class a sample, or the next token at each position.

A loss sees rows either way, so a distillation of classifiers is one of language models too:

    asked = targets(student, batch)
    z_s = asked.rows(student(batch))              # [N, K]
    losses = F.cross_entropy(z_s, asked.y, reduction="none")
    mean_over(losses, over=asked.over)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bequeath.given.facts import ModelFacts
from bequeath.given.preprocess import from_dict
from bequeath.losses.divergence import TopK
from bequeath.losses.vocabulary import Projected


@dataclass
class Targets:
    """The rows of a batch, N of them: its samples, or the tokens of its texts after the first.

    over: what a row is, "samples" or "tokens". where: bool [B, T - 1], the positions of a padded
    batch that have a next token; None for classifiers. label: gives y; not called before y is
    asked for, since a method may have no right to it.
    """

    over: str
    label: Callable[[], Tensor]
    where: Tensor | None = None

    @cached_property
    def y(self) -> Tensor:
        """The right answers, int64 [N]."""
        return self.label()

    @cached_property
    def sample(self) -> Tensor:
        """Which of the batch a row is from, int64 [N]; for language models only."""
        return self.there.nonzero()[:, 0]

    @property
    def there(self) -> Tensor:
        """`where`, for language models only."""
        assert self.where is not None, "a classifier's rows are its samples"
        return self.where

    def grid(self, values: Tensor) -> Tensor:
        """Values of the rows, [N], at their positions in the texts, [B, T - 1]; 0 elsewhere."""
        found = torch.zeros(self.there.shape, dtype=values.dtype, device=values.device)
        found[self.there] = values
        return found

    def of_grid(self, values: Tensor) -> Tensor:
        """The other way round."""
        return values[self.there]

    def rows(self, values: Tensor) -> Tensor:
        """Values at each position, [B, T, ...], to one each row [N, ...]; [B, K] stays.

        The last position, after which nothing comes, and what lies behind it are left out.
        """
        if self.where is None:
            return values
        return values[:, : self.where.shape[1]][self.where.to(values.device)]

    def next_rows(self, values: Tensor) -> Tensor:
        """Values of each token, [B, T, ...], to those of the token each row predicts, [N, ...]."""
        assert self.where is not None, "a classifier predicts no tokens"
        return values[:, 1:][self.where.to(values.device)]


def rows_of(asked: Targets, answer: Any) -> Any:
    """`asked.rows` of anything a teacher answers: logits, TopK, Projected."""
    if isinstance(answer, Projected):
        return answer.over(asked.rows)
    if isinstance(answer, TopK):
        return TopK(*(asked.rows(getattr(answer, f)) for f in TopK.__match_args__))
    return asked.rows(answer)


def characters(model: Any, texts: Sequence[str], asked: Targets) -> Tensor:
    """Of each row's token the characters of its text it stands for, from, to: int64 [N, 2], CPU.

    From and to are equal for a token that is no text (a beginning, an end).
    """
    spans = torch.zeros(*asked.there.shape, 2, dtype=torch.long)
    for row, found in enumerate(model.preprocess.spans(texts)):
        rest = found[1 : spans.shape[1] + 1]
        spans[row, : len(rest)] = torch.tensor(rest).reshape(-1, 2)
    return spans[asked.there.cpu()]


@dataclass(frozen=True)
class Reader:
    """How a model reads, without the model: enough for `targets`."""

    facts: ModelFacts
    preprocess: Any


def reader(facts: ModelFacts) -> Reader:
    """That of a model whose facts are complete, as those of a model view are."""
    return Reader(facts, from_dict(facts.preprocess or {}))


def answers_in(batch: Mapping[str, Any]) -> bool:
    """Whether the texts of a batch are answers to prompts."""
    return "prompt" in batch and "tokens" not in batch


def prompt_tokens(preprocess: Any, batch: Mapping[str, Any]) -> Tensor:
    """How many tokens of each text are its prompt's, int64 [B], CPU; all where it was cut.

    The first token that holds a character of the answer is the answer's.
    """
    found = []
    for spans, length in zip(preprocess.spans(batch["text"]), batch["prompt"], strict=True):
        first = (i for i, (_, end) in enumerate(spans) if end > length)
        found.append(next(first, len(spans)))
    return torch.tensor(found)


def targets(model: Any, batch: Mapping[str, Any], skip: int | Tensor = 0) -> Targets:
    """What `batch` asks of `model` (a BoundModel, a Predictor, a Reader: facts and a preprocess).

    skip: of a language model, how many tokens after the first of each text are not asked about,
    int64 [B] or one number for all. A batch holds `text`, with `prompt` where its texts are
    answers (which then are all that is asked about), or `tokens` that are none (what a model has
    said).
    """
    if not model.facts.per_token:
        return Targets("samples", lambda: batch["y"])
    tokens = model.preprocess(batch, batch["idx"].device)
    ids, mask = tokens["input_ids"], tokens.get("attention_mask")
    mask = torch.ones_like(ids) if mask is None else mask
    # a text starts at its first token, wherever the padding is
    where = mask[:, :-1].bool() & mask[:, 1:].bool()
    if answers_in(batch):
        skip = (prompt_tokens(model.preprocess, batch).to(ids.device) - 1).clamp_min(skip)
    place = torch.arange(where.shape[1], device=where.device)
    where &= place >= torch.as_tensor(skip, device=where.device).view(-1, 1)
    return Targets("tokens", lambda: ids[:, 1:][where], where)
