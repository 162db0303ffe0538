"""Entropy losses in float64 beside their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from bequeath.losses.entropy import (
    entropy,
    marginal_entropy,
    normalised_entropy,
    soft_cross_entropy,
)

Z = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_entropy_is_that_of_torch():
    torch.testing.assert_close(entropy(Z), torch.distributions.Categorical(logits=Z).entropy())
    assert gradcheck(entropy, Z.clone().requires_grad_())


def test_ends():
    flat, sure = torch.zeros(1, 7), torch.tensor([[0.0, 200.0, 0.0]])
    assert float(normalised_entropy(flat)) == pytest.approx(1)
    assert float(entropy(flat)) == pytest.approx(math.log(7))
    assert float(entropy(sure)) == 0.0
    grad = torch.autograd.grad(entropy(sure.requires_grad_()).sum(), sure)[0]
    assert bool(grad.isfinite().all())


def test_marginal_entropy():
    p = Z.softmax(1).mean(0)
    torch.testing.assert_close(marginal_entropy(Z), -(p * p.log()).sum())
    diverse = torch.eye(4).mul(100.0)
    assert float(marginal_entropy(diverse)) == pytest.approx(math.log(4))
    assert float(marginal_entropy(diverse[:1])) == pytest.approx(0, abs=1e-6)
    assert gradcheck(marginal_entropy, Z.clone().requires_grad_())


def test_soft_cross_entropy_with_one_hot_rows_is_cross_entropy():
    y = torch.tensor([0, 1, 2, 3, 4, 0])
    hot = F.one_hot(y, 5).double()
    torch.testing.assert_close(soft_cross_entropy(Z, hot), F.cross_entropy(Z, y, reduction="none"))
    torch.testing.assert_close(soft_cross_entropy(Z, Z.softmax(1)), entropy(Z))


def test_eps_is_inside_the_logarithm_and_bounds_a_term():
    t = Z.flip(0).softmax(1)
    wanted = -(t * (Z.softmax(1) + 1e-5).log()).sum(1)
    torch.testing.assert_close(soft_cross_entropy(Z, t, 1e-5), wanted)
    worst = soft_cross_entropy(torch.tensor([[0.0, 1000.0]]), torch.tensor([[1.0, 0.0]]), 1e-5)
    assert float(worst) == pytest.approx(-math.log(1e-5))


def test_no_gradient_passes_through_the_targets():
    t = Z.softmax(1).clone().requires_grad_()
    z = Z.clone().requires_grad_()
    soft_cross_entropy(z, t).sum().backward()
    assert t.grad is None
    torch.testing.assert_close(z.grad, Z.softmax(1) - t)
