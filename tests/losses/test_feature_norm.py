"""The ND loss and its ablations: the exact properties the paper's formula has."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from bequeath.losses.feature_norm import (
    direction_only,
    norm_and_direction,
    squared_distance,
    stepwise_larger_norm,
)


def unit(seed: int, batch: int = 4, width: int = 7) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(batch, width, generator=g, dtype=torch.float64), dim=1)


def test_against_a_loop_over_samples() -> None:
    e, f_s, f_t = unit(0), 3 * unit(1), 5 * unit(2)
    f_s[0] *= 9  # one sample in each regime
    loop = [
        1 - (f_s[i] @ e[i]) / max(f_s[i].square().sum() ** 0.5, f_t[i].square().sum() ** 0.5)
        for i in range(4)
    ]
    torch.testing.assert_close(norm_and_direction(f_s, f_t, e), torch.stack(loop))


def test_zero_for_a_feature_along_the_class_and_at_least_as_long_as_the_teacher() -> None:
    e, f_t = unit(0), 2 * unit(1)
    for length in (2.0, 3.5):
        assert norm_and_direction(length * e, f_t, e).abs().max() < 1e-12
    assert norm_and_direction(1.0 * e, f_t, e).min() > 0.4


def test_short_features_are_pulled_along_the_class() -> None:
    e, f_t = unit(0), 5 * unit(1)
    f_s = unit(2).requires_grad_()
    norm_and_direction(f_s, f_t, e).sum().backward()
    torch.testing.assert_close(f_s.grad, -e / 5)


def test_long_features_are_only_turned() -> None:
    e, f_t = unit(0), 2 * unit(1)
    f_s = (5 * unit(2)).requires_grad_()
    loss = norm_and_direction(f_s, f_t, e)
    torch.testing.assert_close(loss, direction_only(f_s, e))
    loss.sum().backward()
    assert f_s.grad is not None
    assert (f_s.grad * f_s).sum(dim=1).abs().max() < 1e-12


def test_scale_matters_only_for_short_features() -> None:
    e, f_t, f_s = unit(0), 4 * unit(1), unit(2)
    long = norm_and_direction(8 * f_s, f_t, e)
    torch.testing.assert_close(long, norm_and_direction(80 * f_s, f_t, e))
    short = norm_and_direction(f_s, f_t, e)
    assert (short - norm_and_direction(2 * f_s, f_t, e)).abs().min() > 1e-4


def test_the_longer_of_the_two_is_taken_sample_by_sample() -> None:
    e, f_s, f_t = unit(0), unit(1), 2 * unit(2)
    alone = norm_and_direction(f_s[:1], f_t[:1], e[:1])
    f_t[1:] *= 100
    torch.testing.assert_close(norm_and_direction(f_s, f_t, e)[:1], alone)


def test_range_and_a_zero_feature() -> None:
    e = unit(0)
    assert norm_and_direction(-e, e, e).max().item() == 2
    zero = torch.zeros_like(e).requires_grad_()
    norm_and_direction(zero, e, e).sum().backward()
    assert zero.grad is not None and torch.isfinite(zero.grad).all()


def test_gradients_by_finite_differences() -> None:
    e, f_t = unit(0), 3 * unit(1)
    for scale in (1.0, 6.0):
        f_s = (scale * unit(2)).requires_grad_()
        assert torch.autograd.gradcheck(lambda f: norm_and_direction(f, f_t, e), (f_s,))


def test_norm_ablation_pushes_outwards_by_its_step() -> None:
    f_s = (3 * unit(3)).requires_grad_()
    loss = stepwise_larger_norm(f_s, 0.5)
    torch.testing.assert_close(loss, torch.full((4,), 0.25, dtype=torch.float64))
    loss.sum().backward()
    torch.testing.assert_close(f_s.grad, -2 * 0.5 * f_s.detach() / 3)


def test_l2_ablation_is_the_mean_square() -> None:
    f_s, f_t = unit(0), unit(1)
    expected = ((f_s - f_t) ** 2).sum(1) / 7
    torch.testing.assert_close(squared_distance(f_s, f_t), expected)
