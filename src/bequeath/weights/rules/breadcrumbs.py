"""Drop the largest and the smallest elements of the task vectors, and sum what is left.

    out = base + lambda sum_i w_i m_i (x_i - base)

with m_i = 1 for the int(density n) elements of a tensor that are largest but for the int(gamma n)
very largest. `breadcrumbs_ties` sums only elements that agree with the elected sign.

Davari and Belilovsky, "Model Breadcrumbs", ECCV 2024, arXiv 2312.06795. The paper's beta and gamma
are the borders as percentiles; in its words beta = 1 - density - gamma, and its gamma is 1 minus
the one here. The names and meaning here are mergekit's. Where gamma would leave fewer than the
density asks for, fewer of the largest are dropped, as in mergekit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bequeath.weights import delta
from bequeath.weights.rule import Rule, Whole, each_model, per_model, shared

if TYPE_CHECKING:
    from torch import Tensor

PAPER = "Davari and Belilovsky 2024, arXiv 2312.06795"


@dataclass(frozen=True)
class Settings:
    weight: tuple[float, ...] = each_model(
        1.0, "w_i, how much of the task vector", source="the paper has one factor for all"
    )
    density: tuple[float, ...] = each_model(
        0.1,
        "share of the elements that stays",
        low=0.0,
        high=1.0,
        source="about the sparsity of the paper (unverified); mergekit keeps all unless told",
    )
    gamma: tuple[float, ...] = each_model(
        0.01,
        "share of the very largest elements that goes",
        low=0.0,
        high=1.0,
        source="mergekit",
    )
    lambda_: float = shared(
        1.0, "factor of the sum; the paper's alpha, about 0.3 for eight tasks", source="mergekit"
    )
    normalize: bool = shared(
        False, "divide by the weights that take part", source="the paper sums; mergekit too"
    )
    rescale: str = shared(
        "none",
        "make up for what was dropped: by 1 / density or to the same L1 norm",
        choices=delta.RESCALE,
        source="the paper has none",
    )


@dataclass(frozen=True)
class TiesSettings(Settings):
    elect: str = shared(
        "mass", "what the majority is counted in", choices=delta.ELECT, source="TIES-Merging"
    )


def measure(whole: Whole, settings: Settings) -> delta.Thinned:
    n = whole.models
    density = per_model(settings.density, n)
    bands = delta.by_magnitude(whole, density, per_model(settings.gamma, n))
    return delta.thinned(whole, bands, density, settings.rescale)


RULE = Rule(
    name="breadcrumbs",
    title="Task vectors without their largest and smallest elements, summed",
    paper=PAPER,
    Settings=Settings,
    combine=delta.combine,
    measure=measure,
    base="delta",
)
RULE_TIES = Rule(
    name="breadcrumbs_ties",
    title="The same, summed where the signs agree",
    paper=PAPER,
    Settings=TiesSettings,
    combine=delta.combine_elected,
    measure=measure,
    base="delta",
)


def breadcrumbs(
    tensors: Sequence[Tensor], base: Tensor, settings: Settings | None = None
) -> Tensor:
    """Of tensors of the base's shape, in its type. `TiesSettings` elect signs."""
    from bequeath.weights.memory import merge_tensors

    settings = settings or Settings()
    rule = RULE_TIES if isinstance(settings, TiesSettings) else RULE
    return merge_tensors(rule, tensors, settings, base=base)
