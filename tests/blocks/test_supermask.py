"""Top-k masks with a straight-through gradient, and weights that no optimizer can reach."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from bequeath.blocks.supermask import (
    Masked,
    kept,
    plain_start,
    random_scores,
    signed_constants,
    straight_through_top_k,
    top_k,
)
from bequeath.kernel.errors import RunError


def rng(layer: int) -> torch.Generator:
    return torch.Generator().manual_seed(layer)


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("density", [0.04, 0.1, 0.29, 0.5, 1.0])
@pytest.mark.parametrize("n", [1, 7, 10, 30, 100, 235_200])
def test_density_is_exact(n: int, density: float):
    values = torch.rand(n, generator=rng(n))
    # the smallest floor((1 - k) n) are zero; the product rounded as kept() does
    zeros = math.floor(round((1 - density) * n, 6))
    assert int(top_k(values, kept(density, n)).sum()) == max(1, n - zeros)


def test_the_largest_are_kept_and_ties_go_to_the_first():
    values = torch.tensor([[3.0, 1.0, 2.0], [2.0, 2.0, 0.0]])
    assert top_k(values, 3).tolist() == [[True, False, True], [True, False, False]]
    assert top_k(torch.zeros(5), 2).tolist() == [True, True, False, False, False]
    with pytest.raises(ValueError, match=r"k must lie in 1\.\.5"):
        top_k(torch.zeros(5), 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_agrees_with_a_sort(dtype: torch.dtype):
    values = torch.randn(500, generator=rng(1)).to(dtype)
    order = values.double().argsort(descending=True, stable=True)
    expected = torch.zeros(500, dtype=torch.bool)
    expected[order[:37]] = True
    assert torch.equal(top_k(values, 37), expected)


def test_straight_through_gradient():
    """dL/dS = sign(S) W dL/d(W M), also where the mask is 0; derived here by hand for a line."""
    w, s = (torch.randn(3, 4, generator=rng(i)).double() for i in (2, 3))
    x, g = (torch.randn(5, n, generator=rng(n)).double() for n in (4, 3))
    scores = s.clone().requires_grad_(True)
    (x @ (w * straight_through_top_k(scores, 5)).T * g).sum().backward()
    assert torch.equal(scores.grad, s.sign() * (w * (g.T @ x)))


def test_forward_keeps_the_masked_weights_only():
    net = small().double()
    masked = Masked(net, 0.25)
    plain = {name: w.clone() for name, w in masked.weights().items()}
    masked.set_scores(random_scores(masked, rng))
    masks = masked.fix()
    assert {n: int(m.sum()) for n, m in masks.items()} == {"0.weight": 12, "3.weight": 6}
    assert torch.equal(net[0].weight, plain["0.weight"] * masks["0.weight"])
    masked.learn_scores()
    assert torch.equal(net[3].weight, plain["3.weight"] * masks["3.weight"])


def step(net: nn.Module, optimizer: torch.optim.Optimizer, times: int = 5) -> None:
    net.train()
    for i in range(times):
        x = torch.randn(16, 6, generator=rng(100 + i))
        y = torch.randint(3, (16,), generator=rng(200 + i))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.5),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.5),
    ],
)
def test_protected_weights_are_bit_identical_under_any_optimizer(make):
    net = small()
    masked = Masked(net, 0.5)
    masked.set_scores(random_scores(masked, rng))
    masks = masked.fix()
    free = {n: m & (torch.rand(m.shape, generator=rng(9)) < 0.5) for n, m in masks.items()}
    before = masked.weights()
    masked.learn_weights(free)
    # an optimizer that carries momentum over into a phase that protects what it moved
    optimizer = make([p for p in net.parameters() if p.requires_grad])
    step(net, optimizer)
    masked.learn_weights({n: f & False for n, f in free.items()})
    middle = masked.weights()
    step(net, optimizer)
    masked.still()
    for name, after in masked.weights().items():
        assert torch.equal(after[~free[name]], before[name][~free[name]])
        assert not torch.equal(after[free[name]], before[name][free[name]])
        assert torch.equal(after, middle[name])


def test_phases_train_what_they_say():
    net = small()
    masked = Masked(net, 0.5)
    wanted = lambda: {n for n, p in net.named_parameters() if p.requires_grad}  # noqa: E731
    assert wanted() == set()
    masked.learn_scores()
    assert len(wanted()) == 2 and all("scores" in n for n in wanted())
    masked.learn_weights(masked.fix())
    assert len(wanted()) == 2 and all("original" in n for n in wanted())


def test_starts():
    net = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(6, 5))
    masked = Masked(net, 1.0)
    scores = random_scores(masked, rng)
    assert float(scores["0.weight"].abs().max()) <= 1 / math.sqrt(36)
    assert float(scores["0.weight"].abs().max()) > 0.9 / math.sqrt(36)
    weights = signed_constants(masked, rng)
    assert torch.allclose(weights["0.weight"].abs(), torch.tensor(math.sqrt(2 / 36)))
    assert 0.3 < float((weights["0.weight"] > 0).float().mean()) < 0.7
    norms = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.PReLU())
    nn.init.zeros_(norms[1].weight)
    plain_start(norms)
    assert torch.equal(norms[1].weight, torch.ones(4)) and not norms[0].bias.any()
    assert norms[2].weight.tolist() == [0.25]  # an activation's slope is no norm


def test_state_is_that_of_the_plain_network():
    net = small()
    plain = copy.deepcopy(net)
    masked = Masked(net, 0.3)
    masked.set_scores(random_scores(masked, rng))
    masked.fix()
    plain.load_state_dict(masked.state())
    x = torch.randn(7, 6, generator=rng(1))
    assert torch.equal(plain.eval()(x), net.eval()(x))


def test_what_a_mask_cannot_own_is_refused():
    with pytest.raises(RunError) as caught:
        Masked(nn.Sequential(nn.Embedding(4, 4), nn.ReLU()), 0.5)
    assert caught.value.problem.code == "G430"
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    with pytest.raises(RunError) as caught:
        Masked(tied, 0.5)
    assert caught.value.problem.code == "G431"
    assert "`0.weight and 1.weight` share one tensor" in caught.value.problem.notes[0]
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    with pytest.raises(RunError) as caught:
        Masked(normed, 0.5)
    assert "computed from other tensors" in caught.value.problem.notes[0]
