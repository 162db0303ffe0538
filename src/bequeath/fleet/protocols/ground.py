"""How embeddings of a graph are judged: filtered realistic ranks of the test triples.

All entities are candidates, those that train, valid or test know to be right answers too are left
out, ties count half. A test triple asks for its tail and for its head; its term in a paired test is
the mean over both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bequeath.blocks.negatives import TrueTriples
from bequeath.blocks.text_encoder import encoder_folder
from bequeath.evidence.record import SHARE, Metric, Model, Table
from bequeath.fleet.gates import Opened
from bequeath.fleet.measured import Measured
from bequeath.given.bound import hash_tensors
from bequeath.given.graphs import Graph
from bequeath.job.job import Arm
from bequeath.kernel.errors import Problem, RunError
from bequeath.methods.catalog import family_of
from bequeath.methods.contract import Outcome
from bequeath.metrics.ranking import SIDES, Ranks, adjusted, exact_ranks, hits, reciprocal
from bequeath.train.context import Context

ROLE = "kg"
_LABELS = {
    "mrr": "MRR",
    "hits_at_1": "Hits@1",
    "hits_at_3": "Hits@3",
    "hits_at_10": "Hits@10",
    "adjusted_mean_rank_index": "adjusted mean rank index",
    "false_negative_rate": "negatives that are true",
    "fallback_share": "negatives not from their pool",
}
_LOOKED_AT = 1024  # train triples whose negatives are held against valid and test
_RELATIONS = 50  # rows of the table by relation


def problems(opened: Opened) -> list[Problem]:
    """G480 no texts, G481 and G482 clusters that cannot be, T671 no encoder."""
    graph = opened.graphs.get(ROLE)
    found: dict[str, Problem] = {}
    for arm in opened.job.arms:
        cfg: Any = arm.config
        if graph is None or getattr(cfg, "neighbourhood", "hops") == "hops":
            continue
        if not any(graph.texts):
            found["G480"] = Problem(
                "G480",
                f"the entities of `graphs.{ROLE}` have no text, and `{arm.label}` chooses by it",
                at=("graphs", ROLE),
                remedies=(
                    "give a file of texts: `text: FILE`, lines of entity, tab, text",
                    "take the entities' names, if they say something: `text: names`",
                ),
            )
        if cfg.clusters > graph.n_entities:
            found[f"G481 {arm.label}"] = Problem(
                "G481",
                f"`{arm.label}` asks for {cfg.clusters} clusters of {graph.n_entities} entities",
                at=arm.at,
                remedies=("lower `clusters`",),
            )
        if cfg.nearest > cfg.clusters:
            found[f"G482 {arm.label}"] = Problem(
                "G482",
                f"`{arm.label}` takes the {cfg.nearest} nearest of {cfg.clusters} clusters",
                at=arm.at,
                remedies=("lower `nearest` or raise `clusters`",),
            )
        if cfg.encoder != "tfidf":
            try:
                encoder_folder(cfg.encoder)
            except RunError as error:
                found[f"T671 {cfg.encoder}"] = replace(error.problem, at=arm.at)
    return list(found.values())


class Run:
    """One embedding of the graph."""

    def __init__(self, opened: Opened, arm: Arm, seed: int):
        self.opened, self.seed = opened, seed
        self.offer = opened.job.protocol

    def measure(self, outcome: Outcome, ctx: Context) -> Measured:
        graph, model = self.opened.graphs[ROLE], outcome.answer.model.eval()
        known = torch.cat([graph.train, graph.valid, graph.test])
        try:
            rough, exact = model.rough_answers, model.exact_answers
            ranks = exact_ranks(rough, exact, graph.test, known, graph.n_entities)
        except ValueError as error:  # a score is NaN or infinite
            problem = Problem("T673", f"the embeddings cannot rank: {error}")
            raise RunError(problem) from error
        terms = terms_of(ranks)
        asked = self.opened.job.evaluate.metrics
        return Measured(
            metrics=_metrics(asked, terms, outcome.answer, graph, self.seed),
            idx=torch.arange(len(graph.test)),
            terms={name: terms[name] for name in asked if name in terms},
            model=_model(model, graph),
            tables={"sides": _by_side(ranks), "relations": _by_relation(ranks, graph)},
            notes={
                "mean_rank": float(ranks.realistic.mean()),
                **{f"graph: {kind}": count for kind, count in graph.notes.items()},
            },
        )


def _metrics(
    asked: tuple[str, ...], terms: dict[str, Tensor], answer: Any, graph: Graph, seed: int
) -> dict[str, Metric]:
    directions, found = family_of("ground").metrics, {}
    counted = answer.sampler.notes()  # before any draw of ours
    for name in asked:
        ranked = name in terms
        if ranked:
            value, n = float(terms[name].mean()), len(graph.test)
        elif name == "fallback_share":
            value, n = counted["fallback_share"], counted["negatives_drawn"]
        else:
            value, n = false_negatives(answer, graph, seed)
        found[name] = Metric(
            value=value,
            direction=directions[name],
            n=n,
            counts="test triples" if ranked else "negatives",
            unit=None if name == "adjusted_mean_rank_index" else SHARE,
            label=_LABELS[name],
            terms=ranked,
        )
    return found


def terms_of(ranks: Ranks) -> dict[str, Tensor]:
    """metric -> float64 [T]: of each test triple, the mean over its two questions."""
    realistic = ranks.realistic
    each = {
        "mrr": reciprocal(realistic),
        "hits_at_1": hits(realistic, 1),
        "hits_at_3": hits(realistic, 3),
        "hits_at_10": hits(realistic, 10),
        "adjusted_mean_rank_index": adjusted(realistic, ranks.candidates),
    }
    return {name: both.mean(0) for name, both in each.items()}


def false_negatives(answer: Any, graph: Graph, seed: int) -> tuple[float, int]:
    """(share of drawn negatives that valid or test hold to be true, how many were drawn).

    The method cannot know them; a sampler of likely entities draws more of them.
    """
    device = answer.sampler.drawn.device
    hidden = torch.cat([graph.valid, graph.test]).to(device)
    true = TrueTriples(hidden, graph.n_entities, graph.n_relations)
    generator = torch.Generator(device=device).manual_seed(seed)
    order = torch.randperm(len(graph.train), generator=torch.Generator().manual_seed(seed))
    some = graph.train[order[:_LOOKED_AT]].to(device)
    hit = drawn = 0
    for tail in (True, False):
        entity, _, valid = answer.sampler.draw(some, tail, answer.negatives, generator)
        kept = some[:, :1] if tail else some[:, 2:]
        ends = (kept, some[:, 1:2], entity)
        wrong = true(*ends) if tail else true(*reversed(ends))
        counted = torch.ones_like(wrong) if valid is None else valid
        hit += int((wrong & counted).sum())
        drawn += int(counted.sum())
    return hit / max(1, drawn), drawn


def _model(model: Any, graph: Graph) -> Model:
    parameters = sum(p.numel() for p in model.module.parameters())
    name = type(model.module).__name__
    return Model(
        architecture=f"{name}, {graph.n_entities} x {model.dim}",
        parameters=parameters,
        bytes=sum(p.numel() * p.element_size() for p in model.module.parameters()),
        hash=hash_tensors(model.module),
    )


def _by_side(ranks: Ranks) -> Table:
    rows: list[list[float | str | None]] = []
    for row in ranks.realistic:
        rows.append([float(reciprocal(row).mean()), float(hits(row, 10).mean())])
    return Table(
        columns=["MRR", "Hits@10"],
        rows=rows,
        row_names=[f"asked for the {side}" for side in SIDES],
        kind="matrix",
        title="By what is asked for",
        unit=SHARE,
        direction="higher",
    )


def _by_relation(ranks: Ranks, graph: Graph) -> Table:
    counts = torch.bincount(graph.test[:, 1], minlength=graph.n_relations)
    most = counts.argsort(descending=True, stable=True)[:_RELATIONS]
    best = reciprocal(ranks.realistic)
    rows: list[list[float | str | None]] = []
    names = []
    for relation in most[counts[most] > 0].tolist():
        inside = graph.test[:, 1] == relation
        tails, heads = (float(side[inside].mean()) for side in best)
        rows.append([int(counts[relation]), tails, heads])
        names.append(graph.relations[relation][:200])
    return Table(
        columns=["test triples", "MRR of tails", "MRR of heads"],
        rows=rows,
        row_names=names,
        title="By relation",
        note=f"The {len(rows)} relations with most test triples.",
    )
