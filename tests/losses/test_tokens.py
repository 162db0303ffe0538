"""Soft targets with a temperature and noise of each token's own."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from bequeath.losses.kl import soft_targets
from bequeath.losses.tokens import draw_noise, noisy, soft_targets_at, temperature

G = torch.Generator().manual_seed(0)
Z_S, Z_T = torch.randn(7, 5, generator=G), torch.randn(7, 5, generator=G)


@pytest.mark.parametrize("T", [1.0, 2.0, 3.3, 4.0, 7.7])
def test_one_temperature_for_all_is_plain_distillation_to_the_last_bit(T):
    student = Z_S.clone().requires_grad_()
    other = Z_S.clone().requires_grad_()
    tau = torch.full((7,), T, dtype=torch.float64)
    mine, plain = soft_targets_at(student, Z_T, tau, tau), soft_targets(other, Z_T, T)
    assert torch.equal(mine, plain)
    mine.sum().backward()
    plain.sum().backward()
    assert torch.equal(student.grad, other.grad)


def test_the_square_of_the_temperature_is_each_tokens_own():
    tau = torch.tensor([1.0, 2.0, 10.0], dtype=torch.float64)
    tau_s = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)
    found = soft_targets_at(Z_S[:3].double(), Z_T[:3].double(), tau, tau_s)
    for i in range(3):  # row by row, by the definition
        q = (Z_T[i].double() / tau[i]).softmax(0)
        log_s = (Z_S[i].double() / tau_s[i]).log_softmax(0)
        assert float(found[i]) == pytest.approx(
            float(tau_s[i] ** 2 * (q * (q.log() - log_s)).sum())
        )


def test_gradient_keeps_its_size_when_a_token_gets_hot():
    """With matching temperatures tau^2 KL goes to |z_T - z_S|^2 / 2K: logits are compared."""
    z_s, z_t = Z_S.double() - Z_S.double().mean(1, True), Z_T.double() - Z_T.double().mean(1, True)
    tau = torch.full((7,), 1e4, dtype=torch.float64)
    found = soft_targets_at(z_s, z_t, tau, tau)
    assert torch.allclose(found, (z_s - z_t).square().sum(1) / 10, rtol=1e-3)


def test_a_target_without_end_of_heat_is_even():
    tau, one = torch.full((7,), 1e6, dtype=torch.float64), torch.ones(7, dtype=torch.float64)
    found = soft_targets_at(Z_S.double(), Z_T.double(), tau, one)
    even = F.kl_div(
        Z_S.double().log_softmax(1), torch.full((7, 5), 0.2, dtype=torch.float64), reduction="none"
    )
    assert torch.allclose(found, even.sum(1), atol=1e-5)


def test_noise_is_cut_at_zero_and_brought_back_to_one():
    p = torch.tensor([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]])
    noise = torch.tensor([[0.0, -0.3, 0.2], [-1.0, -1.0, -1.0]])
    q = noisy(p, noise)
    assert torch.allclose(q[0], torch.tensor([0.7, 0.0, 0.3]))
    assert torch.allclose(q[1], torch.full((3,), 1 / 3))  # nothing was left of it


def test_a_target_with_zeros_has_a_finite_loss_and_gradient():
    student = Z_S.clone().requires_grad_()
    tau = torch.ones(7, dtype=torch.float64)
    loss = soft_targets_at(student, Z_T, tau, tau, noise=torch.full((7, 5), -0.3))
    loss.sum().backward()
    assert bool(loss.isfinite().all()) and bool(student.grad.isfinite().all())
    assert bool((loss >= 0).all())


@pytest.mark.parametrize(("kind", "variance"), [("laplace", 2 * 0.3**2), ("normal", 0.3**2)])
def test_noise_has_the_scale_it_says(kind, variance):
    drawn = draw_noise(kind, (400, 100), 0.3, torch.Generator().manual_seed(1)).double()
    assert abs(float(drawn.mean())) < 0.01
    assert float(drawn.var()) == pytest.approx(variance, rel=0.05)
    kurtosis = float((drawn / drawn.std()).pow(4).mean())
    assert kurtosis == pytest.approx(6.0 if kind == "laplace" else 3.0, rel=0.1)


def test_the_map_from_private_to_hot():
    rho = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    assert temperature(rho, 2.0, 18.0, "linear", 0.5).tolist() == [2.0, 10.0, 18.0]
    assert temperature(rho, 2.0, 18.0, "exponential", 0.5).tolist() == pytest.approx([2, 6, 18])
    assert temperature(rho, 2.0, 18.0, "step", 0.5).tolist() == [2.0, 18.0, 18.0]
    assert temperature(rho, 2.0, 18.0, "step", 0.6).tolist() == [2.0, 2.0, 18.0]
    assert math.isclose(float(temperature(rho, 3.3, 9.0, "linear", 0.5)[0]), 3.3, abs_tol=0)
