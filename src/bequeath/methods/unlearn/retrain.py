"""The gold: after each request the head is made anew from what remains.

    W = (X_r^T X_r + gamma I)^-1 X_r^T Y_r

with X_r the widened features of all samples that are still held. What was forgotten has no part in
it, by construction; every other method is measured by how near it comes. Where shadow models are
asked for (`protocol: {shadows: 8}`), it also makes them, on random halves of what remains at the
end: they tell the likelihood-ratio attack how each sample is answered by models that never saw it.

Ridge regression, Hoerl and Kennard 1970; the protocol is the field's usual one (for example
Thudi et al. 2022, arXiv 2109.13398).

Use it as the yardstick, or where requests are rare and the data small. Its cost per request grows
with what is held, and it needs all of that at hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bequeath.methods.contract import Identity, MethodConfig, Outcome, method
from bequeath.methods.unlearn._head import NEEDS

if TYPE_CHECKING:
    from torch import Tensor

    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MethodConfig):
    pass


@method(
    want="unlearn",
    paper="none: ridge regression on what remains",
    needs=NEEDS,
    identity=(
        Identity(
            "a head that learns and forgets in closed form is the same, but for the rounding of "
            "its recursion",
            "acu",
            within=1e-9,
        ),
    ),
)
def retrain(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """The head made anew from what remains, after each request: the gold standard."""
    from bequeath.blocks.analytic_head import CHUNK, NormalHead
    from bequeath.methods.unlearn._head import open_learner

    requests = given.protocol
    learner = open_learner(ctx, given)
    d, gamma = learner.table.width, requests.head.gamma

    def solved(held: Tensor) -> Tensor:
        head = NormalHead(d, gamma, device=learner.device)
        for some in held.split(CHUNK):
            head.learn(*learner.rows(some))
        return head.weight

    for s, some in enumerate(requests.shadows):
        ctx.stage(f"shadow-{s}", model=learner.hand(solved(some), requests.steps[-1].gone))
    for step, held in zip(requests.steps, requests.held):
        W = solved(held)
        ctx.stage(step.name, model=learner.hand(W, step.gone), head=W)
    return Outcome(models={"unlearned": learner.model}, notes={"backbone": learner.exposure})
