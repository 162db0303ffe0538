"""Features computed once, put back in the data's order, widened when asked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from bequeath.blocks.feature_cache import FeatureTable, frozen_features
from bequeath.given.zoo.random_features import RandomFeatures, RandomHead


def test_features_come_back_in_the_order_of_the_data():
    x = torch.randn(10, 3, 2)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    passed = [
        ({"idx": idx}, SimpleNamespace(features={"embedding": x[idx]})) for idx in order.split(4)
    ]
    assert torch.equal(frozen_features(passed, "embedding"), x.flatten(1))


def test_rows_are_widened_alike_however_they_are_asked_for():
    table = FeatureTable(torch.randn(50, 6), torch.arange(50) % 3, RandomFeatures(6, 20))
    assert table.width == 20 and len(table) == 50
    idx = torch.tensor([7, 3, 40])
    X, y = table.rows(idx)
    assert X.dtype == torch.float64 and y.tolist() == [1, 0, 1]
    whole, _ = table.rows(torch.arange(50))
    assert torch.allclose(whole[idx], X, atol=1e-14)
    part = table.part(idx)
    batch = part.fetch(torch.tensor([2, 0]))
    assert batch["idx"].tolist() == [40, 7] and torch.allclose(batch["x"], X[[2, 0]], atol=1e-14)
    assert part.hash != table.part(idx.flip(0)).hash and len(part) == 3


def test_random_features_have_the_scale_they_promise():
    """Mean square 1 for normalised inputs of any scale, whatever the widths."""
    g = torch.Generator().manual_seed(0)
    x = 37 * torch.randn(500, 400, generator=g)
    features = RandomFeatures(400, 3000, generator=g)
    assert float(features(x).square().mean()) == pytest.approx(1.0, abs=0.02)
    assert torch.allclose(features(x), features(x / 4), atol=1e-12)
    bound = 400**-0.5
    assert float(features.projection.abs().max()) <= bound
    assert float(features.projection.square().mean()) == pytest.approx(bound**2 / 3, rel=0.01)
    plain = RandomFeatures(400, 0, normalise=False, constant=True)
    assert plain.out_features == 401
    assert torch.equal(plain(x)[:, :400], x.double()) and bool((plain(x)[:, 400] == 1).all())


def test_zero_inputs_stay_finite():
    assert bool((RandomFeatures(4, 5)(torch.zeros(2, 4)) == 0).all())


def test_the_head_is_drawn_by_its_generator_alone():
    one, other = (
        RandomHead(4, 3, 8, generator=torch.Generator().manual_seed(1)).features.projection
        for _ in range(2)
    )
    assert torch.equal(one, other)
