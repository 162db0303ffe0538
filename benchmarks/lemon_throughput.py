"""Training on a graph by bequeath and by plain PyKEEN with its own sampler, in alternation.

    python benchmarks/lemon_throughput.py [--rounds 5] [--threads 1] [--json FILE]

A graph of the size of WN18RR (40,559 entities, 11 relations) with random triples, an epoch of them
at a time; the same model, batch, number of negatives, optimizer (Adam, fused) and kind of loss
(self-adversarial). PyKEEN samples uniformly and does not look whether a negative is a known triple;
bequeath draws from pools (15 clusters, the 3 nearest) or from all entities and refuses known
triples. Times are of training alone: PyKEEN's `train`, bequeath's `fit` with its log and its last
checkpoint. Ratios are medians over the rounds, each round in turn.

    lemon, uniform     triples a second / those of PyKEEN         >= 0.9 for every model

The limit is the bytes a triple moves at the least over the bandwidth (`moved`).

Exit code 1 when a ratio is below.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _measure import alternate, facts, limits, ratio

from bequeath.blocks.negatives import NegativeSampler
from bequeath.blocks.neighbourhoods import Pools, clustered, everyone, nearest_clusters
from bequeath.given.graphs import Graph, GraphView
from bequeath.methods.ground import Protocol
from bequeath.methods.ground._embed import embed
from bequeath.methods.ground.lemon import Config
from bequeath.train.config import Train
from bequeath.train.context import Context

ENTITIES, RELATIONS, LIMIT = 40_559, 11, 0.9
MODELS = {"transe": "TransE", "rotate": "RotatE", "distmult": "DistMult", "complex": "ComplEx"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--negatives", type=int, default=50)
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    logging.disable(logging.WARNING)
    graph = random_graph(given.steps * given.batch)
    pools = {"uniform": everyone(ENTITIES), "lemon": random_pools()}
    found: dict[str, Any] = {}
    for model in given.models.split(","):
        found[model] = compare(model, graph, pools, given)
        print(model, json.dumps(found[model]), flush=True)
    result = {
        "graph": [ENTITIES, RELATIONS, len(graph.train)],
        **{key: getattr(given, key) for key in ("rounds", "threads", "batch", "negatives", "dim")},
        "facts": facts(("torch", "pykeen")),
        "limits": limits(given.threads),
        "models": found,
    }
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    ratios = [found[model][f"{arm}_ratio"] for model in found for arm in pools]
    return 0 if min(ratios) >= LIMIT else 1


def compare(model: str, graph: Graph, pools: dict[str, Pools], given: Any) -> dict[str, Any]:
    """Triples a second of each arm, and the ratios to PyKEEN's."""
    arms = {"pykeen": lambda: by_pykeen(model, graph, given)}
    for arm, pool in pools.items():
        arms[arm] = partial(by_bequeath, model, graph, pool, given)
    alternate(1, arms)  # warms up
    seconds = alternate(given.rounds, arms)
    n = len(graph.train)
    result: dict[str, Any] = {a: round(n / statistics.median(s), 1) for a, s in seconds.items()}
    for arm in pools:
        one = ratio(seconds, "pykeen", arm)
        result |= {f"{arm}_ratio": round(one["ratio"], 3)}
        result |= {f"{arm}_low": round(one["low"], 3), f"{arm}_high": round(one["high"], 3)}
    result["bytes_a_triple"] = moved(model, given)
    return result


def moved(model: str, given: Any) -> float:
    """Bytes of memory that a triple's training reads or writes at the least.

    The rows of the question, the answer and the negatives, read, and their gradients, written; and
    for each step Adam over all weights: weight, two moments and gradient read, the first three
    written, and the gradient filled with zeros before.
    """
    width = 4 * given.dim * (2 if model in ("rotate", "complex") else 1)
    rows = 2 * (given.negatives + 3) * width
    return rows + 8 * (ENTITIES + RELATIONS) * width / given.batch


def by_bequeath(model: str, graph: Graph, pools: Pools, given: Any) -> float:
    sampler = NegativeSampler(pools, graph.train, ENTITIES, RELATIONS)
    settings = Protocol(model=model, dim=given.dim, negatives=given.negatives)
    train = Train.model_validate(
        {
            "epochs": 1,
            "batch_size": given.batch,
            "threads": given.threads,
            "device": "cpu",
            "optimizer": {"name": "adam", "lr": 1e-3, "weight_decay": 0.0},
            "schedule": {"name": "constant", "warmup": 0.0},
        }
    )
    with tempfile.TemporaryDirectory() as store:
        ctx = Context(0, train, Path(store), show=False)
        embed(ctx, GraphView("kg", graph), settings, Config(), sampler, {})
        return ctx.fits["fit"].seconds


def by_pykeen(model: str, graph: Graph, given: Any) -> float:
    from pykeen import models
    from pykeen.losses import NSSALoss
    from pykeen.training import SLCWATrainingLoop
    from pykeen.triples import CoreTriplesFactory

    triples = CoreTriplesFactory(graph.train, num_entities=ENTITIES, num_relations=RELATIONS)
    loss = NSSALoss(margin=6.0, adversarial_temperature=0.5)
    # the same parameters trained: no penalty, no entities held at length 1
    more: dict[str, Any] = {
        "transe": {"scoring_fct_norm": 1, "entity_constrainer": None},
        "rotate": {},
        "distmult": {"entity_constrainer": None, "regularizer": None},
        "complex": {"regularizer": None},
    }[model]
    made = getattr(models, MODELS[model])(
        triples_factory=triples, embedding_dim=given.dim, loss=loss, random_seed=0, **more
    )
    loop = SLCWATrainingLoop(
        model=made,
        triples_factory=triples,
        optimizer=torch.optim.Adam(made.parameters(), lr=1e-3, fused=True),
        negative_sampler="basic",
        negative_sampler_kwargs={"num_negs_per_pos": given.negatives},
    )
    began = time.perf_counter()
    loop.train(triples, num_epochs=1, batch_size=given.batch, use_tqdm=False)
    return time.perf_counter() - began


def random_graph(n: int) -> Graph:
    high = torch.tensor([ENTITIES, RELATIONS, ENTITIES])
    drawn = torch.rand(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    train = (drawn * high).long()
    entities = tuple(f"e{i}" for i in range(ENTITIES))
    relations = tuple(f"r{i}" for i in range(RELATIONS))
    none = train[:0]
    return Graph(entities, relations, train, none, none, (None,) * ENTITIES, "random")


def random_pools() -> Pools:
    points = torch.randn(ENTITIES, 2, generator=torch.Generator().manual_seed(0)).numpy()
    return nearest_clusters(points, *clustered(points, 15), 3)


if __name__ == "__main__":
    raise SystemExit(main())
