"""Task vectors trimmed, and averaged where their signs agree.

1. trim: of each tau_i = x_i - base the share `density` of largest magnitude stays;
2. elect: each element's sign is that of sum_i w_i tau_i (`mass`), or of the number of signs;
3. merge: out = base + lambda mean of the w_i tau_i with that sign, weighted by w_i.

Yadav et al., "TIES-Merging", NeurIPS 2023, arXiv 2306.01708. The paper trims a model as a whole;
here, as in mergekit, each tensor by itself.

Use it where plain task arithmetic suffers from many tasks. It needs more passes over the files than
a sum, since a magnitude is large or small only among all of its tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from bequeath.methods.contract import Identity, Outcome, method
from bequeath.methods.merge._merge import FROM_A_BASE, MergeConfig, Number, merge_models, of
from bequeath.weights.rule import Rule
from bequeath.weights.rules.ties import RULE

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MergeConfig):
    rules: ClassVar[tuple[Rule, ...]] = (RULE,)
    weight: Number = of(RULE, "weight")
    density: Number = of(RULE, "density")
    lambda_: Number = of(RULE, "lambda")
    normalize: bool = of(RULE, "normalize")
    elect: Literal["mass", "count"] = of(RULE, "elect")
    rescale: Literal["none", "density", "norm"] = of(RULE, "rescale")


@method(
    want="merge",
    paper="Yadav et al. 2023, arXiv 2306.01708",
    needs=FROM_A_BASE,
    identity=(
        Identity("trimmed to nothing, the base comes out", "start", config={"density": 0.0}),
    ),
)
def ties(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Task vectors trimmed, and averaged where their signs agree."""
    return merge_models(ctx, given, cfg)
