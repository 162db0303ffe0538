"""Exposure: ranks by hand, what chance gives, and the fit beside the whole space."""

from __future__ import annotations

import math

import pytest
import torch

from bequeath.metrics.exposure import by_fit, by_rank, floor, kept

G = torch.Generator().manual_seed(0)


def test_by_hand():
    nll = torch.tensor([3.0, 1.0, 2.0, 4.0], dtype=torch.float64)
    assert by_rank(1.0, nll).bits == 2.0 and by_rank(1.0, nll).rank == 1
    assert by_rank(2.0, nll).bits == pytest.approx(1.0)
    assert by_rank(4.0, nll).bits == pytest.approx(0.0)


def test_ties_count_as_the_mean_over_their_orders():
    nll = torch.tensor([1.0, 2.0, 2.0, 2.0, 5.0], dtype=torch.float64)
    expected = math.log2(5) - (math.log2(2) + math.log2(3) + math.log2(4)) / 3
    assert by_rank(2.0, nll).bits == pytest.approx(expected)
    assert by_rank(2.0, nll).rank == 3


def test_a_uniform_model_has_1_44_bits():
    same = torch.ones(100_000, dtype=torch.float64)
    assert by_rank(1.0, same).bits == pytest.approx(math.log2(math.e), abs=1e-3)
    assert by_rank(1.0, same).bits == pytest.approx(floor(100_000))
    # and a model that ranks at random has it on average
    found = []
    for _ in range(2000):
        nll = torch.rand(500, generator=G, dtype=torch.float64)
        found.append(by_rank(float(nll[0]), nll).bits)
    assert sum(found) / len(found) == pytest.approx(floor(500), abs=0.1)


def test_floor_by_its_sum():
    expected = sum(math.log2(50) - math.log2(rank) for rank in range(1, 51)) / 50
    assert floor(50) == pytest.approx(expected)


def test_the_fit_agrees_with_the_whole_space():
    scipy_stats = pytest.importorskip("scipy.stats")
    whole = torch.from_numpy(scipy_stats.skewnorm.rvs(3, 10, 2, size=50_000, random_state=1))
    sample = whole[torch.randperm(50_000, generator=G)[:5_000]]
    for share in (0.5, 0.1, 0.01):
        secret = float(whole.quantile(share))
        fitted = by_fit(secret, sample, 50_000)
        everyone = torch.cat([whole, torch.tensor([secret], dtype=torch.float64)])
        assert fitted.bits == pytest.approx(by_rank(secret, everyone).bits, abs=0.35)
        assert fitted.fit is not None and fitted.fit > 0.01


def test_the_fit_is_bounded_and_its_failure_seen():
    pytest.importorskip("scipy")
    sample = torch.randn(2_000, generator=G, dtype=torch.float64)
    assert by_fit(-60.0, sample, 10**6).bits == pytest.approx(math.log2(10**6))
    assert by_fit(60.0, sample, 10**6).bits == pytest.approx(0.0, abs=1e-6)
    two = torch.cat([sample - 30, sample + 30])
    assert by_fit(0.0, two[torch.randperm(4_000, generator=G)], 10**6).fit < 1e-6
    assert by_fit(1.0, torch.ones(200), 1000).bits == floor(1000)  # it tells none from another


def test_refused():
    nll = torch.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="not among"):
        by_rank(1.5, nll)
    with pytest.raises(ValueError, match="not finite"):
        by_rank(1.0, torch.tensor([1.0, math.nan]))
    pytest.importorskip("scipy")
    with pytest.raises(ValueError, match="100"):
        by_fit(1.0, nll, 10)


def test_kept():
    assert kept(7.0, 11.0, 1.0) == pytest.approx(0.6)
    assert math.isnan(kept(1.0, 1.0, 1.44))
