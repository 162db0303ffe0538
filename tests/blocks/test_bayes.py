"""The optimiser: it stays in its box, finds what is there, and does the same twice."""

from __future__ import annotations

import numpy as np
import pytest

from bequeath.blocks.bayes import Ucb, next_point

QUICK = Ucb(candidates=500, climbs=3, restarts=1)
LOW, HIGH = np.array([-1.0, -1.0]), np.array([1.0, 1.0])


def search(f, steps: int, seed: int) -> tuple[list[np.ndarray], list[float]]:
    points: list[np.ndarray] = []
    values: list[float] = []
    for step in range(steps):
        rng = np.random.default_rng([seed, step])
        points.append(next_point(points, values, LOW, HIGH, rng, QUICK))
        values.append(f(points[-1]))
    return points, values


def test_finds_the_top_of_a_hill_that_random_points_do_not():
    def hill(x: np.ndarray) -> float:
        return -float(((x - [0.3, -0.6]) ** 2).sum())

    points, values = search(hill, 12, 0)
    assert max(values) > -1e-3
    rng = np.random.default_rng(0)
    assert max(hill(rng.uniform(LOW, HIGH)) for _ in range(12)) < max(values)
    assert all((p >= LOW).all() and (p <= HIGH).all() for p in points)


def test_steps_and_repeated_points_are_no_trouble():
    points, values = search(lambda x: float(x[0] > 0), 8, 1)
    assert set(values) <= {0.0, 1.0} and max(values) == 1.0
    again = next_point([points[0]] * 5, [1.0] * 5, LOW, HIGH, np.random.default_rng(0), QUICK)
    assert np.isfinite(again).all()


def test_the_same_stream_gives_the_same_points():
    one, other = (search(lambda x: float(x.sum()), 5, 2)[0] for _ in range(2))
    assert all((a == b).all() for a, b in zip(one, other))


def test_the_first_point_is_random_and_kappa_0_goes_to_the_best():
    first = [next_point([], [], LOW, HIGH, np.random.default_rng(s), QUICK) for s in range(50)]
    assert np.std(first, axis=0) == pytest.approx([3**-0.5] * 2, rel=0.25)
    seen = [np.array([x, y]) for x in (-0.9, -0.3, 0.3, 0.9) for y in (-0.9, -0.3, 0.3, 0.9)]
    values = [-float(p @ p) for p in seen]
    rng = np.random.default_rng(0)
    x = next_point(seen, values, LOW, HIGH, rng, Ucb(kappa=0.0, candidates=2000))
    assert np.abs(x).max() < 0.05  # between the points seen, where their hill has its top
