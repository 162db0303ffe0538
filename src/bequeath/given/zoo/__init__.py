"""Small reference models. Each file stands alone: torch only, copied beside the weights it made.

This table is torch-free, so that names, kinds and heads are known before anything is imported.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """file: module in this folder; head: path of the final classifier; kind: what it eats."""

    file: str
    head: str
    kind: str | None


ZOO: dict[str, Entry] = {
    **{
        f"resnet{depth}": Entry("cifar_resnet", "linear", "image")
        for depth in (8, 20, 32, 44, 56, 110)
    },
    **{
        f"wrn-{depth}-{width}": Entry("wide_resnet", "fc", "image")
        for depth, width in ((16, 2), (16, 4), (40, 1), (40, 2))
    },
    "lenet": Entry("lenet", "fc3", "image"),
    "mlp": Entry("mlp", "out", None),
}
