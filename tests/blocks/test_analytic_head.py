"""The closed-form head against scikit-learn's ridge, solved anew on what remains."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from bequeath.blocks.analytic_head import AnalyticHead, NormalHead, one_hot
from bequeath.kernel.errors import RunError

FORMS = {
    "recursive": lambda d, gamma: AnalyticHead(d, gamma),
    "watched": lambda d, gamma: AnalyticHead(d, gamma, tolerance=1e-6),
    "normal": NormalHead,
}


def made(n=400, d=30, classes=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    X = torch.randn(classes, d, generator=g)[y] + torch.randn(n, d, generator=g)
    return X.relu().double(), one_hot(y, classes), y


def ridge(X, Y, gamma):
    """[d, C], by scikit-learn."""
    solved = Ridge(alpha=gamma, fit_intercept=False, solver="cholesky").fit(X.numpy(), Y.numpy())
    return torch.from_numpy(np.atleast_2d(solved.coef_).T)


def gap(W, wanted):
    return float((W - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("form", FORMS)
def test_learning_in_batches_is_ridge_on_everything(form):
    X, Y, _ = made()
    head = FORMS[form](30, 0.5)
    for x, y in zip(X.split(70), Y.split(70)):
        head.learn(x, y)
    assert gap(head.weight, ridge(X, Y, 0.5)) < 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_forgetting_is_ridge_on_what_remains(form):
    """Requests of one row to more rows than features, with learning in between."""
    X, Y, _ = made()
    head, held = FORMS[form](30, 0.1), torch.zeros(400, dtype=torch.bool)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))

    def do(idx, learns):
        (head.learn if learns else head.forget)(X[idx], Y[idx])
        held[idx] = learns
        assert gap(head.weight, ridge(X[held], Y[held], 0.1)) < 1e-10

    do(order[:300], True)
    do(order[:1], False)
    do(order[1:90], False)  # more than d = 30
    do(order[300:], True)
    do(order[90:120], False)
    do(order[:40], True)  # what was forgotten may be learnt again
    do(order[350:], False)


def test_the_two_updates_are_those_of_the_paper():
    """K, R and W written out, in the order that matters: R first, W with the new R."""
    X, Y, _ = made(60, 8)
    head = AnalyticHead(8, 0.3)
    head.learn(X, Y)
    R, W, x, y = head.R.clone(), head.weight.clone(), X[:7], Y[:7]
    K = torch.linalg.inv(torch.eye(7).double() - x @ R @ x.T)
    R_new = R + R @ x.T @ K @ x @ R
    W_new = W - R_new @ x.T @ (y - x @ W)
    head.forget(x, y)
    assert torch.allclose(head.R, R_new, atol=1e-13)
    assert torch.allclose(head.weight, W_new, atol=1e-13)
    G = X[7:].T @ X[7:] + 0.3 * torch.eye(8)
    assert torch.allclose(head.R, torch.linalg.inv(G), atol=1e-13)


def test_learning_and_forgetting_undo_each_other():
    X, Y, _ = made(50, 12)
    head = AnalyticHead(12, 1.0)
    head.learn(X[:40], Y[:40])
    R, W = head.R.clone(), head.weight.clone()
    head.learn(X[40:], Y[40:])
    head.forget(X[40:], Y[40:])
    assert torch.allclose(head.R, R, atol=1e-14) and torch.allclose(head.weight, W, atol=1e-14)


@pytest.mark.parametrize("form", FORMS)
def test_new_classes_begin_as_columns_of_zeros(form):
    X, Y, y = made(classes=4)
    first = y < 2
    head = FORMS[form](30, 0.2)
    head.learn(X[first], Y[first, :2])
    assert head.weight.shape == (30, 2)
    head.learn(X[~first], Y[~first])
    assert gap(head.weight, ridge(X, Y, 0.2)) < 1e-12
    head.forget(X[first], Y[first, :2])  # narrow labels are of the first classes
    assert gap(head.weight, ridge(X[~first], Y[~first], 0.2)) < 1e-10


@pytest.mark.parametrize("form", FORMS)
def test_a_forgotten_class_leaves_a_column_of_zeros(form):
    X, Y, y = made()
    head = FORMS[form](30, 0.1)
    head.learn(X, Y)
    head.forget(X[y == 2], Y[y == 2])
    assert float(head.weight[:, 2].abs().max()) < 1e-12
    head.drop((2,))
    assert bool((head.weight[:, 2] == 0).all())
    assert gap(head.weight, ridge(X[y != 2], Y[y != 2], 0.1)) < 1e-11


@pytest.mark.parametrize(("gamma", "bound"), [(10.0, 1e-8), (0.1, 1e-5), (1e-3, 1e-3)])
@pytest.mark.parametrize("d", [100, 300])
def test_rounding_stays_below_what_the_card_says(gamma, bound, d):
    """20 requests of 50 of 2000 samples. The recursion by itself, never refreshed."""
    X, Y, _ = made(2000, d, 10)
    head, exact = AnalyticHead(d, gamma), NormalHead(d, gamma)
    for one in (head, exact):
        one.learn(X, Y)
        for x, y in zip(X[:1000].split(50), Y[:1000].split(50)):
            one.forget(x, y)
    wanted = ridge(X[1000:], Y[1000:], gamma)
    assert gap(head.weight, wanted) < bound
    assert gap(exact.weight, wanted) < 1e-9


def few_rows(gamma):
    """Fewer rows than features and a small ridge: what rounding hurts most."""
    X, Y, _ = made(2000, 300, 10)
    loose, watched = AnalyticHead(300, gamma), AnalyticHead(300, gamma, tolerance=1e-9)
    for one in (loose, watched):
        one.learn(X[:200], Y[:200])
    return loose, watched, list(zip(X[:150].split(15), Y[:150].split(15))), (X[150:200], Y[150:200])


def test_a_drifting_recursion_is_made_anew():
    loose, watched, requests, left = few_rows(1e-3)
    for one in (loose, watched):
        for x, y in requests:
            one.forget(x, y)
    wanted = ridge(*left, 1e-3)
    assert watched.refreshed > 0 and watched.residual <= 1e-9
    assert gap(watched.weight, wanted) < 1e-8
    assert gap(watched.weight, wanted) < gap(loose.weight, wanted) / 1000


def test_where_rounding_would_refuse_a_member_the_normal_form_takes_over():
    loose, watched, requests, left = few_rows(1e-6)
    with pytest.raises(RunError):
        for x, y in requests:
            loose.forget(x, y)
    for x, y in requests:
        watched.forget(x, y)
    assert gap(watched.weight, ridge(*left, 1e-6)) < 1e-5


@pytest.mark.parametrize("form", ["recursive", "watched"])
def test_what_cannot_have_been_learnt_is_refused_and_nothing_changes(form):
    X, Y, _ = made(100, 30)
    head = FORMS[form](30, 0.1)
    head.learn(X, Y)
    R, W = head.R.clone(), head.weight.clone()
    for rows in (50 * X[:3], 5 * X.repeat(2, 1)):  # in one chunk, and in several
        with pytest.raises(RunError) as caught:
            head.forget(rows, Y.repeat(2, 1)[: len(rows)])
        assert caught.value.problem.code == "T652"
        assert torch.equal(head.R, R) and torch.equal(head.weight, W)
    head.forget(X[:10], Y[:10])
    assert gap(head.weight, ridge(X[10:], Y[10:], 0.1)) < 1e-11


def test_the_normal_form_refuses_when_it_solves():
    X, Y, _ = made(100, 30)
    head = NormalHead(30, 0.1)
    head.learn(X, Y)
    head.forget(50 * X[:3], Y[:3])
    with pytest.raises(RunError, match="never learnt"):
        _ = head.weight


def test_a_request_does_not_depend_on_how_it_is_cut(monkeypatch):
    X, Y, _ = made()
    whole, parts = AnalyticHead(30, 0.1), AnalyticHead(30, 0.1)
    for one in (whole, parts):
        one.learn(X, Y)
    whole.forget(X[:29], Y[:29])
    for x, y in zip(X[:29].split(4), Y[:29].split(4)):
        parts.forget(x, y)
    assert gap(whole.weight, parts.weight) < 1e-12


@pytest.mark.parametrize(
    "ask",
    [
        lambda: AnalyticHead(3, 0.0),
        lambda: NormalHead(3, -1.0),
        lambda: AnalyticHead(3, 1.0).learn(torch.ones(2, 4), torch.ones(2, 1)),
        lambda: AnalyticHead(3, 1.0).learn(torch.ones(2, 3), torch.ones(1, 1)),
        lambda: AnalyticHead(3, 1.0).forget(torch.ones(1, 3), torch.ones(1, 2)),
    ],
)
def test_wrong_shapes_and_ridges_are_refused(ask):
    with pytest.raises(ValueError):
        ask()
