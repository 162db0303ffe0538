"""Task vectors without their largest and their smallest elements.

    tau_i = x_i - base, kept where its magnitude is below the share `gamma` of the largest and
            among the share `density` that follows
    out   = base + lambda sum_i w_i m_i tau_i

Davari and Belilovsky, "Model breadcrumbs", ECCV 2024, arXiv 2312.06795. The largest elements are
outliers that disturb the other tasks, the smallest are noise. With `elect` only the elements that
agree with the elected sign take part (mergekit's breadcrumbs_ties).

Needs no validation data to find its densities, they scale with the number of tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from bequeath.methods.contract import Identity, Outcome, method
from bequeath.methods.merge._merge import FROM_A_BASE, ElectingConfig, Number, merge_models, of
from bequeath.weights.rule import Rule
from bequeath.weights.rules.breadcrumbs import RULE, RULE_TIES

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(ElectingConfig):
    rules: ClassVar[tuple[Rule, ...]] = (
        RULE,
        RULE_TIES,
    )
    weight: Number = of(RULE, "weight")
    density: Number = of(RULE, "density")
    gamma: Number = of(RULE, "gamma")
    lambda_: Number = of(RULE, "lambda")
    normalize: bool = of(RULE, "normalize")
    rescale: Literal["none", "density", "norm"] = of(RULE, "rescale")


@method(
    want="merge",
    paper="Davari and Belilovsky 2024, arXiv 2312.06795",
    needs=FROM_A_BASE,
    identity=(Identity("weights of 0 leave the base", "start", config={"weight": 0.0}),),
)
def breadcrumbs(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Task vectors without their outliers and their noise."""
    return merge_models(ctx, given, cfg)
