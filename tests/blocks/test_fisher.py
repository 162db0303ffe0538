"""Diagonal Fisher information against its closed form for a softmax line."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bequeath.blocks.fisher import Anchor, diagonal_fisher


def line(n: int = 12):
    g = torch.Generator().manual_seed(0)
    w = nn.Parameter(torch.randn(3, 4, generator=g).double())
    x = torch.randn(n, 4, generator=g).double()
    y = torch.randint(3, (n,), generator=g)
    return w, x, y


def log_p(w):
    return lambda batch: (batch["x"] @ w.T).log_softmax(1)


def batches(x, y, size):
    return [{"x": a, "y": b} for a, b in zip(x.split(size), y.split(size))]


def test_labels_is_the_mean_square_of_single_gradients():
    w, x, y = line()
    found = diagonal_fisher({"w": w}, log_p(w), batches(x, y, 5), estimate="labels")["w"]
    p = (x @ w.detach().T).softmax(1)
    d = nn.functional.one_hot(y, 3) - p  # d log p(y) / dz
    expected = (d[:, :, None] * x[:, None, :]).square().mean(0)
    assert torch.allclose(found, expected, rtol=1e-12)


def test_sampled_tends_to_the_fisher_information():
    """E_y over p(y | x) is p_k (1 - p_k) x^2 on the diagonal."""
    w, x, _ = line(1)
    many = x.expand(3000, 4)
    data = batches(many, torch.zeros(3000, dtype=torch.int64), 20)
    g = torch.Generator().manual_seed(1)
    found = diagonal_fisher({"w": w}, log_p(w), data, generator=g)["w"]
    p = (x @ w.detach().T).softmax(1)[0]
    expected = (p * (1 - p))[:, None] * x.square()
    assert torch.allclose(found, expected, rtol=0.15)


def test_batch_is_the_square_of_the_mean():
    w, x, y = line()
    found = diagonal_fisher({"w": w}, log_p(w), batches(x, y, 6), estimate="batch")["w"]
    p = (x @ w.detach().T).softmax(1)
    each = (nn.functional.one_hot(y, 3) - p)[:, :, None] * x[:, None, :]
    expected = torch.stack([each[:6].mean(0).square(), each[6:].mean(0).square()]).mean(0)
    assert torch.allclose(found, expected, rtol=1e-12)


def test_classes_out_of_scope_do_not_count():
    w, x, y = line()
    allowed = torch.tensor([True, True, False])

    def masked(batch):
        return (batch["x"] @ w.T).masked_fill(~allowed, -torch.inf).log_softmax(1)

    g = torch.Generator().manual_seed(0)
    found = diagonal_fisher({"w": w}, masked, batches(x, y, 4), generator=g)["w"]
    assert bool(found.isfinite().all()) and not found[2].any() and bool(found[:2].any())


def test_anchor():
    a = nn.Parameter(torch.tensor([1.0, 2.0]))
    anchor = Anchor({"a": a}, decay=0.5)
    with pytest.raises(LookupError):
        anchor.penalty()
    anchor.move({"a": torch.tensor([1.0, 0.0])})
    anchor.move({"a": torch.tensor([0.0, 4.0])})
    assert anchor.fisher["a"].tolist() == [0.5, 4.0] and float(anchor.penalty().detach()) == 0
    with torch.no_grad():
        a += torch.tensor([2.0, 1.0])
    assert float(anchor.penalty().detach()) == 0.5 * 4 + 4.0
    with pytest.raises(ValueError, match="no samples"):
        diagonal_fisher({"a": a}, lambda b: b, [])
