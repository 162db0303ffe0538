"""Trim task vectors, elect a sign for each element, and average those that agree.

1. trim: of each tau_i = x_i - base the share `density` of largest magnitude stays;
2. elect: each element's sign is that of sum_i w_i tau_i (`mass`), or of the number of signs
   (`count`);
3. merge: out = base + lambda mean of the w_i tau_i with that sign, weighted by w_i.

Yadav et al., "TIES-Merging", NeurIPS 2023, arXiv 2306.01708.

The paper trims a model as a whole; here, as in mergekit, each tensor by itself. Exactly
int(density n) elements of a tensor of n stay; the paper's code keeps all that equal the smallest
kept, which in half precision can be many more. Here the first by position do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bequeath.weights import delta
from bequeath.weights.rule import Rule, Whole, each_model, per_model, shared

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Settings:
    weight: tuple[float, ...] = each_model(
        1.0, "w_i, how much of the task vector", source="the paper has no weights"
    )
    density: tuple[float, ...] = each_model(
        0.2,
        "share of the elements that stays, the largest",
        low=0.0,
        high=1.0,
        source="the paper, keep the top 20 %; mergekit keeps all unless told",
    )
    lambda_: float = shared(
        1.0,
        "factor of the merged task vector",
        source="the paper, where there is no validation data",
    )
    normalize: bool = shared(
        True, "the mean of those that agree, else their sum", source="the paper's disjoint mean"
    )
    elect: str = shared(
        "mass", "what the majority is counted in", choices=delta.ELECT, source="the paper"
    )
    rescale: str = shared(
        "none",
        "make up for what was dropped: by 1 / density or to the same L1 norm",
        choices=delta.RESCALE,
        source="the paper has none",
    )


def measure(whole: Whole, settings: Settings) -> delta.Thinned:
    density = per_model(settings.density, whole.models)
    bands = delta.by_magnitude(whole, density)
    return delta.thinned(whole, bands, density, settings.rescale)


RULE = Rule(
    name="ties",
    title="Task vectors trimmed, and averaged where their signs agree",
    paper="Yadav et al. 2023, arXiv 2306.01708",
    Settings=Settings,
    combine=delta.combine_elected,
    measure=measure,
    base="delta",
)


def ties(tensors: Sequence[Tensor], base: Tensor, settings: Settings | None = None) -> Tensor:
    """Of tensors of the base's shape, in its type."""
    from bequeath.weights.memory import merge_tensors

    return merge_tensors(RULE, tensors, settings or Settings(), base=base)
