"""Head and loss in chunks: right, and never a tensor of tokens x vocabulary."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bequeath.losses.divergence import Divergence, dense, top_k
from bequeath.losses.vocabulary import Projected, fused, log_prob

N, D, V, T = 7, 4, 11, 2.0
KINDS = [("forward", 0.0), ("reverse", 0.0), ("jsd", 0.3), ("skew", 0.1), ("skew_reverse", 0.1)]


def drawn(dtype=torch.float64, n=N, v=V):
    g = torch.Generator().manual_seed(0)

    def one(*shape):
        return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)

    inputs = [one(n, D).requires_grad_(), one(v, D).requires_grad_(), one(v).requires_grad_()]
    return inputs, Projected(one(n, 6), one(v, 6)), torch.randint(v, (n,), generator=g)


def densely(inputs, teacher, y, measure, soft, hard, soft_rows=1.0, hard_rows=1.0):
    hidden, weight, bias = inputs
    z = hidden @ weight.T + bias
    told = teacher.hidden @ teacher.weight.T
    first = (dense(z, told, measure, T) * soft_rows).sum()
    second = (F.cross_entropy(z, y, reduction="none") * hard_rows).sum()
    return soft * first + hard * second


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize(("kind", "amount"), KINDS)
def test_loss_and_gradients_are_those_of_all_logits_at_once(kind, amount, chunk):
    inputs, teacher, y = drawn()
    measure = Divergence(kind, amount)
    soft, hard = fused(
        Projected(*inputs), teacher, measure, temperature=T, y=y, soft=0.7, hard=0.3, chunk=chunk
    )
    mine = 0.7 * soft + 0.3 * hard
    theirs = densely(inputs, teacher, y, measure, 0.7, 0.3)
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    g, h = torch.autograd.grad(mine, inputs), torch.autograd.grad(theirs, inputs)
    for one, other in zip(g, h):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_gradcheck_of_each_sum():
    inputs, teacher, y = drawn(n=3, v=5)
    measure = Divergence("jsd", 0.4)

    def both(*tensors):
        return fused(Projected(*tensors), teacher, measure, y=y, soft=1.0, hard=0.5, chunk=2)

    assert torch.autograd.gradcheck(both, tuple(inputs))


def test_other_weights_than_announced_are_right_too_and_twice_as_well():
    inputs, teacher, y = drawn()
    measure = Divergence("forward")
    soft, hard = fused(Projected(*inputs), teacher, measure, temperature=T, y=y, soft=1, hard=1)
    for a, b in [(2.0, 2.0), (1.0, 0.0), (0.0, 1.0), (0.2, 0.9)]:
        g = torch.autograd.grad(a * soft + b * hard, inputs, retain_graph=True)
        h = torch.autograd.grad(densely(inputs, teacher, y, measure, a, b), inputs)
        for one, other in zip(g, h):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_rows_have_weights_and_what_weighs_nothing_is_ignored():
    inputs, teacher, y = drawn()
    w, u = torch.tensor([1.0, 0.5, 0, 2, 0, 1, 3]), torch.tensor([0, 1.0, 1, 0, -2, 1, 1])
    measure = Divergence("reverse")
    theirs = densely(inputs, teacher, y, measure, 1.0, 1.0, w, u)
    broken = Projected(teacher.hidden.clone(), teacher.weight)
    broken.hidden[w == 0] = math.nan
    soft, hard = fused(
        Projected(*inputs), broken, measure, temperature=T, y=y, hard=1.0,
        soft_rows=w, hard_rows=u, chunk=2,
    )  # fmt: skip
    torch.testing.assert_close(soft + hard, theirs, rtol=0, atol=1e-11)
    g, h = torch.autograd.grad(soft + hard, inputs), torch.autograd.grad(theirs, inputs)
    for one, other in zip(g, h):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("kind", "amount"), KINDS)
def test_a_model_and_itself_are_exactly_zero_apart(kind, amount):
    inputs, _, _ = drawn(torch.float32)
    itself = Projected(*(t.detach() for t in inputs))
    soft, _ = fused(Projected(*inputs), itself, Divergence(kind, amount), temperature=T, chunk=2)
    assert soft.item() == 0
    assert all(g.abs().max() == 0 for g in torch.autograd.grad(soft, inputs))


def test_a_sparse_teacher_and_no_teacher():
    inputs, teacher, y = drawn()
    z = inputs[0] @ inputs[1].T + inputs[2]
    most = top_k(teacher[:], 4)
    soft, _ = fused(Projected(*inputs), most, Divergence("forward"), chunk=3)
    direct = dense(z, most, Divergence("forward")).sum()
    torch.testing.assert_close(soft, direct, atol=1e-12, rtol=0)
    _, hard = fused(Projected(*inputs), None, None, y=y, soft=0.0, hard=1.0, chunk=3)
    torch.testing.assert_close(hard, F.cross_entropy(z, y, reduction="sum"), atol=1e-12, rtol=0)
    with pytest.raises(ValueError, match="needs a teacher"):
        fused(Projected(*inputs), None, None)
    with pytest.raises(ValueError, match="right words"):
        fused(Projected(*inputs), most, Divergence("forward"), hard=1.0)


def test_in_bfloat16_it_is_the_same_within_its_rounding():
    inputs, teacher, y = drawn(torch.float32, n=40, v=60)
    measure = Divergence("jsd", 0.5)
    half = [t.detach().bfloat16().requires_grad_() for t in inputs]
    less = Projected(teacher.hidden.bfloat16(), teacher.weight.bfloat16())
    full = sum(fused(Projected(*inputs), teacher, measure, y=y, hard=1.0, chunk=16))
    rough = sum(fused(Projected(*half), less, measure, y=y, hard=1.0, chunk=16))
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, full, rtol=2e-2, atol=0)
    g, h = torch.autograd.grad(rough, half), torch.autograd.grad(full, inputs)
    for one, other in zip(g, h):
        assert one.dtype == torch.bfloat16
        assert F.cosine_similarity(one.float().flatten(), other.flatten(), 0) > 0.999


def test_autocast_computes_products_in_its_type_and_keeps_float32_gradients():
    inputs, teacher, _ = drawn(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        soft, _ = fused(Projected(*inputs), teacher, Divergence("forward"), chunk=3)
    plain, _ = fused(Projected(*inputs), teacher, Divergence("forward"), chunk=3)
    assert soft.dtype == torch.float32 and soft.item() != plain.item()
    torch.testing.assert_close(soft, plain, rtol=5e-2, atol=0)
    assert all(g.dtype == torch.float32 for g in torch.autograd.grad(soft, inputs))


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor has that any operation returns."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.numbers = max(self.numbers, leaf.numel())
        return out


@pytest.mark.parametrize("sparse", [False, True])
def test_no_tensor_of_tokens_times_vocabulary_is_ever_there(sparse):
    inputs, teacher, y = drawn(torch.float32, n=64, v=1000)
    told = top_k(teacher[:], 8) if sparse else teacher
    with Largest() as seen:
        soft, hard = fused(Projected(*inputs), told, Divergence("jsd", 0.5), y=y, hard=1, chunk=8)
        (soft + hard).backward()
    assert seen.numbers == 8 * 1000
    with Largest() as seen:
        densely(inputs, teacher, y, Divergence("jsd", 0.5), 1.0, 1.0).backward()
    assert seen.numbers == 64 * 1000  # the watch sees such a tensor where there is one


def test_log_prob_of_words_in_chunks():
    _, teacher, y = drawn()
    direct = (teacher[:] / T).log_softmax(1).gather(1, y[:, None])[:, 0]
    torch.testing.assert_close(log_prob(teacher, y, T, chunk=2), direct, rtol=0, atol=1e-13)
