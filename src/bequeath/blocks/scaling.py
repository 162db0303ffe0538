"""Laws of performance: over the mixture of the sources at one size, and from small sizes to large.

A `Surface` is a linear model of the performance of a learner trained on n points of mixture p,
with or without the distance OT(n, p) of such a sample to the data it is judged on. Two surfaces,
at n0 < n1, are carried to any N by a law in n alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Array = np.ndarray
Form = Literal["linear", "quadratic", "ot-linear", "pseudo-linear", "pseudo-quadratic"]
Law = Literal["log-linear", "power"]
NEEDS_OT = ("ot-linear", "pseudo-linear", "pseudo-quadratic")


@dataclass(frozen=True)
class Surface:
    """L(p) = X(p, OT) b, with X of a form, for m sources (the last share is left out: sum p = 1).

    linear            1, p_i
    quadratic         1, p_i, p_i^2
    ot-linear         1, OT
    pseudo-linear     [b0 + sum b1_i p_i] OT + [c0 + sum c1_i p_i]
    pseudo-quadratic  [b0 + sum (b1_i p_i + b2_i p_i^2)] OT + [c0 + sum (c1_i p_i + c2_i p_i^2)]

    Kang et al. 2023, arXiv 2307.02460. coefficients: in the order of `design`.
    """

    form: Form
    coefficients: Array

    def values(self, p: Array, ot: Array | None = None) -> Array:
        """p [G, m], ot [G] -> [G]."""
        return design(self.form, p, ot) @ self.coefficients

    def slopes(self, p: Array, ot: float = 0.0) -> tuple[Array, float]:
        """At one mixture p [m]: dL/dp_i with OT held [m] (0 for the share left out), and dL/dOT."""
        m = len(p)
        powers = _powers(self.form)
        flat, steep = self._blocks(m)
        explicit = np.zeros(m)
        for k in range(1, powers + 1):
            rate = k * np.asarray(p[:-1]) ** (k - 1)
            columns = slice(1 + (k - 1) * (m - 1), 1 + k * (m - 1))
            explicit[:-1] += flat[columns] * rate
            if steep is not None:
                explicit[:-1] += steep[columns] * rate * ot
        if steep is None:
            return explicit, 0.0
        return explicit, float(_polynomial(np.asarray(p)[None], powers)[0] @ steep)

    def _blocks(self, m: int) -> tuple[Array, Array | None]:
        """Coefficients of the part without OT and of the factor of OT."""
        width = 1 + _powers(self.form) * (m - 1)
        if self.form not in NEEDS_OT:
            return self.coefficients, None
        return self.coefficients[:width], self.coefficients[width:]


def design(form: Form, p: Array, ot: Array | None = None) -> Array:
    """The regressors [G, k] of mixtures p [G, m]; ot [G] where the form has it (ValueError)."""
    base = _polynomial(np.asarray(p, dtype=np.float64), _powers(form))
    if form not in NEEDS_OT:
        return base
    if ot is None:
        raise ValueError(f"the form {form} needs the distances")
    return np.hstack([base, base * np.asarray(ot, dtype=np.float64)[:, None]])


def fit_surface(form: Form, p: Array, values: Array, ot: Array | None = None) -> Surface:
    """Least squares of `values` [G]; with fewer mixtures than coefficients the smallest solution.

    Columns are scaled to unit size first, so that neither the fit nor "smallest" depends on the
    units of OT.
    """
    X = design(form, p, ot)
    scale = np.linalg.norm(X, axis=0)
    scale[scale == 0] = 1.0
    solution, *_ = np.linalg.lstsq(X / scale, np.asarray(values, dtype=np.float64), rcond=1e-10)
    return Surface(form, solution / scale)


def n_coefficients(form: Form, m: int) -> int:
    width = 1 + _powers(form) * (m - 1)
    return 2 * width if form in NEEDS_OT else width


def _powers(form: Form) -> int:
    return {"ot-linear": 0, "linear": 1, "pseudo-linear": 1}.get(form, 2)


def _polynomial(p: Array, powers: int) -> Array:
    """1, p_1 .. p_{m-1}, p_1^2 .. : [G, 1 + powers (m - 1)]."""
    free = p[:, :-1]
    return np.hstack([np.ones((len(p), 1)), *(free**k for k in range(1, powers + 1))])


def carry(low: Array, high: Array, n0: int, n1: int, n: int, law: Law = "log-linear") -> Array:
    """Performance at n from that at n0 and at n1, elementwise: `low` at n = n0, `high` at n = n1.

    log-linear: L_N = [log(N/n0) L_n1 - log(N/n1) L_n0] / log(n1/n0), linear in log n (Kang et
    al. 2023). power: the error 1 - L falls as n^-b; errors below 1e-6 count as that.
    """
    a, b = carry_weights(n0, n1, n)
    if law == "log-linear":
        return a * np.asarray(low) + b * np.asarray(high)
    errors = [np.log(np.maximum(1.0 - np.asarray(v, dtype=np.float64), 1e-6)) for v in (low, high)]
    return 1.0 - np.exp(a * errors[0] + b * errors[1])


def carry_weights(n0: int, n1: int, n: int) -> tuple[float, float]:
    """The weights of the values at n0 and n1 in a law linear in log n; they sum to 1."""
    if not 0 < n0 < n1 or n <= 0:
        raise ValueError(f"0 < n0 < n1 and 0 < n, not {n0}, {n1}, {n}")
    span = np.log(n1 / n0)
    return float(-np.log(n / n1) / span), float(np.log(n / n0) / span)


def carry_slopes(
    low: float, high: float, n0: int, n1: int, n: int, law: Law = "log-linear"
) -> tuple[float, float]:
    """(dL_N/dL_n0, dL_N/dL_n1) of `carry` at one point."""
    a, b = carry_weights(n0, n1, n)
    if law == "log-linear":
        return a, b
    error = 1.0 - float(carry(np.array(low), np.array(high), n0, n1, n, law))
    return tuple(  # type: ignore[return-value]
        w * error / (1.0 - v) if 1.0 - v > 1e-6 else 0.0 for w, v in ((a, low), (b, high))
    )


@dataclass(frozen=True)
class Carried:
    """Two surfaces, at n0 and n1, carried to n: performance of any mixture at that size."""

    low: Surface
    high: Surface
    sizes: tuple[int, int]
    n: int
    law: Law = "log-linear"

    def values(self, p: Array, ot: Array) -> Array:
        """p [G, m], ot [2, G], the distances at n0 and at n1 -> [G]."""
        values = self.low.values(p, ot[0]), self.high.values(p, ot[1])
        return carry(*values, *self.sizes, self.n, self.law)

    def slopes(self, p: Array, ot: Array) -> tuple[Array, Array]:
        """At one mixture p [m], ot [2]: d/dp_i with the distances held [m], d/d(ot) [2]."""
        each = [s.slopes(p, float(d)) for s, d in zip((self.low, self.high), ot)]
        pair = zip((self.low, self.high), ot)
        low, high = (float(s.values(p[None], np.array([d]))[0]) for s, d in pair)
        by_value = carry_slopes(low, high, *self.sizes, self.n, self.law)
        explicit = sum((w * e for w, (e, _) in zip(by_value, each)), np.zeros(len(p)))
        return explicit, np.array([w * s for w, (_, s) in zip(by_value, each)])


def fit_power_law(n: Array, error: Array) -> tuple[float, float, float]:
    """(a, b, c) of error = a n^-b + c with a, b >= 0 and 0 <= c <= min error, least squares.

    Needs three sizes (ValueError). For given b the rest is a linear problem, so b alone is searched
    (golden section after a grid); with c at a bound it is the best there.
    """
    from scipy.optimize import lsq_linear, minimize_scalar

    n, error = np.asarray(n, dtype=np.float64), np.asarray(error, dtype=np.float64)
    if len(np.unique(n)) < 3:
        raise ValueError("a power law with an offset needs three sizes")
    unit = n / n.min()
    most = max(float(error.min()), 1e-12)

    def linear(b: float) -> tuple[float, Array]:
        X = np.stack([unit**-b, np.ones_like(unit)], axis=1)
        found = lsq_linear(X, error, bounds=([0, 0], [np.inf, most]), tol=1e-14)
        return float(2 * found.cost), found.x

    grid = np.geomspace(0.01, 4.0, 40)
    at = int(np.argmin([linear(b)[0] for b in grid]))
    low, high = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    best = minimize_scalar(lambda b: linear(b)[0], bounds=(low, high), method="bounded")
    b = float(best.x)
    a, c = linear(b)[1]
    return float(a * n.min() ** b), b, float(c)
