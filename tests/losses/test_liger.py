"""When the kernels of liger-kernel stand in for ours, and that they agree where there is a GPU."""

from __future__ import annotations

import pytest
import torch

from bequeath.blocks.next_words import Weights
from bequeath.losses import liger
from bequeath.losses.divergence import Divergence, top_k
from bequeath.losses.vocabulary import Projected, fused


class OnGpu(torch.Tensor):
    """A tensor that says it is on a GPU."""

    is_cuda = True


def said(bias: bool = False, dtype: torch.dtype = torch.float32, words: int = 9) -> Projected:
    hidden = torch.randn(4, 3).to(dtype).as_subclass(OnGpu)
    return Projected(hidden, torch.randn(words, 3).to(dtype), torch.randn(words) if bias else None)


FORWARD, PLAIN = Divergence("forward"), Weights(soft=1.0)


def fits(student=None, teacher=None, measure=FORWARD, weights=PLAIN):
    return liger.fits_liger(student or said(), teacher or said(), measure, weights)


def test_it_is_used_where_it_means_the_same_and_nowhere_else(monkeypatch):
    monkeypatch.setattr(liger, "has_liger", lambda: True)
    assert fits() and fits(measure=Divergence("reverse")) and fits(measure=Divergence("jsd", 0.3))
    assert liger.liger_beta(Divergence("forward")) == 0
    assert liger.liger_beta(Divergence("reverse")) == 1
    assert liger.liger_beta(Divergence("jsd", 0.3)) == 0.3
    assert not fits(measure=Divergence("skew", 0.1))
    assert not fits(measure=Divergence("uld"))
    assert not fits(student=said(bias=True)) and not fits(teacher=said(bias=True))
    assert not fits(teacher=top_k(torch.randn(4, 9), 2))
    assert not fits(teacher=said(words=8))
    assert not fits(teacher=said(dtype=torch.bfloat16))
    assert not fits(weights=Weights(soft=1.0, hard=0.5))
    assert not fits(weights=Weights(soft=1.0, soft_rows=torch.ones(4)))
    assert not fits(student=Projected(torch.randn(4, 3), torch.randn(9, 3)))  # on the CPU


def test_it_is_not_used_where_it_is_not_installed(monkeypatch):
    monkeypatch.setattr(liger, "has_liger", lambda: False)
    assert not fits()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.skipif(not liger.has_liger(), reason="needs liger-kernel")
@pytest.mark.parametrize(("kind", "amount"), [("forward", 0), ("reverse", 0), ("jsd", 0.3)])
def test_it_agrees_on_a_gpu(kind, amount):
    torch.manual_seed(0)
    inputs = [torch.randn(64, 32, device="cuda"), torch.randn(500, 32, device="cuda")]
    teacher = Projected(torch.randn(64, 48, device="cuda"), torch.randn(500, 48, device="cuda"))
    measure, T = Divergence(kind, amount), 2.0
    both = []
    for which in ("ours", "theirs"):
        hidden, weight = (t.clone().requires_grad_() for t in inputs)
        student = Projected(hidden, weight)
        if which == "ours":
            value, _ = fused(student, teacher, measure, temperature=T)
        else:
            value = liger.liger_divergence(student, teacher, measure, T)
        both.append((value.detach(), *torch.autograd.grad(value, (hidden, weight))))
    for one, other in zip(*both):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
