"""Interpolation along the arc between two models, tensor by tensor.

    theta = angle between a and b
    out   = sin((1 - t) theta) / sin(theta) a + sin(t theta) / sin(theta) b

Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985. The tensors are flattened,
the angle is that of their directions, and their lengths are kept as they are: as in mergekit.

Nearly parallel or opposite tensors (|cos| above `dot_threshold`), and a tensor of length zero,
have no arc: they are interpolated on the straight line. (For a zero tensor mergekit takes an angle
of 90 degrees; the straight line leaves a bias that one model lacks at t of its value.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bequeath.weights.rule import Part, Rule, Whole, shared
from bequeath.weights.sums import block_sums, total

if TYPE_CHECKING:
    from torch import Tensor

TINY = 1e-8  # lengths below have no direction; mergekit's value


@dataclass(frozen=True)
class Settings:
    t: float = shared(
        0.5,
        "0: the first model (the base), 1: the second",
        low=0.0,
        high=1.0,
        source="the middle; no source fixes it",
    )
    dot_threshold: float = shared(
        0.9995,
        "above this |cos| of the angle the straight line is taken",
        low=0.0,
        high=1.0,
        source="mergekit",
    )


def measure(whole: Whole, settings: Settings) -> tuple[float, float] | None:
    """The weights of both models on the arc, or None for the straight line."""

    def look(part: Part) -> tuple[list[float], list[float], list[float]]:
        a, b = (x.double() for x in part.tensors)
        return block_sums(a * a), block_sums(b * b), block_sums(a * b)

    if settings.t in (0.0, 1.0):
        return None
    aa, bb, ab = total(whole.each(look))
    lengths = math.sqrt(aa), math.sqrt(bb)
    if min(lengths) <= TINY:
        return None
    cos = max(-1.0, min(1.0, ab / (lengths[0] * lengths[1])))
    if abs(cos) > settings.dot_threshold:
        return None
    theta = math.acos(cos)
    return (
        math.sin((1 - settings.t) * theta) / math.sin(theta),
        math.sin(settings.t * theta) / math.sin(theta),
    )


def combine(part: Part, settings: Settings, arc: tuple[float, float] | None) -> Tensor:
    a, b = part.tensors
    if settings.t in (0.0, 1.0):
        return b if settings.t else a
    if arc is not None:
        return (a * arc[0]).add_(b, alpha=arc[1])
    return a - (a - b).mul_(settings.t)  # equal tensors come out as they are


RULE = Rule(
    name="slerp",
    title="Interpolation of two models along the arc between them",
    paper="Shoemake 1985, SIGGRAPH",
    Settings=Settings,
    combine=combine,
    measure=measure,
    base="first",
    models=(2, 2),
)


def slerp(a: Tensor, b: Tensor, settings: Settings | None = None) -> Tensor:
    """Between two tensors of one shape, in the first's type."""
    from bequeath.weights.memory import merge_tensors

    return merge_tensors(RULE, (a, b), settings or Settings())
