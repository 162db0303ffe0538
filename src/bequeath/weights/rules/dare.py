"""Drop elements of the task vectors at random, and scale up the rest.

    tau_i = x_i - base
    m_i   ~ Bernoulli(density)
    out   = base + lambda sum_i w_i m_i tau_i / density

Yu et al., "Language models are Super Mario", ICML 2024, arXiv 2311.03099, whose drop rate p is
1 - density. `dare_linear` sums the thinned vectors (as task arithmetic), `dare_ties` averages or
sums those that agree with the elected sign (as TIES does after trimming).

The paper scales by 1 / density, which keeps the expectation. mergekit scales to the L1 norm the
vector had before; `rescale: norm` does the same. Masks come from the seed, the tensor's name and
the position, so they do not depend on the order of the work; they are not mergekit's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bequeath.weights import delta
from bequeath.weights.rule import Rule, Whole, each_model, per_model, shared

if TYPE_CHECKING:
    from torch import Tensor

PAPER = "Yu et al. 2024, arXiv 2311.03099"


@dataclass(frozen=True)
class Settings:
    weight: tuple[float, ...] = each_model(
        1.0, "w_i, how much of the task vector", source="the paper's task arithmetic"
    )
    density: tuple[float, ...] = each_model(
        0.5,
        "share of the elements that stays, 1 - p",
        low=0.0,
        high=1.0,
        source="no source fixes it; the paper goes from 0.9 to 0.1 and below",
    )
    lambda_: float = shared(1.0, "factor of the merged task vector", source="mergekit")
    normalize: bool = shared(
        False, "divide by the weights that take part", source="the paper sums; mergekit too"
    )
    rescale: str = shared(
        "density",
        "make up for what was dropped: by 1 / density or to the same L1 norm",
        choices=delta.RESCALE,
        source="the paper; mergekit: norm",
    )


@dataclass(frozen=True)
class TiesSettings(Settings):
    elect: str = shared(
        "mass", "what the majority is counted in", choices=delta.ELECT, source="TIES-Merging"
    )


def measure(whole: Whole, settings: Settings) -> delta.Thinned:
    density = per_model(settings.density, whole.models)
    masks = delta.at_random(whole, density)
    return delta.thinned(whole, masks, density, settings.rescale)


RULE = Rule(
    name="dare_linear",
    title="Task vectors thinned at random, and summed",
    paper=PAPER,
    Settings=Settings,
    combine=delta.combine,
    measure=measure,
    base="delta",
)
RULE_TIES = Rule(
    name="dare_ties",
    title="Task vectors thinned at random, and summed where their signs agree",
    paper=PAPER,
    Settings=TiesSettings,
    combine=delta.combine_elected,
    measure=measure,
    base="delta",
)


def dare(
    tensors: Sequence[Tensor],
    base: Tensor,
    settings: Settings | None = None,
    *,
    name: str = "",
    seed: int = 0,
) -> Tensor:
    """Of tensors of the base's shape, in its type. `TiesSettings` elect signs."""
    from bequeath.weights.memory import merge_tensors

    settings = settings or Settings()
    rule = RULE_TIES if isinstance(settings, TiesSettings) else RULE
    return merge_tensors(rule, tensors, settings, base=base, name=name, seed=seed)
