"""Metrics of a language model: what it says of each next token of texts it has not seen.

    nll              mean over tokens of -log p(next token), natural logarithm
    bits_per_token   nll / ln 2
    perplexity       exp(nll)
    accuracy         share of tokens the model finds likeliest

They are means over tokens, not over texts. A text's term is its sum of tokens times (texts / all
tokens), so that the terms' mean is the metric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from bequeath.metrics.names import Direction

LANGUAGE: dict[str, Direction] = {
    "nll": "lower",
    "bits_per_token": "lower",
    "perplexity": "lower",
    "accuracy": "higher",
}


class Rows(Protocol):
    """rows[a:b] are logits [b - a, V]: a tensor, or what makes them when they are asked for."""

    def __getitem__(self, rows: Any) -> Tensor: ...


@dataclass(frozen=True)
class Spoken:
    """Of N texts: the sum of -log p, how many tokens were the likeliest, how many there are."""

    nll: Tensor
    right: Tensor
    tokens: Tensor

    @property
    def mean_nll(self) -> Tensor:
        """-log p of a token, text by text, [N]; NaN for a text without a next token."""
        return self.nll / self.tokens

    def value(self, name: str) -> float:
        """The metric; ValueError for a name that is none, or without any token."""
        total = float(self.tokens.sum())
        if name not in LANGUAGE or total == 0:
            raise ValueError(f"no `{name}` of {int(total)} tokens")
        nll = float(self.nll.sum()) / total
        if name == "accuracy":
            return float(self.right.sum()) / total
        return {"nll": nll, "bits_per_token": nll / math.log(2), "perplexity": math.exp(nll)}[name]

    def terms(self, name: str) -> Tensor | None:
        """One a text, [N], whose mean is the metric; None for perplexity, which is no mean."""
        each = {"nll": self.nll, "bits_per_token": self.nll / math.log(2), "accuracy": self.right}
        if name not in each:
            return None
        return each[name] * (len(self.tokens) / self.tokens.sum())


def spoken(said: Rows, y: Tensor, sample: Tensor, n: int, chunk: int | None = None) -> Spoken:
    """Of a batch's rows: logits [M, V], the right tokens [M], which of its n texts they are in.

    chunk: rows that are looked at together; None: all.
    """
    found = torch.zeros(3, n, dtype=torch.float64, device=y.device)
    for a in range(0, len(y), chunk or max(1, len(y))):
        rows = slice(a, a + chunk if chunk else None)
        log_p = said[rows].double().log_softmax(1)
        nll = F.nll_loss(log_p, y[rows], reduction="none")
        right = (log_p.argmax(1) == y[rows]).double()
        found.index_add_(1, sample[rows], torch.stack([nll, right, torch.ones_like(nll)]))
    return Spoken(*found)


def joined(parts: list[Spoken]) -> Spoken:
    """Those of several batches, in order."""
    return Spoken(*(torch.cat([getattr(p, f).cpu() for p in parts]) for f in Spoken.__match_args__))
