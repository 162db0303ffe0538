"""What the methods that differ only in their negatives share: the settings and the training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from bequeath.methods.contract import MethodConfig, Outcome
from bequeath.methods.ground import Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from bequeath.blocks.link_model import LinkModel
    from bequeath.blocks.negatives import NegativeSampler
    from bequeath.given.graphs import GraphView
    from bequeath.train.context import Context


class Sampling(MethodConfig):
    """How negatives are weighed and which side is replaced."""

    adversarial: float = Field(
        0.5,
        ge=0,
        le=100,
        description="alpha: the likelier a negative seems, the more it counts; 0 counts all alike",
        json_schema_extra={
            "source": "readme command of the authors' code, RotatE on WN18RR",
            "search": ["linear", 0.0, 2.0],
        },
    )
    corrupt: Literal["alternate", "bernoulli"] = Field(
        "alternate",
        description="which side is replaced: tails and heads in turn, batch by batch, or for each "
        "triple by chance, rather the side with fewer right answers (Wang et al. 2014)",
        json_schema_extra={"source": "the code of RotatE"},
    )


@dataclass(frozen=True)
class Embedded:
    """The trained model, and the sampler it was trained with, whose draws the protocol looks at."""

    model: LinkModel
    sampler: NegativeSampler
    negatives: int


def embed(
    ctx: Context,
    graph: GraphView,
    settings: Protocol,
    cfg: Sampling,
    sampler: NegativeSampler,
    notes: dict[str, Any],
) -> Outcome:
    """Train a fresh model on the graph's train triples against what `sampler` draws."""
    import torch

    from bequeath.blocks.link_model import link_model
    from bequeath.blocks.negatives import head_share
    from bequeath.blocks.triples import Triples
    from bequeath.losses.self_adversarial import self_adversarial, subsampling
    from bequeath.train.terms import Term

    n, r = graph.n_entities, graph.n_relations
    model = link_model(settings.model, settings.dim, settings.margin, n, r, ctx.rng("embeddings"))
    weight = torch.ones(len(graph.train))
    if settings.subsampling:
        weight = subsampling(graph.train, r)
    heads_first = head_share(graph.train, r).to(ctx.device) if cfg.corrupt == "bernoulli" else None

    def step(batch: dict[str, Any]) -> dict[str, Term]:
        triples, u = batch["triple"], batch["weight"]
        counters = (ctx.now.step, int(batch["idx"][0]))
        generator = ctx.rng("negatives", *counters, device=ctx.device)
        if settings.model == "rotate":
            model.constrain()
        true, false = [], []
        for tail, rows in _sides(ctx.now.step, triples, heads_first, generator):
            some = triples if rows is None else triples[rows]
            kept, replaced = (some[:, 0], some[:, 2]) if tail else (some[:, 2], some[:, 0])
            questions = model.questions(kept, some[:, 1], tail)
            entity, _, valid = sampler.draw(some, tail, settings.negatives, generator)
            scores = model.answers(questions, torch.cat([replaced[:, None], entity], 1))
            losses = self_adversarial(scores[:, 0], scores[:, 1:], cfg.adversarial, valid)
            share = u if rows is None else u[rows]
            true.append((share * losses[0]).sum())
            false.append((share * losses[1]).sum())
        count = u.sum()
        terms = {
            "true": Term(sum(true[1:], true[0]), count, 0.5, "weights"),
            "false": Term(sum(false[1:], false[0]), count, 0.5, "weights"),
        }
        if settings.l3:
            terms["l3"] = Term(model.cubes(), 1.0, settings.l3, "steps")
        return terms

    data = Triples(graph.train, weight, graph.hash)
    ctx.fit({"model": model, "sampler": sampler}, data, step)
    if settings.model == "rotate":
        model.constrain()
    folder = ctx.store / "embeddings"
    model.save(folder, graph.entities, graph.relations)
    answer = Embedded(model, sampler, settings.negatives)
    return Outcome(answer=answer, folder=folder, notes={**notes, **sampler.notes()})


def _sides(
    step: int, triples: Tensor, heads_first: Tensor | None, generator: Any
) -> Iterator[tuple[bool, Tensor | None]]:
    """(whether tails are replaced, of which rows; None: of all)."""
    import torch

    if heads_first is None:
        yield step % 2 == 0, None
        return
    chance = torch.rand(len(triples), generator=generator, device=triples.device)
    head = chance < heads_first[triples[:, 1]]
    for tail in (True, False):
        rows = (head != tail).nonzero().flatten()
        if len(rows):
            yield tail, rows
