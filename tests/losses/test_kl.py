"""Softened and decoupled divergences against independent derivations in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from bequeath.losses.kl import decoupled, kl, soft_targets


def draw(seed: int, batch: int = 6, classes: int = 5) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    z_s = torch.randn(batch, classes, generator=g, dtype=torch.float64) * 3
    z_t = torch.randn(batch, classes, generator=g, dtype=torch.float64) * 3
    y = torch.randint(classes, (batch,), generator=g)
    return z_s, z_t, y


def by_hand(z_s: list[float], z_t: list[float], temperature: float) -> float:
    """sum p_t (log p_t - log p_s), with nothing but `math`."""

    def softmax(z: list[float]) -> list[float]:
        e = [math.exp(v / temperature) for v in z]
        return [v / sum(e) for v in e]

    p_s, p_t = softmax(z_s), softmax(z_t)
    return sum(t * (math.log(t) - math.log(s)) for s, t in zip(p_s, p_t))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_targets_against_plain_arithmetic(temperature: float) -> None:
    z_s, z_t, _ = draw(0)
    expected = [
        temperature**2 * by_hand(s, t, temperature) for s, t in zip(z_s.tolist(), z_t.tolist())
    ]
    got = soft_targets(z_s, z_t, temperature)
    assert got.shape == (6,)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_soft_targets_gradient_is_t_times_difference_of_probabilities() -> None:
    z_s, z_t, _ = draw(1)
    z_s.requires_grad_()
    temperature = 3.0
    soft_targets(z_s, z_t, temperature).sum().backward()
    expected = temperature * (F.softmax(z_s / temperature, 1) - F.softmax(z_t / temperature, 1))
    torch.testing.assert_close(z_s.grad, expected.detach(), rtol=0, atol=1e-12)


def test_large_temperature_is_half_the_squared_distance_of_centred_logits() -> None:
    """Hinton et al., section 2.1: T^2 KL tends to |z_s - z_t|^2 / (2 K) for centred logits."""
    z_s, z_t, _ = draw(2)
    centred = (z_s - z_s.mean(1, keepdim=True)) - (z_t - z_t.mean(1, keepdim=True))
    limit = centred.square().sum(1) / (2 * z_s.shape[1])
    torch.testing.assert_close(soft_targets(z_s, z_t, 1e4), limit, rtol=1e-3, atol=1e-6)


def test_soft_targets_of_a_model_and_itself_is_exactly_zero() -> None:
    z_s, _, _ = draw(3)
    same = z_s.clone().requires_grad_()
    value = soft_targets(same, z_s, 4.0)
    value.sum().backward()
    assert value.abs().max() == 0
    assert same.grad is not None and same.grad.abs().max() < 1e-15


def test_shifting_logits_changes_nothing_and_kl_is_not_negative() -> None:
    z_s, z_t, _ = draw(4)
    a = soft_targets(z_s, z_t, 2.0)
    torch.testing.assert_close(a, soft_targets(z_s + 7, z_t - 3, 2.0), rtol=0, atol=1e-12)
    assert (a > 0).all()


def test_kl_takes_zero_times_log_zero_as_zero() -> None:
    log_p = torch.tensor([[0.0, -math.inf]], dtype=torch.float64)
    log_q = torch.tensor([[math.log(0.5), math.log(0.5)]], dtype=torch.float64)
    assert kl(log_p, log_q).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_decoupled_adds_up_to_the_softened_kl(temperature: float) -> None:
    z_s, z_t, y = draw(5)
    tckd, nckd = decoupled(z_s, z_t, y, temperature)
    p_y = F.softmax(z_t / temperature, 1).gather(1, y[:, None])[:, 0]
    whole = soft_targets(z_s, z_t, temperature)
    torch.testing.assert_close(tckd + (1 - p_y) * nckd, whole, rtol=0, atol=1e-11)


def test_decoupled_parts_against_their_definitions() -> None:
    z_s, z_t, y = draw(6)
    tckd, nckd = decoupled(z_s, z_t, y, 1.0)
    for i in range(len(y)):
        p_s, p_t = F.softmax(z_s[i], 0), F.softmax(z_t[i], 0)
        b_s = torch.stack([p_s[y[i]], 1 - p_s[y[i]]])
        b_t = torch.stack([p_t[y[i]], 1 - p_t[y[i]]])
        rest = [k for k in range(5) if k != y[i]]
        q_s, q_t = p_s[rest] / p_s[rest].sum(), p_t[rest] / p_t[rest].sum()
        assert tckd[i].item() == pytest.approx((b_t * (b_t / b_s).log()).sum().item(), abs=1e-12)
        assert nckd[i].item() == pytest.approx((q_t * (q_t / q_s).log()).sum().item(), abs=1e-12)


def test_decoupled_survives_a_teacher_that_is_quite_sure() -> None:
    z_s = torch.zeros(1, 3, requires_grad=True)
    z_t = torch.tensor([[200.0, 0.0, 1.0]])
    tckd, nckd = decoupled(z_s, z_t, torch.tensor([0]), 1.0)
    (tckd + nckd).sum().backward()
    assert torch.isfinite(tckd).all() and torch.isfinite(nckd).all()
    assert z_s.grad is not None and torch.isfinite(z_s.grad).all()


def test_two_classes_have_no_other_part() -> None:
    z_s, z_t, y = draw(7, classes=2)
    tckd, nckd = decoupled(z_s, z_t, y, 2.0)
    assert nckd.abs().max() == 0
    torch.testing.assert_close(tckd, soft_targets(z_s, z_t, 2.0), rtol=0, atol=1e-11)


def test_gradients_by_finite_differences() -> None:
    z_s, z_t, y = draw(8, batch=3, classes=4)
    z_s.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: soft_targets(z, z_t, 4.0), (z_s,))
    assert torch.autograd.gradcheck(lambda z: decoupled(z, z_t, y, 4.0), (z_s,))
