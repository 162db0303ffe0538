"""Add the differences that fine-tuning made.

    out = base + lambda sum_i w_i (x_i - base)

Ilharco et al., "Editing models with task arithmetic", ICLR 2023, arXiv 2212.04089. A negative
weight takes a skill away. The paper finds lambda on held-out data, from 0 to 1 in steps of 0.05;
0.3 to 0.4 is usual for many tasks.

With mergekit's `normalize` the sum is divided by the sum of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bequeath.weights import delta
from bequeath.weights.rule import Part, Rule, each_model, shared

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Settings:
    weight: tuple[float, ...] = each_model(
        1.0, "w_i, how much of the task vector", source="the paper sums them as they are"
    )
    lambda_: float = shared(
        1.0,
        "factor of the sum; choose it on held-out data",
        source="mergekit; the paper fixes none",
    )
    normalize: bool = shared(False, "divide by the sum of the weights", source="the paper sums")


def combine(part: Part, settings: Settings, measured: None = None) -> Tensor:
    return delta.combine(part, settings)


RULE = Rule(
    name="task_arithmetic",
    title="The base and the sum of the task vectors",
    paper="Ilharco et al. 2023, arXiv 2212.04089",
    Settings=Settings,
    combine=combine,
    base="delta",
)


def task_arithmetic(
    tensors: Sequence[Tensor], base: Tensor, settings: Settings | None = None
) -> Tensor:
    """Of tensors of the base's shape, in its type."""
    from bequeath.weights.memory import merge_tensors

    return merge_tensors(RULE, tensors, settings or Settings(), base=base)
