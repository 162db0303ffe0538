"""Random search: ask about so many candidates drawn at random, and keep the best.

Every search must beat it at the same number of answers. Bergstra, Bengio, "Random Search for
Hyper-Parameter Optimization", JMLR 2012; Li, Talwalkar, "Random Search and Reproducibility for
Neural Architecture Search", UAI 2019, arXiv 1902.07638, show how often a method does not.

It looks at no score, so it says what the budget alone is worth. The expected regret after T
answers depends only on how the objective is spread over the pool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bequeath.methods.contract import Identity, MethodConfig, Outcome, method
from bequeath.methods.search import NEEDS, Found

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MethodConfig):
    """It has no settings."""


@method(
    want="search",
    paper="Li, Talwalkar, UAI 2019, arXiv 1902.07638",
    needs=NEEDS,
    identity=(
        Identity(
            "as long as the budget is no larger than its population, `regularized_evolution` is it",
            "regularized_evolution",
        ),
    ),
)
def random_search(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Asks about candidates drawn at random."""
    import numpy as np

    from bequeath.blocks.pool import name_noise

    oracle = given.protocol
    order = np.argsort(name_noise(oracle.pool.ids, ctx.rng("ties")), kind="stable")
    oracle.query_until_spent(order)
    return Outcome(answer=Found(oracle.best, oracle.asked))
