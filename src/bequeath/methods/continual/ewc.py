"""Elastic weight consolidation, online: weights that old tasks need are held by springs.

    L = CE_t + l/2 sum_i F_i (theta_i - theta*_i)^2

F is the diagonal Fisher information of the old tasks and theta* the weights after the last one.
EWC exists in several forms that give different results. This one is the online form with one
anchor (after each task F <- d F + F_t, theta* <- theta), with the factor 1/2, and F_t estimated
from single samples whose labels are drawn from the model's own answers, in evaluation mode.
`fisher: labels` takes the data's labels (the empirical Fisher), `fisher: batch` the square of mean
gradients, as LIBERO does; l has another meaning with each.

Kirkpatrick et al., PNAS 2017, arXiv 1612.00796; online: Schwarz et al., ICML 2018, arXiv
1805.06370.

Use it where no old sample may be kept and the tasks share their labels. Without task ids on new
classes it fails, as other penalties do. l needs tuning: too small a value forgets, too large a one
learns nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.methods.continual._stream import Stream
    from bequeath.train.context import Context


class Config(MethodConfig):
    strength: float = Field(
        100.0,
        ge=0,
        description="l, the strength of the springs",
        json_schema_extra={
            "source": "order of magnitude of published values for permuted MNIST; unverified",
            "search": ["log", 1.0, 10_000.0],
        },
    )
    decay: float = Field(
        1.0,
        ge=0,
        le=1,
        description="d, what is left of the old tasks' F after each new one",
        json_schema_extra={"source": "1: a plain sum (LIBERO's code has 0.9)"},
    )
    samples: int = Field(
        512,
        ge=1,
        description="samples of a task of which F is taken (or all it has)",
        json_schema_extra={"source": "ours: the estimate changes little beyond"},
    )
    fisher: Literal["sampled", "labels", "batch"] = Field(
        "sampled",
        description="labels drawn from the model, those of the data, or squared batch means",
        json_schema_extra={"source": "the Fisher information as defined"},
    )


@method(
    want="continual",
    paper="Kirkpatrick et al. 2017, arXiv 1612.00796",
    needs=Needs(
        models={"model": ModelNeed(Access.WEIGHTS, trains=True)},
        data={"train": DataNeed(Labels.ALL)},
        same_classes=True,
    ),
    identity=(Identity("without springs it is `finetune`", "finetune", config={"strength": 0.0}),),
)
def ewc(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Holds the weights that old tasks need near what they were."""
    import torch

    from bequeath.blocks.fisher import Anchor, diagonal_fisher
    from bequeath.blocks.task_stream import Scope
    from bequeath.train.terms import Term, mean_over

    stream: Stream = given.protocol
    scope, model = Scope(stream), given.model("model").load()
    params = {n: p for n, p in model.module.named_parameters() if p.requires_grad}
    anchor = Anchor(params, cfg.decay)
    ctx.stage("start", model=model)
    for task in stream:

        def log_p(batch, now=task.index):
            return scope.logits(model(batch), batch["y"], now).log_softmax(1)

        def step(batch, number=task.index):
            loss = scope.cross_entropy(model(batch), batch["y"], number)
            terms = {"ce": mean_over(loss)}
            if anchor.fisher:
                now = dict(model.module.named_parameters())  # whole, also of shards
                terms["ewc"] = Term(anchor.penalty(now), 1, cfg.strength / 2, over="steps")
            return terms

        ctx.fit(model, task.train, step, name=task.name)
        if cfg.strength and task.index + 1 < len(stream):
            g = ctx.rng("fisher", task.index)
            idx = torch.randperm(len(task.train), generator=g)[: cfg.samples]
            batches = map(task.train.to(ctx.device).fetch, idx.split(ctx.train.batch_size))
            f = diagonal_fisher(params, log_p, batches, estimate=cfg.fisher, generator=g)
            anchor.move(f)
        ctx.stage(task.name, model=model)
    return Outcome(models={"model": model})
