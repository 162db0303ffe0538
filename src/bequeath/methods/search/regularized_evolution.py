"""Regularised evolution: a small population, the fittest of a sample breeds, the oldest dies.

    begin with P candidates drawn at random;
    draw S of the population, change the best of them a little, ask about the child,
    put it in and take the oldest out.

Dying of age rather than of bad luck is what regularises: only what proves good again and again
survives. Real, Aggarwal, Huang, Le, "Regularized Evolution for Image Classifier Architecture
Search", AAAI 2019, arXiv 1802.01548.

A little: where the pool says what a candidate is made of (`space`), one decision is changed, or as
few as lead to a candidate not yet asked about; else one of the nearest candidates by the scores is
taken. A child known already costs nothing and tells nothing, so it is not drawn.

Use it where neighbours are alike in what they are worth. With a budget below about twice the
population it is little more than random search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bequeath.methods.contract import Identity, MethodConfig, Outcome, method
from bequeath.methods.search import NEEDS, Found

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context

SOURCE = "the NAS-Bench-201 baselines (AutoDL-Projects); unverified"


class Config(MethodConfig):
    population: int = Field(
        10,
        ge=1,
        le=10_000,
        description="P, how many are alive",
        json_schema_extra={"source": SOURCE, "search": ["log", 4, 64]},
    )
    sample: int = Field(
        3,
        ge=1,
        le=10_000,
        description="S, how many are drawn, of which the best breeds",
        json_schema_extra={"source": SOURCE, "search": ["log", 1, 32]},
    )
    neighbours: int = Field(
        10,
        ge=1,
        le=10_000,
        description="without `space`: a child is one of so many nearest by the scores",
        json_schema_extra={"source": "ours"},
    )


@method(
    want="search",
    paper="Real et al., AAAI 2019, arXiv 1802.01548",
    needs=NEEDS,
    identity=(
        Identity(
            "as long as the budget is no larger than the population, it is `random_search`",
            "random_search",
            config={"population": 1000},
        ),
    ),
)
def regularized_evolution(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Breeds from the fittest of a sample and lets the oldest die."""
    from collections import deque

    import numpy as np
    import torch

    from bequeath.blocks.pool import name_noise, nearest_unknown

    oracle = given.protocol
    pool = oracle.pool
    order = np.argsort(name_noise(pool.ids, ctx.rng("ties")), kind="stable")
    oracle.query_until_spent(order[: cfg.population])
    alive = deque(oracle.asked, maxlen=cfg.population)
    step = 0
    while oracle.left:
        drawn = torch.randperm(len(alive), generator=ctx.rng("sample", step))[: cfg.sample]
        parent = max((alive[i] for i in drawn.tolist()), key=oracle.query)
        near = nearest_unknown(oracle, parent, cfg.neighbours)
        noise = name_noise([pool.ids[i] for i in near], ctx.rng("child", step))
        child = int(near[np.argmin(noise)])
        oracle.query(child)
        alive.append(child)
        step += 1
    return Outcome(answer=Found(oracle.best, oracle.asked))
