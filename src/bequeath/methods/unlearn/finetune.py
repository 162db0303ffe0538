"""Fine-tuning on what remains: the head trains on, without what is to be forgotten.

    L = mean over held of |W^T x - y|^2 / 2 + gamma |W|^2 / (2 n)

The minimum is the retrained head itself, n being how many are held, and the start is near it; what
is left of the forgotten samples fades as fast as the gradient goes, slowly along features that vary
little.

Use it as a baseline, and where all that remains is at hand. It is the simplest approximate
unlearning (as in Golatkar et al. 2020, arXiv 1911.04933), and each request passes over everything.
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
    paper="Golatkar et al. 2020, arXiv 1911.04933",
    needs=NEEDS,
    identity=(does_nothing("neggrad"),),
)
def finetune(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Training goes on with what remains alone."""
    from bequeath.methods.unlearn._gradient import forget_by_descent
    from bequeath.train.terms import Term, mean_over

    gamma = given.protocol.head.gamma

    def loss(descent, batch):
        n, scale = len(batch["y"]), descent.scale
        decay = gamma / (2 * len(descent.held) * scale**2) * descent.layer.weight.square().sum()
        error = descent.error(batch["x"], batch["y"])
        return {"retain": mean_over(error), "ridge": Term(n * decay, n)}

    return forget_by_descent(ctx, given, loss, lambda step, held: held)
