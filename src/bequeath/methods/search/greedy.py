"""Follow the cheap scores: rank by their sum and ask down the list.

    S(A) = sum_m w_m M_m(A),     M_m: s_m times the score, in [0, 1] over the pool

s_m is the user's word on which way a score is better (`lower:` of the pool). A score that is not
finite is the worst. The weights are equal
unless told otherwise; `weights: {synflow: 1}` is the top of a single score, the usual way to use
it. The T highest are asked about, and the best of them is the result.

It learns nothing from the answers. That is its strength where all scores point the right way:
their plain mean is hard to beat then, as Abdelfattah et al. (ICLR 2021, arXiv 2101.08134) find for
votes of zero-cost proxies. It is its ruin where one points the wrong way. `signs: ignored` shows
that: every score is taken to be better high.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bequeath.methods.contract import Identity, MethodConfig, Outcome, method
from bequeath.methods.search import NEEDS, Found

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MethodConfig):
    weights: dict[str, float] | None = Field(
        None,
        description="score -> weight, 0 for those not named (default: all the same)",
        json_schema_extra={"source": "ours"},
    )
    signs: Literal["known", "ignored"] = Field(
        "known",
        description="ignored: take every score to be better high, whatever the pool says",
        json_schema_extra={"source": "ours"},
    )


@method(
    want="search",
    paper="Abdelfattah et al., ICLR 2021, arXiv 2101.08134 (the use of zero-cost proxies)",
    needs=NEEDS,
    identity=(
        Identity(
            "without weights all candidates tie, and their order is that of `random_search`",
            "random_search",
            config={"weights": {}},
        ),
    ),
)
def greedy(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Asks down the ranking by the mean of the cheap scores, or by one of them."""
    import numpy as np

    from bequeath.blocks.pool import name_noise, ranked, scaled, weighted_sum

    oracle = given.protocol
    pool = oracle.pool
    signs = pool.signs if cfg.signs == "known" else np.ones(len(pool.names))
    metrics, kept = scaled(pool.metrics * signs)  # what has no value is the worst, either way
    names = [pool.names[m] for m in kept]
    weights = np.ones(len(kept))
    if cfg.weights is not None:
        weights = np.array([cfg.weights.get(name, 0.0) for name in names])
    scores = weighted_sum(metrics, weights)
    oracle.query_until_spent(ranked(scores, name_noise(pool.ids, ctx.rng("ties"))))
    named = dict(zip(names, map(float, weights * signs[kept])))
    return Outcome(answer=Found(oracle.best, oracle.asked, named, explored=0))
