"""Analytic continual unlearning: a head in closed form that forgets exactly what it is asked to.

On frozen features X (backbone, fixed random projection, ReLU) the head is ridge regression, kept as
R = (X^T X + gamma I)^-1 and W = R X^T Y and updated by recursive least squares. Learning a batch
adds to it, forgetting one is the same update with the signs turned:

    learn    K = (I + X R X^T)^-1    R <- R - R X^T K X R    W <- W + R X^T (Y - X W)
    forget   K = (I - X R X^T)^-1    R <- R + R X^T K X R    W <- W - R X^T (Y - X W)

(the new R, the old W on the right). After each request, in any order with learning, the head is the
one that would have come out had the samples never been learnt, to rounding. A request of n samples
costs O(n d^2 + n^3), however many others are held; neither they nor a gradient are needed. A ledger
of hashes refuses samples that were never learnt, and a second removal.

"Analytic Continual Unlearning for Efficient and Exact Forgetting with Privacy Preservation", 2025,
arXiv 2505.12239; the learning half is ACIL, Zhuang et al. 2022, arXiv 2205.14922. No code of the
former was found; defaults are the latter's.

Use it where deletion requests keep coming and a linear head on good features will do. What is
exact is the head: a backbone trained on a forgotten sample still holds what it took from it. And
features must come out again as they were learnt: same weights, no augmentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bequeath.methods.contract import Identity, MethodConfig, Outcome, method
from bequeath.methods.unlearn._head import NEEDS

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MethodConfig):
    form: Literal["recursive", "normal"] = Field(
        "recursive",
        description="keep R and W and update them, or X^T X and X^T Y and solve at each request",
        json_schema_extra={"source": "the paper; `normal` is slower and exact to rounding"},
    )
    tolerance: float | None = Field(
        1e-6,
        ge=0,
        description="`form: recursive`: make R anew from X^T X when the residual of R X^T X = I "
        "passes this; null: keep R and W alone",
        json_schema_extra={"source": "ours; the paper keeps R and W alone"},
    )


@method(
    want="unlearn",
    paper="Analytic Continual Unlearning, 2025, arXiv 2505.12239",
    needs=NEEDS,
    identity=(
        Identity(
            "where sums are exact (whole numbers for features) it is `retrain` to the last bit",
            "retrain",
            config={"form": "normal"},
        ),
        Identity(
            "it is `retrain`, but for the rounding of the recursion",
            "retrain",
            config={"tolerance": None},
            within=1e-9,
        ),
    ),
)
def acu(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """A closed-form head learns and forgets exactly, at a cost that does not grow with the data."""
    from bequeath.blocks.analytic_head import AnalyticHead, NormalHead
    from bequeath.blocks.ledger import Ledger, sample_digests
    from bequeath.methods.unlearn._head import open_learner

    requests = given.protocol
    learner = open_learner(ctx, given)
    keys, ledger = sample_digests(given.data("train")), Ledger()
    d, gamma = learner.table.width, requests.head.gamma
    head: AnalyticHead | NormalHead
    if cfg.form == "recursive":
        head = AnalyticHead(d, gamma, tolerance=cfg.tolerance, device=learner.device)
    else:
        head = NormalHead(d, gamma, device=learner.device)

    for step in requests.steps:
        samples = step.idx.tolist()
        said = [keys[i] for i in samples]
        if step.learns:
            ledger.learn(said)
            head.learn(*learner.rows(step.idx))
        else:
            ledger.forget(said, names=samples)
            head.forget(*learner.rows(step.idx))
            head.drop(step.gone)
        W = head.weight
        ctx.stage(step.name, model=learner.hand(W, step.gone), head=W)
    notes = {"held": len(ledger), "backbone": learner.exposure}
    if isinstance(head, AnalyticHead):
        notes |= {"refreshed": head.refreshed, "residual": head.residual}
    return Outcome(models={"unlearned": learner.model}, notes=notes)
