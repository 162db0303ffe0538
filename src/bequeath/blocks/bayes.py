"""Bayesian optimisation over a box: a Gaussian process and its upper confidence bound.

The process is scikit-learn's, with a Matern 5/2 kernel; what stands here is the choice of the
next point. The function may be piecewise constant and points may repeat.

Srinivas et al., "Gaussian Process Optimization in the Bandit Setting", ICML 2010, arXiv 0912.3995.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Ucb:
    """The optimiser's settings.

    kappa: standard deviations above the mean. alpha: variance added to the kernel's diagonal.
    restarts: of the likelihood's optimiser. candidates, climbs: random points at which the bound
    is compared, and how many of the best are climbed from.
    """

    kappa: float = 2.576
    alpha: float = 1e-6
    restarts: int = 5
    candidates: int = 10_000
    climbs: int = 10


def next_point(
    points: Sequence[Array] | Array,
    values: Sequence[float] | Array,
    low: Array,
    high: Array,
    rng: np.random.Generator,
    ucb: Ucb,
) -> Array:
    """Where in the box [low, high] to look next for the largest value, float64 [D].

    points: [n, D], values: [n], seen so far. Without any, a uniformly random point.
    """
    low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    if not len(points):
        return rng.uniform(low, high)
    process = _fit(np.asarray(points), np.asarray(values), rng, ucb)

    def bound(x: Array) -> Array:
        mean, std = process.predict(x, return_std=True)
        return mean + ucb.kappa * std

    starts = rng.uniform(low, high, size=(ucb.candidates, len(low)))
    heights = bound(starts)
    order = np.argsort(-heights, kind="stable")[: max(1, ucb.climbs)]
    best, highest = starts[order[0]], heights[order[0]]
    for start in starts[order[: ucb.climbs]]:
        x, height = _climb(bound, start, low, high)
        if height > highest:
            best, highest = x, height
    return np.clip(best, low, high)


def _fit(points: Array, values: Array, rng: np.random.Generator, ucb: Ucb):  # type: ignore[no-untyped-def]
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern

    process = GaussianProcessRegressor(
        kernel=Matern(nu=2.5),
        alpha=ucb.alpha,
        normalize_y=True,
        n_restarts_optimizer=ucb.restarts,
        random_state=int(rng.integers(2**31)),
    )
    with warnings.catch_warnings():
        # A length scale at its bound is usual for a function that is constant on patches.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return process.fit(points, values)


def _climb(bound, start: Array, low: Array, high: Array) -> tuple[Array, float]:  # type: ignore[no-untyped-def]
    from scipy.optimize import minimize

    apart = np.vstack([np.zeros(len(start)), 1e-6 * np.eye(len(start))])

    def slope(x: Array) -> tuple[float, Array]:
        heights = -bound(x + apart)  # the point and its neighbours in one call
        return float(heights[0]), (heights[1:] - heights[0]) / 1e-6

    found = minimize(slope, start, jac=True, method="L-BFGS-B", bounds=list(zip(low, high)))
    return found.x, -float(found.fun)
