"""Elements of the task vectors dropped at random, and the rest scaled up.

    tau_i = x_i - base
    m_i   ~ Bernoulli(density)
    out   = base + lambda sum_i w_i m_i tau_i / density

Yu et al., "Language models are Super Mario", ICML 2024, arXiv 2311.03099, whose drop rate p is
1 - density. With `elect` only the elements that agree with the elected sign take part, as in TIES
(mergekit calls the two dare_linear and dare_ties).

Masks are a function of the job's seed, the tensor's name and the position. It works for differences
that are small and many, as fine-tuned language models have; several seeds tell how much is chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from bequeath.methods.contract import Identity, Outcome, method
from bequeath.methods.merge._merge import FROM_A_BASE, ElectingConfig, Number, merge_models, of
from bequeath.weights.rule import Rule
from bequeath.weights.rules.dare import RULE, RULE_TIES

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
    lambda_: Number = of(RULE, "lambda")
    normalize: bool = of(RULE, "normalize")
    rescale: Literal["none", "density", "norm"] = of(RULE, "rescale")


@method(
    want="merge",
    paper="Yu et al. 2024, arXiv 2311.03099",
    needs=FROM_A_BASE,
    identity=(Identity("weights of 0 leave the base", "start", config={"weight": 0.0}),),
)
def dare(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Task vectors thinned at random, and summed."""
    return merge_models(ctx, given, cfg)
