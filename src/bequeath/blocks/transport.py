"""Optimal transport between labelled data sets, with the duals that say what each point costs.

The distance is that of Alvarez-Melis and Fusi, "Geometric Dataset Distances via Optimal Transport"
(2020, arXiv 2002.02923): between (x, y) and (x', y')

    c = lam_x |x - x'|^2 + lam_y W_2^2(points of class y here, points of class y' there)

and OT is the least mean cost of moving one set onto the other. Solved by POT, exactly or with an
entropic term; the latter is debiased (Feydy et al. 2019): S(a, b) = OT(a, b) - OT(a, a)/2 -
OT(b, b)/2. NumPy float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bequeath.kernel.errors import Problem, RunError

Array = np.ndarray
Inner = Literal["exact", "gaussian", "none"]


@dataclass(frozen=True)
class Labelled:
    """x: features float64 [n, d]. y: classes int64 [n]. weights: masses [n], or None for equal."""

    x: Array
    y: Array
    weights: Array | None = None

    def masses(self) -> Array:
        n = len(self.x)
        return np.full(n, 1.0 / n) if self.weights is None else self.weights / self.weights.sum()


@dataclass(frozen=True)
class Transport:
    """value: the distance. f [n], g [m]: its derivative by the mass of each point here and there,
    known up to one constant that goes from f to g; use differences of means (`slope_of_shares`).
    """

    value: float
    f: Array
    g: Array


def distance(
    here: Labelled,
    there: Labelled,
    *,
    lam_x: float = 1.0,
    lam_y: float = 1.0,
    inner: Inner = "exact",
    blur: float = 0.0,
) -> Transport:
    """The distance between two labelled sets and its duals.

    inner: how the W_2 between classes is found: `exact`, `gaussian` (their means and shrunk
    covariances; for classes with fewer points than dimensions), or `none` (0 between equal classes,
    infinity is not needed: 0 everywhere). blur: 0 solves exactly; above, the entropic term is
    blur^2 and the result is debiased. RunError G457 without POT, G458 where it does not converge.
    """
    how = {"lam_x": lam_x, "lam_y": lam_y, "inner": inner}
    across = solve(cost(here, there, **how), here.masses(), there.masses(), blur)  # type: ignore[arg-type]
    if blur == 0:
        return across
    within, f = _to_itself(cost(here, here, **how), here.masses(), blur)  # type: ignore[arg-type]
    beyond, g = _to_itself(cost(there, there, **how), there.masses(), blur)  # type: ignore[arg-type]
    return Transport(across.value - (within + beyond) / 2, across.f - f, across.g - g)


def cost(
    here: Labelled, there: Labelled, *, lam_x: float, lam_y: float, inner: Inner = "exact"
) -> Array:
    """The cost of each pair, [n, m]."""
    found = lam_x * squared(here.x, there.x)
    if lam_y > 0 and inner != "none":
        a, a_index = np.unique(here.y, return_inverse=True)
        b, b_index = np.unique(there.y, return_inverse=True)
        here_classes = [_class(here, k) for k in a]
        there_classes = [_class(there, k) for k in b]
        between = exact_classes if inner == "exact" else gaussian_classes
        found += lam_y * between(here_classes, there_classes)[a_index][:, b_index]
    return found


def squared(x: Array, y: Array) -> Array:
    """|x_i - y_j|^2, [n, m], never negative."""
    found = (x * x).sum(1)[:, None] + (y * y).sum(1)[None] - 2.0 * x @ y.T
    return np.maximum(found, 0.0)


def _class(one: Labelled, k: Any) -> tuple[Array, Array]:
    rows = one.y == k
    mass = one.masses()[rows]
    # a class all of whose points weigh nothing still has a shape
    mass = mass / mass.sum() if mass.sum() > 0 else np.full(len(mass), 1.0 / len(mass))
    return one.x[rows], mass


def exact_classes(
    here: Sequence[tuple[Array, Array]], there: Sequence[tuple[Array, Array]]
) -> Array:
    """W_2^2 between point clouds (x [n, d], masses [n]): [K, K']."""
    ot = pot()
    return np.array([[float(ot.emd2(a, b, squared(x, y))) for y, b in there] for x, a in here])


def gaussian_classes(
    here: Sequence[tuple[Array, Array]], there: Sequence[tuple[Array, Array]]
) -> Array:
    """The same between Gaussians of the clouds' means and covariances:

    W_2^2 = |m - m'|^2 + tr S + tr S' - 2 tr (S^1/2 S' S^1/2)^1/2

    Covariances are drawn to a sphere of the same size by d / (n + d), n points in d dimensions:
    of few points one is singular. The amount is ours.
    """
    mean_a, cov_a = _gaussians(here)
    mean_b, cov_b = _gaussians(there)
    root = _root(cov_b)
    middle = root[None] @ cov_a[:, None] @ root[None]
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(middle), 0)).sum(-1)
    traces = np.trace(cov_a, axis1=1, axis2=2)[:, None] + np.trace(cov_b, axis1=1, axis2=2)[None]
    return np.maximum(squared(mean_a, mean_b) + traces - 2 * cross, 0.0)


def _gaussians(clouds: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    means = np.stack([mass @ x for x, mass in clouds])
    covariances = []
    for (x, mass), mean in zip(clouds, means):
        n, d = x.shape
        S = (x - mean).T @ ((x - mean) * mass[:, None])
        covariances.append((n * S + d * np.eye(d) * np.trace(S) / d) / (n + d))
    return means, np.stack(covariances)


def _root(S: Array) -> Array:
    values, vectors = np.linalg.eigh(S)
    return (vectors * np.sqrt(np.maximum(values, 0))[..., None, :]) @ vectors.swapaxes(-1, -2)


def solve(C: Array, a: Array, b: Array, blur: float = 0.0) -> Transport:
    """OT of cost C [n, m] between masses a and b: exact, or with entropy blur^2 KL(P | a b^T).

    With entropy the value is that of the dual, <f, a> + <g, b>, and f, g its derivatives.
    """
    ot = pot()
    if blur == 0:
        _, log = ot.emd(a, b, C, log=True, numItermax=2_000_000)
        if log["warning"] is not None:
            raise RunError(Problem("G458", "optimal transport did not converge", label="exact"))
        return Transport(float(log["cost"]), np.asarray(log["u"]), np.asarray(log["v"]))
    here, there = a > 0, b > 0  # the entropy is relative to the masses, so those of 0 drop out
    f, g = np.zeros(len(a)), np.zeros(len(b))
    epsilon = blur**2
    _, log = ot.sinkhorn(
        a[here],
        b[there],
        C[np.ix_(here, there)],
        epsilon,
        method="sinkhorn_log",
        log=True,
        numItermax=10_000,
        stopThr=1e-9,
        warn=False,
    )
    if not log["err"] or not log["err"][-1] < 1e-6:
        remedy = "raise `blur`, or set it to 0: exact transport"
        problem = Problem("G458", "optimal transport did not converge", remedies=(remedy,))
        raise RunError(problem)
    # POT's potentials hold the masses: P = exp(u + v - C / epsilon)
    f[here] = epsilon * (np.asarray(log["log_u"]) - np.log(a[here]))
    g[there] = epsilon * (np.asarray(log["log_v"]) - np.log(b[there]))
    return Transport(float(f @ a + g @ b), f, g)


def _to_itself(C: Array, a: Array, blur: float) -> tuple[float, Array]:
    """Entropic OT of a measure to itself: its value and its one potential f [n] (both are equal).

    The averaged fixed point f <- (f - eps log sum_j a_j exp((f_j - C_ij) / eps)) / 2 converges in
    a few dozen steps where alternating ones need thousands (Feydy et al. 2019).
    """
    from scipy.special import logsumexp

    there, epsilon = a > 0, blur**2
    kernel, log_a = -C[np.ix_(there, there)] / epsilon, np.log(a[there])
    u = np.zeros(len(log_a))
    for _ in range(10_000):
        after = -logsumexp(kernel + (u + log_a)[None], axis=1)
        change = float(np.abs(after - u).max())
        u = (u + after) / 2
        if change * epsilon <= 1e-10 * max(1.0, float(C.max())):
            break
    f = np.zeros(len(a))
    f[there] = epsilon * u
    return float(2 * f @ a), f


def slope_of_shares(f: Array, source: Array, shares: Array) -> Array:
    """d OT / d p_i, "raise p_i and shrink all others in proportion": [m], calibrated.

    f [n]: duals of the points here. source [n]: which source each is from. shares [m]: p, the
    mass of each source, spread evenly over its points.

        D_i = mean_i f - sum_{k != i} p_k mean_k f / (1 - p_i)

    the derivative along e_i - p_{-i} / (1 - p_i). Adding a constant to f changes nothing. A source
    without points gets 0. These are m directional derivatives, not partials: see `steepest`.
    Kang et al. 2023, arXiv 2307.02460 (there with n_i / N in place of p_i).
    """
    m = len(shares)
    means, there = _source_means(f, source, m)
    found = np.zeros(m)
    for i in range(m):
        others = (np.arange(m) != i) & there
        rest = float(shares[others].sum())
        if there[i] and rest > 0:
            found[i] = means[i] - float(shares[others] @ means[others]) / rest
    return found


def steepest(slopes: Array, shares: Array) -> Array:
    """From `slope_of_shares` to the gradient within the simplex [m], which sums to 0.

    e_i - p = (1 - p_i) (e_i - p_{-i} / (1 - p_i)), so (1 - p_i) D_i is the gradient's i-th entry
    up to a constant that is the same for all.
    """
    free = (1.0 - np.asarray(shares)) * np.asarray(slopes)
    return free - free.mean()


def _source_means(f: Array, source: Array, m: int) -> tuple[Array, Array]:
    number = np.bincount(source, minlength=m)
    total = np.bincount(source, weights=f, minlength=m)
    return total / np.maximum(number, 1), number > 0


def pot() -> Any:
    """POT. RunError G457 where it is not installed."""
    try:
        import ot
    except ImportError as error:
        problem = Problem(
            "G457",
            "optimal transport needs the library POT, which is not installed",
            remedies=("pip install 'bequeath[ot]'",),
        )
        raise RunError(problem) from error
    return ot
