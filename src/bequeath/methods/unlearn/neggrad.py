"""Gradient ascent: the loss on what is to be forgotten is made larger.

    L = -(1 - b) mean over forgotten of min(l(x, y), c) + b mean over held of l(x, y)
    l = |W^T x - y|^2 / 2

b = 0 is NegGrad (Golatkar et al. 2020, arXiv 1911.04933), b > 0 NegGrad+, which holds on to the
rest meanwhile (Kurmanji et al. 2023, arXiv 2302.09880). Without the ceiling c the loss has no
minimum and the head runs away, the faster the larger the request; the papers stop early by hand.
At c = 1/2 a sample is as wrong as in a head of zeros, and is left alone.

Use it as a baseline. It needs only the samples to forget (b = 0), and shows what that costs: it
leaves neither the model that never learnt them nor one that answers the rest as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bequeath.methods.contract import MethodConfig, Outcome, method
from bequeath.methods.unlearn._gradient import does_nothing
from bequeath.methods.unlearn._head import NEEDS

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MethodConfig):
    ceiling: float | None = Field(
        0.5,
        gt=0,
        description="c, the loss above which a sample is left alone; null: none",
        json_schema_extra={"source": "ours, the loss of a head of zeros; the papers have none"},
    )
    retain: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="b, the weight of the samples that are held",
        json_schema_extra={"source": "NegGrad; NegGrad+ tunes it", "search": ["linear", 0, 0.99]},
    )


@method(
    want="unlearn",
    paper="Golatkar et al. 2020, arXiv 1911.04933; Kurmanji et al. 2023, arXiv 2302.09880",
    needs=NEEDS,
    identity=(does_nothing("finetune"),),
)
def neggrad(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Gradient ascent on what is to be forgotten, if asked with descent on the rest."""
    import torch

    from bequeath.methods.unlearn._gradient import forget_by_descent
    from bequeath.train.terms import mean_over

    def loss(descent, batch):
        X, y = batch["x"], batch["y"]
        wrong = descent.error(X, y)
        if cfg.ceiling is not None:
            wrong = wrong.clamp(max=cfg.ceiling)
        terms = {"forget": mean_over(wrong, -(1 - cfg.retain))}
        if cfg.retain:
            g = ctx.rng(descent.step.name, ctx.now.step)
            some = descent.held[torch.randint(len(descent.held), (len(y),), generator=g)]
            kept = descent.learner.table.fetch(some)
            error = descent.error(kept["x"].to(X), kept["y"].to(y))
            terms["retain"] = mean_over(error, cfg.retain)
        return terms

    return forget_by_descent(ctx, given, loss, lambda step, held: step.idx)
