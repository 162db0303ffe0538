"""Divergences and their slopes, against their definitions and autograd in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bequeath.losses.divergence import LEAST, Divergence, TopK, dense, rest_of, top_k

KINDS = [
    ("forward", 0.0),
    ("reverse", 0.0),
    ("jsd", 0.3),
    ("skew", 0.1),
    ("skew_reverse", 0.1),
    ("uld", 0.0),
]
every_kind = pytest.mark.parametrize(("kind", "amount"), KINDS, ids=[k for k, _ in KINDS])


def logits(seed: int, rows: int = 6, words: int = 9) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, words, generator=g, dtype=torch.float64) * 3


def kl(a: Tensor, b: Tensor) -> Tensor:
    return (a * (a / b).log()).sum(1)


def by_definition(kind: str, a: float, z_s: Tensor, z_t: Tensor, T: float = 1.0) -> Tensor:
    """From probabilities, as the papers write it; differentiated by autograd."""
    q, p = (z_s / T).softmax(1), (z_t / T).softmax(1)
    found = {
        "forward": lambda: kl(p, q),
        "reverse": lambda: kl(q, p),
        "jsd": lambda: a * kl(p, a * p + (1 - a) * q) + (1 - a) * kl(q, a * p + (1 - a) * q),
        "skew": lambda: kl(p, a * p + (1 - a) * q),
        "skew_reverse": lambda: kl(q, (1 - a) * p + a * q),
        "uld": lambda: (p.sort(1).values - q.sort(1).values).abs().sum(1),
    }
    return T**2 * found[kind]()


@every_kind
@pytest.mark.parametrize("T", [1.0, 2.5])
def test_value_and_gradient_against_the_definition(kind, amount, T):
    z_s, z_t = logits(0).requires_grad_(), logits(1)
    weights = torch.arange(1.0, 7.0, dtype=torch.float64)
    mine = dense(z_s, z_t, Divergence(kind, amount), T)
    theirs = by_definition(kind, amount, z_s, z_t, T)
    torch.testing.assert_close(mine, theirs.detach(), rtol=0, atol=1e-12)
    (g,) = torch.autograd.grad((mine * weights).sum(), z_s)
    (h,) = torch.autograd.grad((theirs * weights).sum(), z_s)
    torch.testing.assert_close(g, h, rtol=0, atol=1e-12)


@every_kind
def test_gradcheck(kind, amount):
    z_s, z_t = logits(2, 3, 5).requires_grad_(), logits(3, 3, 5)
    measure = Divergence(kind, amount)
    assert torch.autograd.gradcheck(lambda z: dense(z, z_t, measure, 1.7), z_s)


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_and_itself_are_exactly_zero_apart_and_stay_so(kind, amount, dtype):
    z = logits(4, 20, 50).to(dtype)
    student = z.clone().requires_grad_()
    value = dense(student, z, Divergence(kind, amount), 2.0)
    value.sum().backward()
    assert value.abs().max() == 0
    assert student.grad is not None and student.grad.abs().max() == 0


def test_known_relations():
    z_s, z_t = logits(5), logits(6)

    def of(kind, amount=0.0):
        return dense(z_s, z_t, Divergence(kind, amount))

    assert torch.equal(of("skew", 0.0), of("forward"))
    assert torch.equal(of("skew_reverse", 0.0), of("reverse"))
    other = dense(z_t, z_s, Divergence("jsd", 0.5))
    torch.testing.assert_close(of("jsd", 0.5), other, rtol=0, atol=1e-12)
    assert (of("jsd", 0.5) < math.log(2)).all() and (of("jsd", 0.5) > 0).all()
    z_s, z_t, near = z_s / 3, z_t / 3, 1e-6  # the limits need b p / q to be small
    torch.testing.assert_close(of("jsd", near) / near, of("forward"), rtol=1e-4, atol=0)
    torch.testing.assert_close(of("jsd", 1 - near) / near, of("reverse"), rtol=1e-3, atol=1e-4)


def test_the_sorted_distance_knows_no_names_and_pads_the_shorter():
    z_s, z_t = logits(7), logits(8)
    uld = Divergence("uld")
    torch.testing.assert_close(
        dense(z_s, z_t[:, torch.randperm(9)], uld), dense(z_s, z_t, uld), rtol=0, atol=1e-14
    )
    short, long = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0, 0.0]])
    assert dense(short, long, uld).item() == pytest.approx(1.0)  # 2 (1/2 - 1/4) + 2 / 4
    assert dense(long, short, uld).item() == pytest.approx(1.0)


@every_kind
def test_nothing_overflows_where_the_two_are_far_apart(kind, amount):
    z_s = torch.tensor([[500.0, 0.0, -500.0], [0.0, 80.0, 0.0]], requires_grad=True)
    z_t = torch.tensor([[-500.0, 0.0, 500.0], [90.0, 0.0, 0.0]])
    value = dense(z_s, z_t, Divergence(kind, amount))
    value.sum().backward()
    assert value.isfinite().all() and z_s.grad is not None and z_s.grad.isfinite().all()


@pytest.mark.parametrize(("kind", "amount"), [k for k in KINDS if k[0] != "uld"])
def test_of_the_likeliest_words_it_is_that_between_k_plus_one_bins(kind, amount):
    z_s, z_t = logits(9).requires_grad_(), logits(10)
    most = top_k(z_t, 3)
    measure = Divergence(kind, amount)
    mine = dense(z_s, most, measure)

    def bins(z):
        p = z.softmax(1)
        chosen = p.gather(1, most.index)
        return torch.cat([chosen, 1 - chosen.sum(1, keepdim=True)], 1).log()

    theirs = by_definition(kind, amount, bins(z_s), bins(z_t))
    torch.testing.assert_close(mine, theirs.detach(), rtol=0, atol=1e-11)
    (g,) = torch.autograd.grad(mine.sum(), z_s)
    (h,) = torch.autograd.grad(theirs.sum(), z_s)
    torch.testing.assert_close(g, h, rtol=0, atol=1e-10)
    whole = by_definition(kind, amount, z_s, z_t).detach()
    assert (mine.detach() <= whole + 1e-12).all()  # what is thrown together cannot be told apart


def test_the_rest_told_from_one_is_that_summed_over_the_others():
    most = top_k(logits(11), 4)
    torch.testing.assert_close(rest_of(most.log_p), most.log_rest, rtol=1e-9, atol=1e-12)
    sure = torch.zeros(1, 2).log_softmax(1)  # 0.5 and 0.5: nothing is left
    assert rest_of(sure).item() <= -15
    alone = TopK(torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.long), torch.tensor([LEAST]))
    student = torch.randn(1, 5, requires_grad=True)
    value = dense(student, alone, Divergence("reverse"))
    value.sum().backward()
    assert value.isfinite().all() and student.grad is not None and student.grad.isfinite().all()


def test_bad_amounts_are_refused():
    for kind, amount in [("jsd", 0.0), ("jsd", 1.0), ("skew", 1.0), ("skew_reverse", -0.1)]:
        with pytest.raises(ValueError, match="skew is in"):
            Divergence(kind, amount)
    with pytest.raises(ValueError, match="softened or sorted"):
        dense(logits(12), top_k(logits(13), 2), Divergence("forward"), 2.0)
