"""Regression on pairs: where the teacher's walk leads from each noise, learnt in one step.

The teacher walks K deterministic steps from many noises, once; then the student, which begins as
its copy, learns the map from noise to end,

    L = E || f_student(eps, T) - DDIM_K(eps) ||^2

Luhman and Luhman, "Knowledge Distillation in Iterative Generative Models for Improved Sampling
Speed", 2021, arXiv 2101.02388. No data are needed.

It is the plain alternative to `boot`, and by default it is given as many calls of the teacher:
two for each noise of the training, K of which make one pair. What the pairs cannot show is what
lies between them; one squared error per pair blurs where near noises end far apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bequeath.given.access import Access, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context

UNTRAINED = {"epochs": 0, "steps": None}


class Config(MethodConfig):
    walk: int = Field(
        20,
        ge=1,
        le=10_000,
        description="K, steps of the teacher's walk",
        json_schema_extra={"source": "fewer than the paper's 100, so that there are more pairs"},
    )
    pairs: int | None = Field(
        None,
        ge=1,
        le=10_000_000,
        description="how many pairs (default: as many calls of the teacher as `boot` makes)",
        json_schema_extra={"source": "the card: at equal calls (the paper makes a million)"},
    )


@method(
    want="generate",
    paper="Luhman and Luhman 2021, arXiv 2101.02388",
    needs=Needs(models={"teacher": ModelNeed(Access.WEIGHTS)}, answers="noise"),
    identity=(
        Identity("no training leaves the teacher, in one step", "ddim", train=UNTRAINED),
        Identity(
            "with a walk of one step a copy of the teacher is at the end already, but for the "
            "rounding of products of matrices in batches of another size",
            "start",
            config={"walk": 1, "pairs": 64},
            train={"optimizer": {"name": "sgd", "lr": 0.1, "weight_decay": 0.0}},
            within=1e-6,
        ),
    ),
)
def pairs(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Learns where the teacher's walk ends from stored pairs, without data."""
    import copy

    import torch

    from bequeath.blocks.diffusion import generator, noise
    from bequeath.train.fit import Until
    from bequeath.train.terms import mean_over

    teacher = given.model("teacher").load()
    student = generator.walking(copy.deepcopy(teacher), sampler="ddim", steps=1)
    net = generator.diffusion(student, "model")
    teacher = generator.walking(teacher, sampler="ddim", steps=cfg.walk)
    train = ctx.train
    passes = train.epochs * -(-noise.EPOCH // train.accumulate)
    steps = train.steps if train.steps is not None else passes
    calls = 2 * steps * train.accumulate * train.batch_size
    n = cfg.pairs or max(1, calls // cfg.walk)
    drawn = torch.randn(n, *net.shape, generator=ctx.rng("pairs"))
    ends = generator.draw(teacher, drawn, ctx.device)
    held = noise.Pairs(drawn.to(ctx.device), ends.to(ctx.device))

    def step(batch):
        apart = student.module(batch["noise"]) - batch["end"]
        return {"regression": mean_over(apart.square().flatten(1).mean(1))}

    ctx.fit(student, held, step, until=Until(steps=steps))
    return Outcome(models={"model": student}, notes={"teacher_calls": n * cfg.walk, "pairs": n})
