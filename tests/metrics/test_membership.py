"""Membership attacks against sklearn's curves, scipy's normals and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from bequeath.metrics import membership as mia


def scores(m=300, n=400, shift=0.7, rounded=True):
    rng = np.random.default_rng(0)
    both = rng.normal(shift, 1, m), rng.normal(0, 1, n)
    return tuple(np.round(s, 1) for s in both) if rounded else both  # rounded: with ties


def curves(inside, outside):
    truth = np.r_[np.ones(len(inside)), np.zeros(len(outside))]
    return truth, np.r_[inside, outside]


@pytest.mark.parametrize("rounded", [True, False])
def test_auc_and_roc_are_sklearns(rounded):
    inside, outside = scores(rounded=rounded)
    truth, said = curves(inside, outside)
    assert mia.auc(inside, outside) == pytest.approx(roc_auc_score(truth, said), abs=1e-14)
    theirs = roc_curve(truth, said, drop_intermediate=False)
    fpr, tpr = mia.roc(inside, outside)
    assert np.allclose(fpr, theirs[0], atol=1e-15) and np.allclose(tpr, theirs[1], atol=1e-15)
    assert mia.advantage(inside, outside) == pytest.approx((theirs[1] - theirs[0]).max())


def test_tpr_at_fpr_accuses_no_more_than_allowed():
    inside, outside = torch.tensor([3.0, 2.5, 1.0, 0.0]), torch.tensor([2.0, 1.0, 0.5, -1.0])
    assert mia.tpr_at_fpr(inside, outside, 0.0) == 0.5  # above 2.0
    assert mia.tpr_at_fpr(inside, outside, 0.2) == 0.5  # one of four would be 0.25
    assert mia.tpr_at_fpr(inside, outside, 0.25) == 0.5
    assert mia.tpr_at_fpr(inside, outside, 0.5) == 0.75  # the tie at 1.0 takes both sides
    assert mia.tpr_at_fpr(inside, outside, 1.0) == 1.0
    with pytest.raises(ValueError, match=r"0\.\.1"):
        mia.tpr_at_fpr(inside, outside, 1.5)


def test_perfect_none_and_reversed():
    high, low = torch.arange(5.0) + 10, torch.arange(5.0)
    assert mia.auc(high, low) == 1.0 and mia.advantage(high, low) == 1.0
    assert mia.auc(low, high) == 0.0 and mia.advantage(low, high) == 0.0
    same = torch.zeros(5)
    found = mia.attack(same, same, at=(0.1,))
    assert (found.auc, found.advantage, found.tpr_at) == (0.5, 0.0, {0.1: 0.0})
    assert (found.members, found.nonmembers) == (5, 5)


def test_advantage_at_a_threshold_found_elsewhere():
    inside, outside = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 2.0])
    assert mia.advantage(inside, outside, threshold=2.0) == pytest.approx(2 / 3 - 1 / 2)


def test_the_best_threshold_flatters_as_documented():
    g = torch.Generator().manual_seed(0)
    m, n = 200, 300
    draws = [
        mia.advantage(torch.randn(m, generator=g), torch.randn(n, generator=g)) for _ in range(300)
    ]
    assert np.mean(draws) == pytest.approx(0.63 * math.sqrt(1 / m + 1 / n), rel=0.1)


def test_scaled_confidence_is_the_log_odds():
    g = torch.Generator().manual_seed(1)
    logits, y = torch.randn(50, 7, generator=g).double() * 3, torch.randint(7, (50,), generator=g)
    p = logits.softmax(1).gather(1, y[:, None])[:, 0]
    assert torch.allclose(mia.scaled_confidence(logits, y), (p / (1 - p)).log(), atol=1e-12)
    assert torch.allclose(mia.cross_entropy(logits, y), -p.log(), atol=1e-12)
    sure = torch.tensor([[800.0, 0.0, 0.0]])
    assert mia.scaled_confidence(sure, torch.tensor([0])).item() == pytest.approx(
        800 - math.log(2)
    )  # p rounds to 1 there


@pytest.mark.parametrize("pooled", [True, False])
def test_lira_is_the_likelihood_ratio(pooled):
    rng = np.random.default_rng(3)
    s, n = 9, 40
    shadows, inside = rng.normal(size=(s, n)), np.zeros((s, n), bool)
    inside[:4] = True
    inside = rng.permuted(inside, axis=0)
    phi = rng.normal(size=n)

    def fitted(kept):
        columns = [shadows[kept[:, i], i] for i in range(n)]
        mean = np.array([c.mean() for c in columns])
        squares = np.array([((c - c.mean()) ** 2).sum() for c in columns])
        free = np.array([len(c) - 1 for c in columns])
        return mean, np.sqrt(np.full(n, squares.sum() / free.sum()) if pooled else squares / free)

    held, without = fitted(inside), fitted(~inside)
    ratio = norm.logpdf(phi, *held) - norm.logpdf(phi, *without)
    assert np.allclose(mia.lira_online(phi, shadows, inside, pooled=pooled), ratio, atol=1e-12)
    blind = np.where(inside, np.nan, shadows)
    offline = norm.logcdf(phi, *without)
    assert np.allclose(mia.lira_offline(phi, blind, pooled=pooled), offline, atol=1e-10)


def test_lira_finds_members_that_the_loss_hides():
    """Samples differ in how hard they are; only LiRA knows how hard each one is."""
    g = torch.Generator().manual_seed(2)
    n, s = 400, 8
    hardness = 5 * torch.randn(n, generator=g)
    member = torch.arange(n) < n // 2
    phi = hardness + 1.5 * member + 0.5 * torch.randn(n, generator=g)
    seen = torch.rand(s, n, generator=g).argsort(dim=0) < s // 2
    shadows = hardness + 1.5 * seen + 0.5 * torch.randn(s, n, generator=g)
    plain = mia.auc(phi[member], phi[~member])
    online = mia.lira_online(phi, shadows, seen)
    offline = mia.lira_offline(phi, shadows.masked_fill(seen, torch.nan))
    assert plain < 0.65
    assert mia.auc(online[member], online[~member]) > 0.95
    assert mia.auc(offline[member], offline[~member]) > 0.9


def test_balanced_takes_as_many_of_each_class():
    y_in = torch.tensor([0, 0, 0, 1, 1, 2])
    y_out = torch.tensor([0, 1, 1, 1, 3])
    inside, outside = mia.balanced(y_in, y_out)
    assert y_in[inside].tolist() == [0, 1, 1] and sorted(y_out[outside].tolist()) == [0, 1, 1]
    again = mia.balanced(y_in, y_out)
    assert torch.equal(inside, again[0]) and torch.equal(outside, again[1])
    nothing = mia.balanced(torch.tensor([5]), torch.tensor([6]))
    assert len(nothing[0]) == len(nothing[1]) == 0


@pytest.mark.parametrize(
    "ask",
    [
        lambda: mia.auc([], [1.0]),
        lambda: mia.auc([math.nan], [1.0]),
        lambda: mia.lira_offline([0.0], [[1.0]]),
        lambda: mia.lira_offline([0.0], [1.0, 2.0]),
        lambda: mia.lira_online([0.0], [[1.0], [2.0]], [[True], [True]]),
        lambda: mia.lira_online([0.0], [[1.0], [2.0]], [[True]]),
        lambda: mia.cross_entropy([[1.0, 2.0]], [0, 1]),
    ],
)
def test_what_cannot_be_attacked_is_refused(ask):
    with pytest.raises(ValueError):
        ask()
