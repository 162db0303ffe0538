"""LEMON: negatives from the neighbourhood of an entity in a language model's eyes.

What nearly fits teaches more than what plainly does not. Each entity has a text; a frozen sentence
encoder gives its vector, and entities with like texts are near:

    E = encoder(texts);  Z = PCA_p(E);  K-means on Z -> centres m_k
    pool(e) = the members of the q clusters whose centres are nearest to Z_e (Euclidean)

For a true triple (h, r, t) whose tail is replaced, candidates are drawn from pool(h), the pool of
the entity that is *kept* (`anchor: replaced` takes pool(t), another method: its negatives look like
the right answer, those of `kept` like the question). Candidates that make a training triple are
drawn again; truths of valid and test may be drawn, as nobody knows them. When a pool has nothing
left, all entities are drawn from, and the share of such draws is in the record: `fallback_share`.
The loss is that of `uniform`.

"LEMON: LanguagE ModeL for Negative Sampling of Knowledge Graph Embeddings", 2022, arXiv 2203.04703.

Controls: `neighbourhood: shuffled` has pools of exactly the same sizes with members by chance, so
what remains of a gain is meaning; `neighbourhood: hops` has the entities within a few steps in the
graph (SANS, Ahrabian et al. 2020, arXiv 2009.11355). Compare with both and with `uniform`: a
smaller pool alone makes harder negatives.

Use it with few negatives for each triple and texts that say what kind of thing an entity is. The
published gains over uniform sampling have not been checked here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from bequeath.given.access import Needs
from bequeath.kernel.files import digest
from bequeath.methods.contract import Identity, Outcome, method
from bequeath.methods.ground._embed import Sampling

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context

SCRIPT = "readme command of the authors' code, WN18RR"


class Config(Sampling):
    encoder: str = Field(
        "minilm",
        min_length=1,
        description="what reads the texts: minilm (all-MiniLM-L6-v2), tfidf (no weights needed), "
        "or the folder of a sentence-transformers model",
        json_schema_extra={"source": "ours; the authors use distilbert-base-nli-mean-tokens"},
    )
    dimensions: int = Field(
        2,
        ge=1,
        le=4096,
        description="p, to which PCA reduces the text vectors",
        json_schema_extra={"source": "the authors' code", "search": ["log", 2, 64]},
    )
    clusters: int = Field(
        15,
        ge=1,
        le=100_000,
        description="K of K-means",
        json_schema_extra={"source": SCRIPT, "search": ["log", 5, 200]},
    )
    nearest: int = Field(
        3,
        ge=1,
        le=100_000,
        description="q, clusters in a pool; with all of them it is uniform sampling",
        json_schema_extra={"source": SCRIPT, "search": ["linear", 1, 5]},
    )
    anchor: Literal["kept", "replaced"] = Field(
        "kept",
        description="whose pool it is: of the entity that stays, or of the one that goes",
        json_schema_extra={"source": "the authors' code; `replaced` is another reading"},
    )
    cosine: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="rho: only candidates whose cosine with the anchor in the reduced space is at "
        "least this (the authors' value, where they use it, is 0.5)",
        json_schema_extra={"source": "off in the authors' code"},
    )
    neighbourhood: Literal["text", "shuffled", "hops"] = Field(
        "text",
        description="where pools come from: texts; texts, with members exchanged at random "
        "(control); or steps in the graph (SANS)",
        json_schema_extra={"source": "the paper"},
    )
    hops: int = Field(
        2,
        ge=1,
        le=8,
        description="`neighbourhood: hops`: how many steps",
        json_schema_extra={"source": "unverified"},
    )


@method(
    want="ground",
    paper="LEMON 2022, arXiv 2203.04703",
    needs=Needs(graphs=("kg",)),
    identity=(
        Identity(
            "with one cluster the pool is everyone, so it is uniform sampling",
            "uniform",
            config={"clusters": 1, "nearest": 1, "encoder": "tfidf"},
        ),
        Identity(
            "a union of all clusters is everyone too",
            "uniform",
            config={"clusters": 3, "nearest": 3, "encoder": "tfidf", "anchor": "replaced"},
        ),
    ),
)
def lemon(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Embeddings learnt against entities whose texts are alike."""
    from bequeath.blocks.negatives import NegativeSampler, cosine_at_least
    from bequeath.methods.ground._embed import embed

    graph = given.graph("kg")
    n, train = graph.n_entities, graph.train.to(ctx.device)
    pools, points = neighbourhoods(ctx, graph, cfg)
    accept = None
    if cfg.cosine is not None and points is not None:
        accept = cosine_at_least(points.to(ctx.device), cfg.cosine)
    sampler = NegativeSampler(
        pools.to(ctx.device), train, n, graph.n_relations, anchor=cfg.anchor, accept=accept
    )
    sizes = pools.sizes.double()
    notes: dict[str, Any] = {"pools": len(pools), "pool_share": float(sizes.mean()) / n}
    if points is not None:  # an encoder is files that may change behind their name
        notes["text_space"] = digest(points.numpy().tobytes())
    return embed(ctx, graph, given.protocol, cfg, sampler, notes)


def neighbourhoods(ctx: Context, graph: Any, cfg: Config) -> tuple[Any, Any]:
    """(the pools, the entities in the reduced text space or None)."""
    import torch

    from bequeath.blocks import neighbourhoods as near
    from bequeath.blocks.text_encoder import encode

    if cfg.neighbourhood == "hops":
        return near.within_hops(graph.train, graph.n_entities, cfg.hops), None
    texts = [text or "" for text in graph.texts]
    points = near.reduced(encode(texts, cfg.encoder, device=ctx.device), cfg.dimensions)
    labels, centres = near.clustered(points, cfg.clusters)
    pools = near.nearest_clusters(points, labels, centres, cfg.nearest)
    if cfg.neighbourhood == "shuffled":
        pools = near.shuffled(pools, ctx.rng("shuffled"))
    return pools, torch.from_numpy(points).float()
