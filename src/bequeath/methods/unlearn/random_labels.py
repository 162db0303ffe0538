"""Random labels: what is to be forgotten is learnt again under labels that are wrong.

    L = mean over forgotten of |W^T x - y'|^2 / 2        y' drawn evenly from the other classes

once for each sample and request (Graves et al. 2021, arXiv 2010.10981; Golatkar et al. 2020). How
far it goes is up to `train`.

Use it as a baseline. It needs only the samples to forget, and it does not forget them: it learns
that they are something else, which an attacker sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bequeath.methods.contract import MethodConfig, Outcome, method
from bequeath.methods.unlearn._gradient import does_nothing
from bequeath.methods.unlearn._head import NEEDS

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MethodConfig):
    pass


@method(
    want="unlearn",
    paper="Graves et al. 2021, arXiv 2010.10981",
    needs=NEEDS,
    identity=(does_nothing("neggrad"),),
)
def random_labels(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """What is to be forgotten is learnt again under wrong labels."""
    import torch

    from bequeath.methods.unlearn._gradient import forget_by_descent
    from bequeath.train.terms import mean_over

    def loss(descent, batch):
        classes = descent.learner.n_classes
        n = len(descent.learner.table)
        g = ctx.rng(f"{descent.step.name}/labels")
        shift = torch.randint(1, classes, (n,), generator=g).to(batch["y"].device)
        wrong = (batch["y"] + shift[batch["idx"]]) % classes
        return {"wrong": mean_over(descent.error(batch["x"], wrong))}

    return forget_by_descent(ctx, given, loss, lambda step, held: step.idx)
