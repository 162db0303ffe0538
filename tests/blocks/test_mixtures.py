"""The simplex: grid, projection, draws, climb."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from bequeath.blocks.mixtures import climb, counts, draw, floored, project_simplex, simplex_grid


def test_grid_has_every_mixture_once():
    for m, step in ((3, 0.1), (2, 0.25), (4, 0.5), (1, 0.2)):
        grid = simplex_grid(m, step)
        q = round(1 / step)
        assert len(grid) == math.comb(q + m - 1, m - 1) == len(np.unique(grid, axis=0))
        assert np.allclose(grid.sum(1), 1) and np.allclose(grid * q, np.round(grid * q))
    assert len(simplex_grid(3, 0.1)) == 66  # the card's
    with pytest.raises(ValueError, match="whole number"):
        simplex_grid(3, 0.3)


@pytest.mark.parametrize("seed", range(6))
def test_projection_is_the_nearest_point(seed):
    """Against a general solver, with and without upper bounds."""
    rng = np.random.default_rng(seed)
    m = int(rng.integers(2, 6))
    v = rng.normal(size=m) * 2
    for upper in (np.ones(m), rng.uniform(1 / m, 1, m)):
        p = project_simplex(v, upper)
        assert abs(p.sum() - 1) < 1e-12 and (p >= 0).all() and (p <= upper + 1e-12).all()
        found = minimize(
            lambda x: ((x - v) ** 2).sum(),
            upper / upper.sum(),
            bounds=[(0, u) for u in upper],
            constraints={"type": "eq", "fun": lambda x: x.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert ((p - v) ** 2).sum() <= ((found.x - v) ** 2).sum() + 1e-6


def test_projection_leaves_mixtures_alone_and_refuses_the_impossible():
    for p in simplex_grid(4, 0.25):
        assert np.allclose(project_simplex(p), p, atol=1e-15)
    assert np.allclose(project_simplex(np.array([5.0, 0, 0]), 1 / 3), 1 / 3)
    with pytest.raises(ValueError, match="less than 1"):
        project_simplex(np.zeros(3), 0.2)


def test_counts_sum_and_stay_near():
    rng = np.random.default_rng(0)
    for n in (1, 7, 100, 999):
        p = rng.dirichlet(np.ones(4))
        found = counts(n, p)
        assert found.sum() == n and (np.abs(found - n * p) < 1).all()
    assert counts(10, np.array([0.1, 0.2, 0.7])).tolist() == [1, 2, 7]  # no rounding of 0.7 * 10
    assert counts(3, np.full(2, 0.5)).tolist() == [2, 1]


def test_draws_are_nested_and_refuse_too_much():
    orders = [np.random.default_rng(i).permutation(50) for i in range(2)]
    less, more = (draw(orders, n, np.array([0.3, 0.7])) for n in (20, 40))
    for small, large in zip(less, more):
        assert small.tolist() == large[: len(small)].tolist()
    assert [len(rows) for rows in more] == [12, 28]
    with pytest.raises(ValueError, match="asked for 60 points and has 50"):
        draw(orders, 60, np.array([1.0, 0.0]))


def test_climb_finds_the_top_of_a_concave_hill_and_the_bottom_of_a_bowl():
    top = np.array([0.2, 0.5, 0.3])
    hill = lambda p: (-((p - top) ** 2).sum(), -2 * (p - top))  # noqa: E731
    bowl = lambda p: (((p - top) ** 2).sum(), 2 * (p - top))  # noqa: E731
    how = {"rate": 0.2, "decay": 0.9, "steps": 80}
    for function, up in ((hill, True), (bowl, False)):
        found = climb(function, np.full(3, 1 / 3), higher_is_better=up, **how)
        assert np.abs(found.path[found.best] - top).max() < 0.02
        assert np.allclose(found.path.sum(1), 1) and (found.path >= 0).all()


def test_climb_keeps_to_the_bounds_and_goes_to_a_corner():
    line = lambda p: (p @ np.array([1.0, 0.0, 3.0]), np.array([1.0, 0.0, 3.0]))  # noqa: E731
    how = {"rate": 0.3, "decay": 0.95, "steps": 60, "higher_is_better": True}
    free = climb(line, np.full(3, 1 / 3), **how)
    assert np.allclose(free.path[free.best], [0, 0, 1])
    bound = climb(line, np.full(3, 1 / 3), upper=np.array([1, 1, 0.6]), **how)
    assert np.allclose(bound.path[bound.best], [0.4, 0, 0.6], atol=1e-3)


def test_climb_stops_where_steps_become_too_small():
    line = lambda p: (p[0], np.array([1.0, 0.0]))  # noqa: E731
    found = climb(
        line, np.full(2, 0.5), rate=0.1, decay=0.5, steps=50, higher_is_better=True, least=0.01
    )
    assert len(found.path) == 5  # steps of 0.1, 0.05, 0.025, 0.0125


def test_floor():
    assert np.allclose(floored(np.array([1.0, 0, 0]), 0.02), [0.96, 0.02, 0.02])
