"""Exposure: how much nearer to the top a model ranks a secret than chance would, in bits.

Carlini, Liu, Erlingsson, Kos, Song, "The Secret Sharer", 2019, arXiv 1802.08232. With R the number
of secrets there could have been and rank 1 the one the model finds likeliest,

    exposure(s) = log2 R - log2 rank(s)

It is log2 R for a secret that the first guess finds. Of a model that knows nothing ranks are even,
and the mean is log2 R - log2(R!) / R, which goes to log2 e = 1.44 bits as R grows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Exposure(NamedTuple):
    """bits; rank: 1 is the likeliest (the mean over the tied). fit: p-value of the fit, if one."""

    bits: float
    rank: float
    fit: float | None = None


def by_rank(secret: float, everyone: Tensor) -> Exposure:
    """Exposure among all candidates.

    secret: -log p of the secret; everyone: of all R candidates [R], the secret among them. Where
    some tie, the mean of log2 rank over all orders of the tied counts. ValueError when it is not
    among them or a number is not finite.
    """
    if not bool(everyone.isfinite().all()) or not math.isfinite(secret):
        raise ValueError("the likelihood of some candidates is not finite")
    below = int((everyone < secret).sum())
    tied = int((everyone == secret).sum())
    if tied == 0:
        raise ValueError("the secret is not among the candidates")
    log2_rank = (math.lgamma(below + tied + 1) - math.lgamma(below + 1)) / math.log(2) / tied
    return Exposure(math.log2(len(everyone)) - log2_rank, below + (tied + 1) / 2)


def by_fit(secret: float, sample: Tensor, space: int) -> Exposure:
    """Exposure by a skew-normal distribution fitted to -log p of randomly drawn candidates.

    exposure = -log2 P(a candidate is at least as likely), at most log2 `space`, since beyond that
    the fit tells of less than one candidate. sample: [n], n >= 100. fit: the p-value of a
    Kolmogorov-Smirnov test on the other half of the sample; a small one says: do not believe it.
    Needs SciPy. ValueError for a sample too small or not finite.
    """
    from scipy import stats

    values = sample.double().numpy()
    if len(values) < 100 or not bool(sample.isfinite().all()) or not math.isfinite(secret):
        raise ValueError("a fit needs 100 finite likelihoods or more")
    if values.std() < 1e-9 * (1 + abs(values.mean())):  # a model that tells none from another
        return Exposure(floor(space), (space + 1) / 2)
    half = stats.skewnorm.fit(values[::2])
    p_value = float(stats.kstest(values[1::2], stats.skewnorm(*half).cdf).pvalue)
    shape, centre, scale = stats.skewnorm.fit(values)
    # the tail by quadrature of the log-density: SciPy's cdf is rounding noise below 1e-12
    x = torch.linspace(centre - 40 * scale, secret, 20_001, dtype=torch.float64)
    log_p = torch.from_numpy(stats.skewnorm.logpdf(x.numpy(), shape, centre, scale))
    tail = float(log_p.logsumexp(0)) + math.log(max(float(x[1] - x[0]), 1e-300))
    bits = min(max(-tail / math.log(2), 0.0), math.log2(space))
    return Exposure(bits, max(1.0, space / 2**bits), p_value)


def floor(space: int) -> float:
    """The mean exposure of a model that has never seen the secret, bits."""
    return math.log2(space) - math.lgamma(space + 1) / math.log(2) / space


def kept(exposure: float, teacher: float, least: float) -> float:
    """The share of a teacher's knowledge of secrets that a student has: 0 none, 1 all of it.

    (exposure - least) / (teacher - least), `least` the `floor`; NaN where the teacher has none.
    """
    return (exposure - least) / (teacher - least) if teacher > least else math.nan
