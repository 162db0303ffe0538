"""Weighted average of models.

    out = sum_i w_i x_i / sum_i w_i          (normalize)
    out = sum_i w_i x_i                      (not)

Wortsman et al., "Model soups", 2022, arXiv 2203.05482 (the uniform soup has equal weights).

The average is computed as x_p - sum_i (w_i / W) (x_p - x_i), with p the model of the largest
weight: the average of equal models is then the model, to the last bit, and a model of weight 1
beside others of weight 0 is itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bequeath.weights.rule import Part, Rule, each_model, per_model, shared

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Settings:
    weight: tuple[float, ...] = each_model(
        1.0, "w_i, how much of the model", source="Model soups, the uniform soup"
    )
    normalize: bool = shared(
        True,
        "divide by the sum of the weights",
        source="Model soups (an average); mergekit's default too",
    )


def combine(part: Part, settings: Settings, measured: None = None) -> Tensor:
    weights = per_model(settings.weight, len(part.tensors))
    if not settings.normalize:
        out = part.tensors[0] * weights[0]
        for x, w in zip(part.tensors[1:], weights[1:], strict=True):
            out.add_(x, alpha=w)
        return out
    total = sum(weights)
    pivot = max(range(len(weights)), key=lambda i: weights[i] / total)
    x_p = part.tensors[pivot]
    away = x_p.new_zeros(part.size)
    for i, x in enumerate(part.tensors):
        if i != pivot and weights[i] != 0:
            away.add_(x_p - x, alpha=weights[i] / total)
    return x_p - away


RULE = Rule(
    name="linear",
    title="Weighted average of models",
    paper="Wortsman et al. 2022, arXiv 2203.05482",
    Settings=Settings,
    combine=combine,
)


def linear(tensors: Sequence[Tensor], settings: Settings | None = None) -> Tensor:
    """The average of tensors of one shape, in their first's type."""
    from bequeath.weights.memory import merge_tensors

    return merge_tensors(RULE, tensors, settings or Settings())
