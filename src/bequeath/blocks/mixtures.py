"""Mixtures of several data sources: points of the simplex, what a mixture draws, and the climb.

A mixture p [m] says which share of a training set each of m sources gives; p >= 0, sum p = 1.
NumPy in float64 throughout: the arrays are small, and a projection must be exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray


def simplex_grid(m: int, step: float) -> Array:
    """All mixtures of `m` sources whose shares are multiples of `step`: [G, m], last share fastest.

    1 / step must be a whole number q (ValueError); G = (q + m - 1 choose m - 1).
    """
    q = round(1 / step)
    if m < 1 or q < 1 or not math.isclose(q * step, 1.0, rel_tol=1e-6):
        raise ValueError(f"1 / step is a whole number, and there are sources: step {step}, m {m}")

    def parts(total: int, places: int) -> list[tuple[int, ...]]:
        if places == 1:
            return [(total,)]
        return [(k, *rest) for k in range(total + 1) for rest in parts(total - k, places - 1)]

    return np.array(parts(q, m), dtype=np.float64) / q


def project_simplex(v: Array, upper: Array | float = 1.0) -> Array:
    """The point of {p : 0 <= p <= upper, sum p = 1} nearest to `v` [m].

    It is clip(v - t, 0, upper) for the one t that makes the sum 1 (Duchi et al. 2008 without the
    upper bounds); the sum is piecewise linear in t, so t is found between its kinks. ValueError
    where the bounds sum to less than 1.
    """
    v = np.asarray(v, dtype=np.float64)
    upper = np.minimum(np.broadcast_to(np.asarray(upper, dtype=np.float64), v.shape), 1.0)
    if upper.sum() < 1 - 1e-12:
        raise ValueError(f"the largest shares sum to {upper.sum():.4g}, which is less than 1")
    kinks = np.unique(np.concatenate([v, v - upper]))  # ascending; the sum falls along them
    sums = np.clip(v - kinks[:, None], 0, upper).sum(axis=1)
    high = int(np.searchsorted(-sums, -1.0, side="left"))  # the first kink with a sum <= 1
    if high == 0:
        return np.clip(v - kinks[0], 0, upper)
    low = high - 1
    t = kinks[low] + (kinks[high] - kinks[low]) * (sums[low] - 1.0) / (sums[low] - sums[high])
    return np.clip(v - t, 0, upper)


def counts(n: int, p: Array) -> Array:
    """How many of `n` points each source gives: int64 [m], sum n, each within 1 of n p_i.

    Largest remainders; of equal remainders the first source's.
    """
    exact = n * np.asarray(p, dtype=np.float64)
    whole = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: n - int(whole.sum())]] += 1
    return whole


def draw(orders: Sequence[Array], n: int, p: Array) -> list[Array]:
    """The rows each source gives to D(n, p): the first n p_i of its order, int64 arrays.

    orders: for each source a random order of its rows. Draws of one set of orders are nested: what
    two mixtures share of a source is the same points, so their difference is the mixture's.
    ValueError where a source has too few.
    """
    taken = counts(n, p)
    for i, (order, k) in enumerate(zip(orders, taken)):
        if k > len(order):
            raise ValueError(f"source {i} is asked for {k} points and has {len(order)}")
    return [np.asarray(order)[:k] for order, k in zip(orders, taken)]


def tangent(gradient: Array) -> Array:
    """The part of a gradient [m] that stays on the simplex: without its mean."""
    gradient = np.asarray(gradient, dtype=np.float64)
    return gradient - gradient.mean()


def floored(p: Array, least: float) -> Array:
    """A mixture near `p` in which no source has less than `least`: (1 - m least) p + least."""
    p = np.asarray(p, dtype=np.float64)
    return (1 - len(p) * least) * p + least


@dataclass(frozen=True)
class Climb:
    """path: mixtures visited [T, m]; values: what each promised [T]; best: where that was most."""

    path: Array
    values: Array

    @property
    def best(self) -> int:
        return int(np.argmax(self.values))


def climb(
    value_and_gradient: Callable[[Array], tuple[float, Array]],
    start: Array,
    *,
    upper: Array | float = 1.0,
    rate: float,
    decay: float,
    steps: int,
    higher_is_better: bool,
    least: float = 0.0,
) -> Climb:
    """Projected ascent p <- Proj(p + rate decay^t g / |g|) on the simplex.

    value_and_gradient: p -> (value, gradient [m]); what of the gradient leaves the simplex is taken
    away. The step has a length of its own, whatever the units of the value. `higher_is_better`:
    ascent, else descent (`values` are negated then, so that `best` is best). Stops early where a
    step would be shorter than `least`, or where the projected step does not move.
    """
    sign = 1.0 if higher_is_better else -1.0
    p = project_simplex(start, upper)
    path, values = [], []
    for t in range(steps + 1):
        value, gradient = value_and_gradient(p)
        path.append(p)
        values.append(sign * value)
        direction = sign * tangent(gradient)
        length = float(np.linalg.norm(direction))
        if t == steps or length < 1e-12 or rate * decay**t < least:
            break
        moved = project_simplex(p + rate * decay**t * direction / length, upper)
        if np.abs(moved - p).max() < 1e-12:
            break
        p = moved
    return Climb(np.array(path), np.array(values))
