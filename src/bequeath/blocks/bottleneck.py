"""The bottleneck of source-free adaptation, and how fast what lies before it may change.

`models: {student: {ref: ..., bottleneck: 256}}` gives a model the head of
`bequeath.given.zoo.bottleneck`: a linear layer with batch norm, then a weight-normed classifier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bequeath.given.zoo.bottleneck import BottleneckHead

if TYPE_CHECKING:
    from bequeath.given.bound import BoundModel


def bottleneck_of(model: BoundModel) -> str | None:
    """Module path of the bottleneck with its classifier; None where the model has none."""
    path = (model.facts.head or "").rpartition(".")[0]
    found = path and isinstance(model.module.get_submodule(path), BottleneckHead)
    return path if found else None


def backbone_rates(model: BoundModel, factor: float) -> dict[str, float]:
    """`train.optimizer.rates` that slow down what lies before the bottleneck.

    Without a bottleneck all is backbone, none of it is new, and the rate is everywhere the job's.
    """
    path = bottleneck_of(model)
    return {} if path is None else {path: 1.0, "*": factor}
