"""Uniform negatives: a false triple is a true one with an entity drawn from all.

For each true triple (h, r, t), N times, t (or h) is replaced by any entity that does not make
another training triple. The loss weighs the negatives by how true they seem at that moment,

    L = 1/2 [ - log sigma(s(h, r, t))  -  sum_i w_i log sigma(-s(neg_i)) ],  w = softmax(alpha s)

without gradient through w; `adversarial: 0` weighs all alike.

Bordes et al. 2013 (TransE); the loss is of Sun et al. 2019 (RotatE), arXiv 1902.10197.

It is what every other way to choose negatives must beat: it needs nothing but the graph, it costs
nothing, and most of its negatives are easily told from the truth. Use it alone where entities have
no text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bequeath.given.access import Needs
from bequeath.methods.contract import Identity, Outcome, method
from bequeath.methods.ground._embed import Sampling

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(Sampling):
    """Nothing besides what all samplers share."""


@method(
    want="ground",
    paper="Bordes et al. 2013; Sun et al. 2019, arXiv 1902.10197",
    needs=Needs(graphs=("kg",)),
    identity=(
        Identity("no training leaves the embeddings as drawn", "start", train={"epochs": 0}),
    ),
)
def uniform(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Embeddings learnt against entities drawn from all."""
    from bequeath.blocks.negatives import NegativeSampler
    from bequeath.blocks.neighbourhoods import everyone
    from bequeath.methods.ground._embed import embed

    graph = given.graph("kg")
    n, train = graph.n_entities, graph.train.to(ctx.device)
    sampler = NegativeSampler(everyone(n).to(ctx.device), train, n, graph.n_relations)
    return embed(ctx, graph, given.protocol, cfg, sampler, {"pool_share": 1.0})
