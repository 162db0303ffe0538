"""Intervals and tests for quantities measured over seeds and over test samples.

The model behind all of it: a difference d[s, i] on seed s and sample i. Seeds are a sample of
trainings, test samples a sample of the world, and the *same* test samples serve every seed. The
two are crossed, so one draw of the bootstrap resamples seeds once and samples once:

    draw = mean + (resampled seeds - mean) * k + (resampled samples - mean)

k widens the seed part: a bootstrap over S values has a variance S/(S-1) times too small, and S
values leave the spread itself uncertain. k = sqrt(S/(S-1)) * sqrt((S-1)/chi2_(S-1)), drawn anew
each time, gives the seed part the tails of Student's t; at 3 to 5 seeds a plain bootstrap would
cover 80 to 88 % where it says 95 %. A metric that is no mean over samples has a seed part only.

Terms that are right or wrong get half a flip either way on top (a variance of 1 / N^2), as Agresti
and Min (2005) do for paired proportions: where two arms answered N samples alike, the interval
would else be a point, and 30 samples would prove them equal.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 10_000
_EXACT_SEEDS = 16
_DISTINCT = 256
_GATHER = 2_000


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and samples with what is known of its uncertainty.

    draws: bootstrap values of the mean, or None when nothing can be resampled (one seed of a
    metric that has no per-sample terms). over: what was resampled.
    """

    value: float
    draws: np.ndarray | None
    over: str
    n_seeds: int
    n_samples: int
    sd_seeds: float | None
    se_seeds: float
    se_samples: float


def estimate(
    values: Sequence[float] | np.ndarray,
    terms: np.ndarray | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Estimate a mean from `values` [S], one a seed, and, if it has them, `terms` [S, N].

    For a paired difference pass differences in both. ValueError when S is 0 or shapes disagree.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError("values is one number a seed, at least one")
    if terms is not None and (terms.ndim != 2 or len(terms) != len(values) or not terms.shape[1]):
        raise ValueError("terms is [seeds, samples], with at least one sample")
    n_seeds = len(values)
    mean = float(values.mean())
    rng = np.random.default_rng([seed, n_seeds])
    total = np.zeros(draws)
    sd = se_seeds = se_samples = 0.0
    if n_seeds > 1:
        sd = float(values.std(ddof=1))
        se_seeds = sd / math.sqrt(n_seeds)
        total += _seed_part(values - mean, draws, rng)
    n_samples = 0
    if terms is not None:
        samples = terms.mean(axis=0, dtype=np.float64)
        n_samples = len(samples)
        se_samples = float(samples.std(ddof=1)) / math.sqrt(n_samples) if n_samples > 1 else 0.0
        total += _sample_part(samples - samples.mean(), draws, rng)
        if np.isin(terms, (-1.0, 0.0, 1.0)).all():
            # Right or wrong: that no sample flipped among few does not mean that none would.
            se_samples = math.hypot(se_samples, 1 / n_samples)
            total += rng.normal(0.0, 1 / n_samples, size=draws)
    over = {(True, True): "seeds and samples", (True, False): "seeds", (False, True): "samples"}
    known = over.get((n_seeds > 1, terms is not None))
    return Estimate(
        value=mean,
        draws=None if known is None else mean + total,
        over=known or "nothing",
        n_seeds=n_seeds,
        n_samples=n_samples,
        sd_seeds=sd if n_seeds > 1 else None,
        se_seeds=se_seeds,
        se_samples=se_samples,
    )


def _seed_part(centred: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    n = len(centred)
    if not centred.any():
        return np.zeros(draws)
    resampled = centred[rng.integers(n, size=(draws, n))].mean(axis=1)
    widen = math.sqrt(n / (n - 1)) * np.sqrt((n - 1) / rng.chisquare(n - 1, size=draws))
    return resampled * widen


def _sample_part(centred: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Means of resampled samples. Right and wrong leave few distinct values, and resampling N
    samples is then one multinomial over those; many distinct values are gathered in full, or,
    when there are thousands, drawn from the normal law that their mean follows."""
    if not centred.any():
        return np.zeros(draws)
    n = len(centred)
    distinct, counts = np.unique(centred, return_counts=True)
    if len(distinct) <= _DISTINCT:
        return rng.multinomial(n, counts / n, size=draws) @ distinct / n
    if n <= _GATHER:
        chunks = np.array_split(np.arange(draws), max(1, draws * n // 4_000_000))
        return np.concatenate(
            [centred[rng.integers(n, size=(len(c), n))].mean(axis=1) for c in chunks]
        )
    return rng.normal(0.0, centred.std() / math.sqrt(n), size=draws)


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of `draws` at `level`."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def p_value(draws: np.ndarray) -> float:
    """Two-sided p of `no difference`: the level at which the interval would just touch zero."""
    n = len(draws)
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (n + 1))


def sign_flip(differences: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Two-sided permutation p over seeds, and the least p that so many seeds can give.

    If an arm made no difference, each paired difference could as well have had the other sign.
    All 2^S signs are tried up to 16 seeds, 100,000 random ones beyond. With 5 seeds p cannot
    fall below 0.0625, with 6 below 0.03125.
    """
    d = np.asarray(differences, dtype=np.float64)
    n = len(d)
    if n == 0:
        raise ValueError("no differences")
    observed = abs(d.sum())
    slack = 1e-12 * max(1.0, float(np.abs(d).sum()))
    if n <= _EXACT_SEEDS:
        # The sign of the first difference may be kept: flipping all signs leaves |sum| as it is.
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=n - 1)))
        sums = np.abs(d[0] + signs @ d[1:])
        return float((sums >= observed - slack).mean()), min(1.0, 2.0 ** (1 - n))
    rng = np.random.default_rng(n)
    tried = 100_000
    sums = np.abs(rng.choice((-1.0, 1.0), size=(tried, n)) @ d)
    return float((sums >= observed - slack).sum() + 1) / (tried + 1), 1 / (tried + 1)


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment; None (not tested) stays None and does not count."""
    tested = sorted((value, i) for i, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    running = 0.0
    for rank, (value, i) in enumerate(tested):
        running = max(running, min(1.0, (len(tested) - rank) * value))
        adjusted[i] = running
    return adjusted


def equivalent(draws: np.ndarray, margin: float, alpha: float = 0.05) -> bool:
    """Two one-sided tests: the (1 - 2 alpha) interval lies within [-margin, margin]."""
    low, high = interval(draws, 1 - 2 * alpha)
    return -margin <= low and high <= margin


def least_detectable(of: Estimate, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The true difference that a two-sided test at `alpha` would see with probability `power`.

    The seed part uses Student's t with S - 1 degrees of freedom, the sample part the normal law.
    None when nothing is known of the spread.
    """
    if of.draws is None:
        return None
    from statistics import NormalDist

    normal = NormalDist().inv_cdf
    part = (normal(1 - alpha / 2) + normal(power)) * of.se_samples
    if of.n_seeds > 1:
        from scipy.special import stdtrit

        df = of.n_seeds - 1
        reach = float(stdtrit(df, 1 - alpha / 2) + stdtrit(df, power))
        part = math.hypot(part, reach * of.se_seeds)
    return part


def flips(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`before`, `after`: bool [S, N], right or wrong. How many seeds mended, and broke, sample i.

    Two int arrays of length N.
    """
    return (~before & after).sum(axis=0), (before & ~after).sum(axis=0)


def mcnemar(mended: int, broken: int) -> float:
    """Exact two-sided p that a flip is as likely to mend as to break (one pair of models)."""
    n = mended + broken
    if n == 0:
        return 1.0
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(mended, broken), n, 0.5)))
