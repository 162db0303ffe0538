"""Distances between made and real samples, against closed forms and SciPy."""

from __future__ import annotations

import math

import pytest
import torch

from bequeath.metrics.generation import class_entropy, class_gap, frechet, neighbourhoods

F64 = torch.float64


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def whitened(n: int, d: int, seed: int) -> torch.Tensor:
    """Rows whose mean is 0 and covariance 1 exactly."""
    x = drawn(n, d, seed=seed)
    x = x - x.mean(0)
    return torch.linalg.qr(x).Q * (n - 1) ** 0.5


def test_frechet_of_two_gaussians_with_diagonal_covariances():
    """|m - m'|^2 + sum (s - s')^2, exactly."""
    s, other = torch.tensor([0.5, 2.0, 1.0], dtype=F64), torch.tensor([1.5, 0.1, 1.0], dtype=F64)
    m = torch.tensor([1.0, -2.0, 0.0], dtype=F64)
    real, made = whitened(50, 3, 0) * s, whitened(80, 3, 1) * other + m
    expected = float((m**2).sum() + ((s - other) ** 2).sum())
    assert frechet(real, made) == pytest.approx(expected, rel=1e-10)
    assert frechet(made, real) == pytest.approx(expected, rel=1e-10)


def test_frechet_is_that_of_the_matrix_root():
    linalg = pytest.importorskip("scipy.linalg")
    real, made = drawn(60, 5) @ drawn(5, 5, seed=3), drawn(70, 5, seed=1) @ drawn(5, 5, seed=4) + 1
    s, other = real.T.cov(), made.T.cov()
    root = torch.as_tensor(linalg.sqrtm((s @ other).numpy()).real)
    expected = (real.mean(0) - made.mean(0)).square().sum() + (s + other - 2 * root).trace()
    assert frechet(real, made) == pytest.approx(float(expected), rel=1e-8)


def test_frechet_with_fewer_samples_than_features():
    """The covariances have no full rank; padding with constants changes nothing."""
    real, made = drawn(4, 3), drawn(4, 3, seed=1)
    wide = [torch.cat([x, torch.zeros(4, 20, dtype=F64)], 1) for x in (real, made)]
    assert frechet(*wide) == pytest.approx(frechet(real, made), rel=1e-8)


def test_frechet_to_itself_is_nothing_and_is_blind_to_rotation():
    x, y = drawn(40, 6), drawn(40, 6, seed=1) * 2
    assert frechet(x, x) == pytest.approx(0, abs=1e-9)
    turn = torch.linalg.qr(drawn(6, 6, seed=2)).Q
    assert frechet(x @ turn, y @ turn) == pytest.approx(frechet(x, y), rel=1e-10)
    with pytest.raises(ValueError, match="two samples"):
        frechet(x[:1], y)


def test_balls_on_a_line():
    """Real 0, 1, 2, 3, far 10; k = 1: radii 1, 1, 1, 1, 7."""
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0], [10.0]])
    made = torch.tensor([[0.4], [2.5], [-5.0], [30.0]])
    found = neighbourhoods(real, made, k=1)
    # 0.4 is held by 0 and 1; 2.5 by 2 and 3; both are nearer to 10 than never (7.5 > 7)
    assert found.density.tolist() == [2.0, 2.0, 0.0, 0.0]
    assert found.precision.tolist() == [1.0, 1.0, 0.0, 0.0]
    assert found.coverage.tolist() == [1.0, 1.0, 1.0, 1.0, 0.0]
    # made radii: 2.1, 2.1, 5.4, 27.5; all but none of the real ones lie within one
    assert found.recall.tolist() == [1.0, 1.0, 1.0, 1.0, 1.0]


def test_a_generator_of_one_sample_is_precise_and_recalls_nothing():
    real = drawn(100, 2)
    found = neighbourhoods(real, real[:1] + 1e-3 * drawn(100, 2, seed=1), k=5)
    assert float(found.precision.mean()) == 1.0
    assert float(found.recall.mean()) < 0.05 and float(found.coverage.mean()) < 0.2


def test_the_same_samples_are_all_there():
    x = drawn(60, 3)
    found = neighbourhoods(x, x, k=3)
    assert all(bool((one == 1).all()) for one in (found.precision, found.recall, found.coverage))


def test_equal_distributions_have_the_coverage_that_theory_says():
    """1 - prod (N - i) / (2 N - i) over i < k, about 1 - 2^-k, for equal numbers (Naeem et al.)."""
    n, k = 600, 3
    found = neighbourhoods(drawn(n, 2), drawn(n, 2, seed=1), k=k)
    # the chance that none of M made samples is among a real one's k nearest of all 2 N - 1
    missed = math.prod((n - 1 - i) / (2 * n - 1 - i) for i in range(k))
    assert float(found.coverage.mean()) == pytest.approx(1 - missed, abs=0.04)
    assert float(found.density.mean()) == pytest.approx(1.0, abs=0.08)


def test_balls_do_not_depend_on_the_chunks(monkeypatch):
    from bequeath.metrics import generation

    real, made = drawn(50, 3), drawn(40, 3, seed=1)
    whole = neighbourhoods(real, made)
    monkeypatch.setattr(generation, "CHUNK", 7)
    parts = neighbourhoods(real, made)
    for name in ("precision", "recall", "density", "coverage"):
        assert torch.equal(getattr(whole, name), getattr(parts, name))


@pytest.mark.parametrize("k", [0, 5])
def test_too_few_for_neighbours(k):
    with pytest.raises(ValueError, match="below both"):
        neighbourhoods(drawn(5, 2), drawn(9, 2), k=k)


def test_entropy_of_classes():
    even = torch.eye(4, dtype=F64)
    assert class_entropy(even) == pytest.approx(1.0)
    assert class_entropy(even[:1].repeat(5, 1)) == 0.0
    assert class_entropy(even[:2]) == pytest.approx(0.5)


def test_gap_of_classes():
    real, made = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 2])
    assert class_gap(real, made) == pytest.approx(0.5)
    assert class_gap(real, real.flip(0)) == 0.0
    assert class_gap(real, torch.tensor([3])) == 1.0
