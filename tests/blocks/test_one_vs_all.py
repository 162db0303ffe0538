"""One-vs-all clustering: where the answer is known, and beside a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch.nn import functional as F

from bequeath.blocks.one_vs_all import class_ratio, negatives, one_vs_all
from bequeath.blocks.prototypes import cosines, soft_means, surest


def blobs(classes: int, extra: int, each: int = 40, width: int = 12, noise: float = 0.05):
    """Unit features around `classes` known and `extra` unknown directions; sure of the known."""
    g = torch.Generator().manual_seed(1)
    directions = torch.linalg.qr(torch.randn(width, width, generator=g)).Q[: classes + extra]
    y = torch.arange(classes + extra).repeat_interleave(each)
    z = F.normalize(directions[y] + noise * torch.randn(len(y), width, generator=g), dim=1)
    logits = 8 * z @ directions[:classes].T
    logits[y >= classes] = 0.1 * torch.randn(extra * each, classes, generator=g)
    return z, logits.softmax(1), y


def test_blobs_get_their_classes_and_the_unknown_blob_none():
    z, p, y = blobs(3, 1)
    found = one_vs_all(z, p, 4 / 3)
    known = y < 3
    assert torch.equal(found.targets[known].argmax(1), y[known])
    assert torch.equal(found.accepted, known)
    assert torch.equal(found.targets[~known], torch.full((40, 3), 1 / 3))


def test_target_rows_sum_to_one():
    z, p, _ = blobs(4, 2, noise=0.6)
    found = one_vs_all(z, p, 1.0)
    torch.testing.assert_close(found.targets.sum(1), torch.ones(len(z)), atol=1e-6, rtol=0)
    unsure = found.targets[~found.accepted]
    assert len(unsure) and bool((unsure == unsure[:, :1]).all())


def test_rho_one_makes_every_prior_one():
    z, p, _ = blobs(3, 1, noise=0.5)
    assert torch.equal(one_vs_all(z, p, 1.0, rho=1.0).priors, torch.ones(3))
    assert bool((one_vs_all(z, p, 1.0, rho=0.75).priors < 1).all())


def test_as_a_plain_loop_over_samples_and_classes():
    """The rule as written: the prior multiplies the positive in the test and not the choice."""
    z, p, _ = blobs(3, 2, each=30, noise=0.5)
    z, p = z.double(), p.double()
    found = one_vs_all(z, p, 2.0, rho=0.3, seed=4)
    n, size, K = len(z), 150 // 6, 6
    w, a, neg = [], [], []
    for c in range(3):
        own = sorted(range(n), key=lambda i: -float(p[i, c]))[:size]
        mean = z[own].mean(0)
        w.append(mean / mean.norm())
        a.append(0.3 + 0.7 * float(p[own, c].mean()))
        rest = z[[i for i in range(n) if i not in own]].numpy()
        centres = KMeans(K, n_init=1, max_iter=100, random_state=4 + c).fit(rest).cluster_centers_
        neg.append([v / np.linalg.norm(v) for v in centres])
    accepts = 0
    for i in range(n):
        s = [float(z[i] @ v) for v in w]
        c = int(np.argmax(s))
        yes = a[c] * s[c] >= max(float(z[i].numpy() @ v) for v in neg[c])
        wanted = [float(k == c) for k in range(3)] if yes else [1 / 3] * 3
        assert found.targets[i].tolist() == pytest.approx(wanted)
        accepts += yes
    assert 0 < accepts < n
    assert found.priors.tolist() == pytest.approx(a)


@pytest.mark.parametrize("n", [4, 5, 9])
@pytest.mark.parametrize("ratio", [0.25, 1.0, 3.0])
def test_a_handful_of_samples_is_no_crash(n, ratio):
    z, p, _ = blobs(5, 1)
    pick = torch.arange(0, 240, 240 // n)[:n]
    found = one_vs_all(z[pick], p[pick], ratio)
    assert found.targets.shape == (n, 5) and bool(found.targets.isfinite().all())


def test_equal_samples_are_no_crash():
    z = F.normalize(torch.ones(20, 4), dim=1)
    found = one_vs_all(z, torch.full((20, 3), 1 / 3), 1.0)
    assert bool(found.targets.isfinite().all())


@pytest.mark.parametrize(("known", "extra"), [(4, 0), (4, 4), (8, -4)])
def test_the_number_of_classes_is_found_on_blobs(known, extra):
    z, _, _ = blobs(known + extra, 0, each=25, width=16)
    ratio, scores = class_ratio(z, known)
    assert ratio * known == known + extra
    assert scores[ratio] == max(scores.values())


def test_no_structure_leaves_the_ratio_at_one():
    ratio, scores = class_ratio(torch.ones(30, 3), 4, embed="none")
    assert ratio == 1.0 and all(s <= 0 for s in scores.values())


def test_more_samples_than_wanted_are_drawn_the_same_way():
    z, _, _ = blobs(4, 0, each=60)
    first = class_ratio(z, 4, embed="none", most=80)
    assert first == class_ratio(z, 4, embed="none", most=80) and first[0] == 1.0


def test_three_samples_are_enough_to_estimate():
    assert class_ratio(torch.eye(3), 4)[0] in (0.25, 0.5, 1.0)


def test_negatives_are_two_at_least():
    assert [negatives(r, 3) for r in (0.25, 0.5, 1.0, 3.0)] == [2, 2, 3, 9]


def test_soft_means_with_one_hot_weights_are_class_means():
    x = torch.randn(30, 4, dtype=torch.float64)
    y = torch.arange(30) % 2
    means = soft_means(x, F.one_hot(y, 3).double())
    torch.testing.assert_close(means[0], x[y == 0].mean(0))
    assert torch.equal(means[2], torch.zeros(4, dtype=torch.float64))
    half = soft_means(x, torch.full((30, 1), 0.5, dtype=torch.float64))
    torch.testing.assert_close(half[0], x.mean(0))


def test_surest_and_cosines():
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    assert surest(p, 2).tolist() == [[0, 2], [1, 2]]
    c = cosines(torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0, 3.0], [0.0, 0.0]]))
    assert c.tolist()[0] == pytest.approx([2**-0.5, 0.0])
