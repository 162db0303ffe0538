"""The cells of NAS-Bench-201: six edges between four nodes, five operations on each.

An architecture is written as its authors do,

    |nor_conv_3x3~0|+|skip_connect~0|none~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|

node 1, 2, 3 between `+`, each edge as operation~source. The network around the cell is a 3x3
convolution, three stages of cells at C, 2C, 4C channels with a residual block of stride 2 between
them, batch normalisation, average pooling and a linear classifier.

Dong, Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search",
ICLR 2020, arXiv 2001.00326.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # (from, to), in the order of the text
PATHS = (((0, 3),), ((0, 1), (1, 3)), ((0, 2), (2, 3)), ((0, 1), (1, 2), (2, 3)))
COUNTS = {"params": 1, "conv3x3": 1, "skips": 1, "pools": -1, "depth": 1, "paths": 1}

_CELL = re.compile(
    r"\|(\w+)~0\|\+\|(\w+)~0\|(\w+)~1\|\+\|(\w+)~0\|(\w+)~1\|(\w+)~2\|"  # as the edges above
)


def parse_cell(text: str) -> tuple[int, ...]:
    """The six operations, as places in `OPERATIONS`, in the order of `EDGES`. ValueError."""
    match = _CELL.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"`{text}` is not written as |op~0|+|op~0|op~1|+|op~0|op~1|op~2|")
    strange = [name for name in match.groups() if name not in OPERATIONS]
    if strange:
        raise ValueError(f"`{strange[0]}` is none of {', '.join(OPERATIONS)}")
    return tuple(OPERATIONS.index(name) for name in match.groups())


def cell_text(operations: Sequence[int]) -> str:
    """The inverse of `parse_cell`."""
    names = iter(OPERATIONS[o] for o in operations)
    nodes = ["|" + "".join(f"{next(names)}~{j}|" for j in range(node)) for node in (1, 2, 3)]
    return "+".join(nodes)


def cell_counts(operations: Sequence[int]) -> tuple[float, ...]:
    """What can be read off a cell without a network, in the order of `COUNTS`.

    params: 9 for a 3x3 convolution, 1 for a 1x1. conv3x3, skips, pools: how many. depth: the most
    convolutions on a path from input to output. paths: how many such paths there are. `COUNTS`
    holds which way each is thought to be better.
    """
    on = dict(zip(EDGES, (OPERATIONS[o] for o in operations)))
    open_paths = [[on[e] for e in path] for path in PATHS if all(on[e] != "none" for e in path)]
    names = list(on.values())
    deepest = max((sum("conv" in op for op in path) for path in open_paths), default=0)
    three, one = names.count("nor_conv_3x3"), names.count("nor_conv_1x1")
    skips, pools = names.count("skip_connect"), names.count("avg_pool_3x3")
    return tuple(map(float, (9 * three + one, three, skips, pools, deepest, len(open_paths))))


def cell_network(
    operations: Sequence[int], *, width: int = 16, depth: int = 5, n_classes: int = 10,
    channels: int = 3,
) -> nn.Module:  # fmt: skip
    """The network of a cell, freshly drawn. images [B, channels, H, W] -> logits [B, n_classes].

    width: C, the channels of the first stage. depth: N, cells in a stage.
    """
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=False)]
    layers.append(nn.BatchNorm2d(width))
    c = width
    for stage in range(3):
        if stage:
            layers.append(Residual(c, 2 * c))
            c *= 2
        layers += [Cell(operations, c) for _ in range(depth)]
    layers += [nn.BatchNorm2d(c), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(c, n_classes))


class Cell(nn.Module):
    """x [B, C, H, W] -> the same shape. Node j is the sum of its edges' outputs."""

    def __init__(self, operations: Sequence[int], width: int):
        super().__init__()
        self.edges = nn.ModuleList(_operation(OPERATIONS[o], width) for o in operations)

    def forward(self, x: Tensor) -> Tensor:
        nodes: list[Tensor | None] = [x, None, None, None]
        for (source, target), edge in zip(EDGES, self.edges):
            came, there = nodes[source], nodes[target]
            if came is not None and not isinstance(edge, Nothing):
                out = edge(came)
                nodes[target] = out if there is None else there + out
        return torch.zeros_like(x) if nodes[3] is None else nodes[3]


class Nothing(nn.Module):
    """An edge that is not there."""


class Residual(nn.Module):
    """The block between stages: half the size, another width."""

    def __init__(self, width: int, out: int):
        super().__init__()
        self.a = _conv(width, out, 3, stride=2)
        self.b = _conv(out, out, 3)
        self.down = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(width, out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.down(x) + self.b(self.a(x))


def _operation(name: str, width: int) -> nn.Module:
    if name == "none":
        return Nothing()
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return _conv(width, width, 3 if name == "nor_conv_3x3" else 1)


def _conv(width: int, out: int, size: int, stride: int = 1) -> nn.Module:
    conv = nn.Conv2d(width, out, size, stride=stride, padding=size // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(out))
