"""The weighted average of models: a soup.

    out = sum_i w_i x_i / sum_i w_i          (normalize; without it the bare sum)

Wortsman et al., "Model soups", ICML 2022, arXiv 2203.05482 (the uniform soup has equal weights).

Use it first. It does well where all models were fine-tuned from the same one with small steps, so
that the straight line between them stays in one basin; where they were trained apart it does not.
A model in the role `base` is left out of the average.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bequeath.methods.contract import Identity, Outcome, method
from bequeath.methods.merge._merge import AVERAGE, MergeConfig, Number, merge_models, of
from bequeath.weights.rule import Rule
from bequeath.weights.rules.linear import RULE

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MergeConfig):
    rules: ClassVar[tuple[Rule, ...]] = (RULE,)
    weight: Number = of(RULE, "weight")
    normalize: bool = of(RULE, "normalize")


@method(
    want="merge",
    paper="Wortsman et al. 2022, arXiv 2203.05482",
    needs=AVERAGE,
    identity=(
        Identity("models that are equal come out as they are", "start", start={"one": "other"}),
    ),
)
def linear(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Weighted average of models."""
    return merge_models(ctx, given, cfg)
