"""A reservoir: every sample of a stream with equal probability."""

from __future__ import annotations

import pytest
import torch

from bequeath.blocks.replay import Reservoir, join


def batch(low: int, high: int) -> dict:
    idx = torch.arange(low, high)
    return {"idx": idx, "x": idx.float()[:, None], "y": idx % 3, "text": [f"t{i}" for i in idx]}


def test_equal_probability():
    held = torch.zeros(20)
    for seed in range(2000):
        g = torch.Generator().manual_seed(seed)
        memory = Reservoir(5)
        memory.add(batch(0, 8), g)
        memory.add(batch(8, 20), g)
        held[memory.held["idx"]] += 1
    # binomial with p = 1/4 over 2000: a deviation of 19; the largest of 20 stays within 4 of them
    assert bool(((held - 500).abs() < 4 * 19.4).all()), held


def test_what_is_held_belongs_together():
    memory = Reservoir(6)
    for low in range(0, 50, 7):
        memory.add(batch(low, low + 7), torch.Generator().manual_seed(low))
    assert len(memory) == 6 and memory.seen == 56
    drawn = memory.draw(4, torch.Generator().manual_seed(0))
    assert len(drawn["idx"].unique()) == 4
    for i, x, y, text in zip(drawn["idx"], drawn["x"], drawn["y"], drawn["text"]):
        assert (float(x), int(y), text) == (float(i), int(i) % 3, f"t{i}")
    assert len(memory.draw(100, torch.Generator())["idx"]) == 6


def test_below_capacity_it_keeps_everything():
    memory = Reservoir(10)
    memory.add(batch(0, 4), torch.Generator())
    memory.add(batch(4, 7), torch.Generator())
    assert memory.held["idx"].tolist() == list(range(7)) and len(memory) == 7


def test_no_capacity():
    memory = Reservoir(0)
    memory.add(batch(0, 4), torch.Generator())
    assert len(memory) == 0
    with pytest.raises(LookupError):
        memory.draw(1, torch.Generator())
    with pytest.raises(ValueError, match="negative"):
        Reservoir(-1)


def test_join():
    both = join(batch(0, 2), {**batch(5, 6), "view": torch.zeros(1)})
    assert both["idx"].tolist() == [0, 1, 5] and both["text"] == ["t0", "t1", "t5"]
    assert both["x"].shape == (3, 1) and "view" not in both
