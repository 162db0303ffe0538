"""Interpolation between two models along the arc between them, tensor by tensor.

    theta = angle between a and b
    out   = sin((1 - t) theta) / sin(theta) a + sin(t theta) / sin(theta) b

Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985. The first model written is
t = 0. Nearly parallel tensors, and those of length zero, are interpolated on the straight line.

It keeps the length of tensors that point apart, which the average shortens. Two models only; a
model in the role `base` is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bequeath.methods.contract import Identity, Outcome, method
from bequeath.methods.merge._merge import AVERAGE, MergeConfig, Number, merge_models, of
from bequeath.weights.rule import Rule
from bequeath.weights.rules.slerp import RULE

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MergeConfig):
    rules: ClassVar[tuple[Rule, ...]] = (RULE,)
    t: Number = of(RULE, "t")
    dot_threshold: float = of(RULE, "dot_threshold")


@method(
    want="merge",
    paper="Shoemake 1985, SIGGRAPH",
    needs=AVERAGE,
    identity=(Identity("t = 0 is the first model", "start", config={"t": 0.0}),),
)
def slerp(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Interpolation of two models along the arc."""
    return merge_models(ctx, given, cfg)
