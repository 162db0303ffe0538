"""The distance between labelled sets, its duals, and the gradient by the sources' shares."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from scipy.optimize import linprog

from bequeath.blocks import transport
from bequeath.blocks.mixtures import floored
from bequeath.blocks.transport import Labelled, distance, slope_of_shares, steepest
from bequeath.kernel.errors import RunError

pytest.importorskip("ot")


def world(seed: int = 0, sizes: tuple[int, ...] = (9, 11, 8), there: int = 12):
    """Three sources of two classes, and a target."""
    rng = np.random.default_rng(seed)
    source = np.repeat(np.arange(len(sizes)), sizes)
    y = rng.integers(0, 2, len(source))
    y[:2] = 0, 1
    x = rng.normal(size=(len(source), 3)) + y[:, None] + 0.5 * source[:, None]
    y2 = np.arange(there) % 2
    x2 = rng.normal(size=(there, 3)) + y2[:, None]
    return x, y, source, Labelled(x2, y2)


def weighted(x, y, source, p):
    return Labelled(x, y, p[source] / np.bincount(source)[source])


def test_exact_value_and_duals_are_those_of_the_linear_programme():
    x, y, source, there = world()
    here = weighted(x, y, source, np.array([0.5, 0.3, 0.2]))
    C = transport.cost(here, there, lam_x=1.0, lam_y=1.0)
    n, m = C.shape
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    masses = np.r_[here.masses(), there.masses()]
    lp = linprog(C.ravel(), A_eq=np.vstack([rows, columns]), b_eq=masses, method="highs")
    found = distance(here, there)
    assert abs(found.value - lp.fun) < 1e-9
    assert abs(found.f @ here.masses() + found.g @ there.masses() - lp.fun) < 1e-9
    assert (found.f[:, None] + found.g[None] <= C + 1e-9).all()


@pytest.mark.parametrize(("blur", "within"), [(0.0, 1e-6), (1.0, 1e-4)])
def test_slopes_are_those_of_finite_differences(blur, within):
    """Along e_i - p_{-i} / (1 - p_i), and along e_i - e_k from the gradient within the simplex.

    The classes' own distances depend on the masses too, which the duals leave out, so they are
    switched off here.
    """
    x, y, source, there = world()
    p = np.array([0.5, 0.3, 0.2])

    def value(q):
        return distance(weighted(x, y, source, q), there, inner="none", blur=blur).value

    duals = distance(weighted(x, y, source, p), there, inner="none", blur=blur).f
    slopes = slope_of_shares(duals, source, p)
    gradient = steepest(slopes, p)
    h = 1e-5
    for i in range(3):
        along = -p / (1 - p[i])
        along[i] = 1.0
        numeric = (value(p + h * along) - value(p - h * along)) / (2 * h)
        assert abs(numeric - slopes[i]) < within
        k = (i + 1) % 3
        step = np.eye(3)[i] - np.eye(3)[k]
        numeric = (value(p + h * step) - value(p - h * step)) / (2 * h)
        assert abs(numeric - gradient @ step) < within
    assert abs(gradient.sum()) < 1e-12


def test_a_constant_in_the_duals_changes_nothing():
    x, y, source, there = world(1)
    p = np.array([0.2, 0.2, 0.6])
    f = distance(weighted(x, y, source, p), there).f
    plain, moved = (slope_of_shares(g, source, p) for g in (f, f + 17.0))
    assert np.allclose(plain, moved, atol=1e-12)
    raw = np.bincount(source, weights=f + 17.0) - np.bincount(source, weights=f)
    assert (np.abs(raw) > 100).all()  # what raw sums would do


def test_the_formula_of_the_paper_where_all_points_weigh_the_same():
    """(1/n_i) [sum_i f - n_i / (N - n_i) sum_{not i} f] at p_i = n_i / N."""
    x, y, source, there = world(2)
    f = distance(Labelled(x, y), there).f
    n = np.bincount(source)
    theirs = [f[source == i].mean() - f[source != i].sum() / (n.sum() - n[i]) for i in range(3)]
    assert np.allclose(slope_of_shares(f, source, n / n.sum()), theirs, atol=1e-12)


def test_a_source_without_points_has_no_slope():
    x, y, source, there = world()
    there_are = source != 1
    p = np.array([0.6, 0.0, 0.4])
    f = distance(weighted(x[there_are], y[there_are], source[there_are], p), there).f
    assert slope_of_shares(f, source[there_are], p)[1] == 0.0
    assert np.allclose(floored(p, 0.01).sum(), 1) and (floored(p, 0.01) > 0).all()


@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_nothing_between_equal_sets_and_labels_count(blur):
    x, y, _, _ = world(3)
    same = Labelled(x, y)
    assert abs(distance(same, same, blur=blur).value) < 1e-7
    # a class is known by its points, not by its name
    assert distance(same, Labelled(x, 1 - y), blur=blur).value < 1e-7
    mixed = Labelled(x, np.random.default_rng(0).permutation(y))
    assert distance(same, mixed, lam_y=0.0).value < 1e-9  # features alone see nothing
    assert distance(same, mixed, blur=blur).value > 0.05


def test_distance_between_gaussian_classes():
    """One dimension: W_2^2 = (m - m')^2 + (s - s')^2; and rotated axes leave it as it is."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4000, 1)), 2 + 3 * rng.normal(size=(4000, 1))
    even = np.full(4000, 1 / 4000)
    (found,) = transport.gaussian_classes([(x, even)], [(y, even)])[0]
    expected = (x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2
    assert abs(found - expected) < 1e-6  # in one dimension there is nothing to shrink
    a, b = rng.normal(size=(50, 4)), rng.normal(size=(40, 4)) @ rng.normal(size=(4, 4))
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    clouds = [(a, np.full(50, 0.02)), (b, np.full(40, 0.025))]
    turned = [(c @ turn, w) for c, w in clouds]
    plain, rotated = (transport.gaussian_classes(c[:1], c[1:]) for c in (clouds, turned))
    assert np.allclose(plain, rotated) and plain > 0
    assert np.allclose(transport.gaussian_classes(clouds, clouds).diagonal(), 0, atol=1e-9)


def test_few_points_in_many_dimensions():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 20)), np.array([0, 0, 0, 0, 0, 1])
    for inner in ("exact", "gaussian", "none"):
        found = distance(Labelled(x, y), Labelled(x + 1, y), inner=inner)
        assert np.isfinite(found.value) and np.isfinite(found.f).all() and found.value > 0


def test_masses_are_repeated_points():
    """A point of twice the mass is the same as two points."""
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(5, 2)), np.array([0, 1, 0, 1, 0])
    there = Labelled(rng.normal(size=(6, 2)), np.arange(6) % 2)
    heavy = Labelled(x, y, np.array([2.0, 1, 1, 1, 1]))
    twice = Labelled(np.vstack([x[:1], x]), np.r_[y[:1], y])
    assert abs(distance(heavy, there).value - distance(twice, there).value) < 1e-9


def test_without_the_library_it_says_which_extra(monkeypatch):
    real = builtins.__import__

    def absent(name, *rest, **more):
        if name == "ot":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    x, y, _, there = world()
    with pytest.raises(RunError) as caught:
        distance(Labelled(x, y), there)
    assert (
        caught.value.problem.code == "G457" and "bequeath[ot]" in caught.value.problem.remedies[0]
    )
