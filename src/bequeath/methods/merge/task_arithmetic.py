"""Task vectors added to the model they start from.

    tau_i = x_i - base
    out   = base + lambda sum_i w_i tau_i

Ilharco et al., "Editing models with task arithmetic", ICLR 2023, arXiv 2212.04089. The paper
chooses lambda on validation data; 1 is the sum as it is, and with many tasks too much. A negative
weight takes a task out again.

Use it where the models share a base and their tasks differ; `ties` and `dare` are for the conflicts
that arise when there are many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bequeath.methods.contract import Identity, Outcome, method
from bequeath.methods.merge._merge import FROM_A_BASE, MergeConfig, Number, merge_models, of
from bequeath.weights.rule import Rule
from bequeath.weights.rules.task_arithmetic import RULE

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MergeConfig):
    rules: ClassVar[tuple[Rule, ...]] = (RULE,)
    weight: Number = of(RULE, "weight")
    lambda_: Number = of(RULE, "lambda")
    normalize: bool = of(RULE, "normalize")


@method(
    want="merge",
    paper="Ilharco et al. 2023, arXiv 2212.04089",
    needs=FROM_A_BASE,
    identity=(
        Identity("task vectors of weight 0 leave the base", "start", config={"weight": 0.0}),
    ),
)
def task_arithmetic(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Task vectors added to the base."""
    return merge_models(ctx, given, cfg)
