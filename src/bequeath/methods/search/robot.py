"""RoBoT: learn how to weigh the cheap scores from the answers, then follow them.

No single score is good everywhere, and nobody knows beforehand which is, or even which way a score
is better. RoBoT ranks by a weighted sum of all of them and treats the weights as what is searched.
With M_m the scores, each brought to [0, 1] over the pool, and f the expensive objective,

    S_w(A) = sum_m w_m M_m(A),  w in [-1, 1]^M;     g(w) = f(argmax_A S_w(A))

Exploration: T steps of Bayesian optimisation of g (Matern 5/2, upper confidence bound). Many w
have the same winner A, which is paid for once, so only T0 <= T candidates are asked about.
Exploitation: the remaining T - T0 answers go to the highest of the ranking by the best w, the
latest of those that are equally good. The best candidate asked about is the result.

He, Shu, Dai, Low, "Robustifying and Boosting Training-Free Neural Architecture Search", ICLR 2024,
arXiv 2403.07591; defaults from the authors' code. A score that is not finite counts 0 (the
worst only as long as its weight is positive), one that is the same for all candidates is left out.
Ties are broken at random, the same for every w.

Use it when the scores may be of mixed quality or of unknown sign. Where all of them are known to
point the right way, `greedy`, their plain mean, may well be as good or better: it is run beside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bequeath.methods.contract import Identity, MethodConfig, Outcome, method
from bequeath.methods.search import NEEDS, ROBOT, Found

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MethodConfig):
    steps: float = Field(
        1.0,
        ge=0,
        le=20,
        description="steps of Bayesian optimisation, in units of the budget; 0: no exploration, "
        "all weights are 1",
        json_schema_extra={"source": ROBOT, "search": ["linear", 0.25, 4.0]},
    )
    kappa: float = Field(
        2.576,
        ge=0,
        le=100,
        description="how many standard deviations the bound lies above the mean",
        json_schema_extra={
            "source": "bayesian-optimization 1.2, the library of the reference code",
            "search": ["log", 0.5, 8.0],
        },
    )
    exploit: bool = Field(
        True,
        description="false: exploration only, the paper's ablation; budget may be left",
        json_schema_extra={"source": "the paper"},
    )


@method(
    want="search",
    paper="He, Shu, Dai, Low, ICLR 2024, arXiv 2403.07591",
    needs=NEEDS,
    identity=(
        Identity(
            "without exploration it is `greedy`, where no score is said to be better low",
            "greedy",
            config={"steps": 0.0},
        ),
    ),
)
def robot(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Weighs the cheap scores by Bayesian optimisation, then asks down the ranking."""
    import numpy as np

    from bequeath.blocks.bayes import Ucb, next_point
    from bequeath.blocks.pool import drawn_seed, name_noise, ranked, scaled, top, weighted_sum

    oracle = given.protocol
    pool = oracle.pool
    metrics, kept = scaled(pool.metrics)
    ties = name_noise(pool.ids, ctx.rng("ties"))
    side = np.ones(len(kept))
    steps = round(cfg.steps * oracle.budget) if len(kept) else 0
    tried: list[np.ndarray] = []
    values: list[float] = []

    for step in range(steps):
        rng = np.random.default_rng(drawn_seed(ctx.rng("weights", step)))
        w = next_point(tried, values, -side, side, rng, Ucb(kappa=cfg.kappa))
        winner = top(weighted_sum(metrics, w), ties)
        if not oracle.left and not oracle.knows(winner):
            break
        tried.append(w)
        values.append(oracle.query(winner))

    explored = len(oracle.asked)
    best = max(range(len(values)), key=lambda t: (values[t], t)) if values else None
    weights = side if best is None else tried[best]
    if cfg.exploit or not values:  # without exploration there is the plain ranking
        oracle.query_until_spent(ranked(weighted_sum(metrics, weights), ties))
    named = {pool.names[m]: float(w) for m, w in zip(kept, weights)}
    return Outcome(answer=Found(oracle.best, oracle.asked, named, explored))
