"""Cells of NAS-Bench-201: text, counts, network, against what is published and done by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from bequeath.blocks.cells import (
    COUNTS,
    OPERATIONS,
    Cell,
    cell_counts,
    cell_network,
    cell_text,
    parse_cell,
)
from bequeath.blocks.zero_cost import flops, params

NODES = "|nor_conv_3x3~0|", "|nor_conv_3x3~0|nor_conv_3x3~1|"
BEST = "+".join((*NODES, "|skip_connect~0|nor_conv_3x3~1|avg_pool_3x3~2|"))
NONE, SKIP, ONE, THREE, POOL = range(5)


def test_text_there_and_back():
    assert parse_cell(BEST) == (THREE, THREE, THREE, SKIP, THREE, POOL)
    for seed in range(20):
        drawn = torch.randint(5, (6,), generator=torch.Generator().manual_seed(seed)).tolist()
        assert parse_cell(cell_text(drawn)) == tuple(drawn)


@pytest.mark.parametrize("text", ["", "resnet18", BEST[:-1], BEST.replace("~2", "~1"), BEST + "|"])
def test_what_is_no_cell_is_refused(text):
    with pytest.raises(ValueError, match="is not written as"):
        parse_cell(text)
    with pytest.raises(ValueError, match="nor_conv_5x5"):
        parse_cell(BEST.replace("skip_connect", "nor_conv_5x5"))


def test_counts_by_hand():
    def counts(*operations: int) -> dict[str, float]:
        return dict(zip(COUNTS, cell_counts(operations)))

    assert counts(THREE, THREE, THREE, SKIP, THREE, POOL) == {
        "params": 36, "conv3x3": 4, "skips": 1, "pools": 1, "depth": 2, "paths": 4,
    }  # fmt: skip
    # edges 01, 02, 12, 03, 13, 23: only 0 -> 1 -> 2 -> 3 is open, with two convolutions
    assert counts(ONE, NONE, THREE, NONE, NONE, SKIP) == {
        "params": 10, "conv3x3": 1, "skips": 1, "pools": 0, "depth": 2, "paths": 1,
    }  # fmt: skip
    assert counts(THREE, NONE, NONE, NONE, NONE, THREE)["depth"] == 0  # nothing gets through


def test_the_network_has_the_published_size():
    """All edges 3x3 convolutions: 220.12 M multiply-adds in NATS-Bench's table."""
    net = cell_network([THREE] * 6)
    assert flops(net, torch.zeros(1, 3, 32, 32)) == pytest.approx(220.12e6, rel=1e-4)
    cells = 5 * 6 * sum(9 * c * c + 2 * c for c in (16, 32, 64))
    between = sum(9 * c * 2 * c + 9 * 4 * c * c + 2 * c * c + 2 * 2 * 2 * c for c in (16, 32))
    ends = 3 * 16 * 9 + 2 * 16 + 2 * 64 + 64 * 10 + 10
    # batch normalisation of the block between: one of 2C after each of its two convolutions
    assert params(net) == cells + between + ends


def test_a_cell_by_hand():
    """Node 3 = edge03(x) + edge13(n1) + edge23(n2), n2 = edge02(x) + edge12(n1)."""
    torch.manual_seed(0)
    cell = Cell(parse_cell(BEST), 4).eval()
    x = torch.randn(2, 4, 5, 5)

    def conv(edge: int, y: torch.Tensor) -> torch.Tensor:
        layer = cell.edges[edge]
        return layer[2](F.conv2d(F.relu(y), layer[1].weight, padding=1))

    n1 = conv(0, x)
    n2 = conv(1, x) + conv(2, n1)
    pooled = F.avg_pool2d(n2, 3, 1, 1, count_include_pad=False)
    assert torch.allclose(cell(x), x + conv(4, n1) + pooled, atol=1e-6)


def test_an_edge_that_is_not_there_passes_nothing():
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(Cell([NONE] * 6, 4)(x), torch.zeros_like(x))
    assert torch.equal(Cell([SKIP, NONE, NONE, NONE, SKIP, POOL], 4)(x), x)


def test_any_cell_makes_a_network_that_trains():
    x, y = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 3])
    for seed in range(12):
        drawn = torch.randint(5, (6,), generator=torch.Generator().manual_seed(seed)).tolist()
        net = cell_network(drawn, width=4, depth=1, n_classes=7)
        out = net(x)
        assert out.shape == (4, 7) and bool(out.isfinite().all())
        F.cross_entropy(out, y).backward()
    assert len(OPERATIONS) ** 6 == 15_625
