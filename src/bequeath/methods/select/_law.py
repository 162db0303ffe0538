"""From small trials to a mixture: fit two surfaces, carry them to N, climb, say how sure.

What `projektor` and `mixture_law` share; they differ in whether the surfaces know the distance of
a mixture's samples to the validation data.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bequeath.methods.select import Estimate, Question, Selection

if TYPE_CHECKING:
    import numpy as np

    from bequeath.blocks.scaling import Carried, Form, Law
    from bequeath.methods.select._distances import Distances
    from bequeath.train.context import Context

RESAMPLES = 200


def choose(
    ctx: Context,
    ask: Question,
    *,
    form: Form,
    law: Law,
    rate: float,
    decay: float,
    steps: int,
    distances: Distances | None = None,
) -> tuple[Selection, dict[str, Any]]:
    """The mixture that promises most, with predictions for all asked about; and notes.

    The interval is of the fit alone: mixtures are resampled and both surfaces fitted again. It
    does not know whether the law holds as far as N.
    """
    import numpy as np

    from bequeath.blocks.mixtures import climb

    tried = np.stack([ask.tried(ctx, n) for n in ask.sizes])
    fit_ot = _distances(distances, ask, ask.fit)
    fitted = _fit(form, law, ask, tried, fit_ot, np.arange(len(ask.fit)))

    def at(p: np.ndarray) -> tuple[float, np.ndarray]:
        ot, by_share = np.zeros(2), np.zeros((2, len(p)))
        if distances is not None:
            ot, by_share = distances.with_slopes(p)
        explicit, by_ot = fitted.slopes(p, ot)
        return float(fitted.values(p[None], ot[:, None])[0]), explicit + by_ot @ by_share

    start = np.full(len(ask.sources), 1.0 / len(ask.sources))
    found = climb(
        at,
        start,
        upper=ask.limits,
        rate=rate,
        decay=decay,
        steps=steps,
        higher_is_better=True,
        least=0.5 / ask.sizes[1],  # less than one sample of a trial
    )
    best = found.path[found.best]
    best_ot = np.zeros(2) if distances is None else distances.with_slopes(best)[0]
    g = np.random.default_rng(ctx.rng("resample").initial_seed())
    resampled = (
        _fit(form, law, ask, tried, fit_ot, rows)
        for rows in g.integers(0, len(ask.fit), (RESAMPLES, len(ask.fit)))
    )
    expected = _estimate(float(found.values[found.best]), resampled, best, best_ot)
    predicted = np.clip(fitted.values(ask.asked, _distances(distances, ask, ask.asked)), 0, 1)
    shares = dict(zip(ask.sources, best.tolist()))
    notes = {
        "trials": tried.size * ask.repeats,
        "size_over_largest_trial": ask.size / ask.sizes[1],
        "fit_residual": _residual(fitted, ask, tried, fit_ot),
        "climb_steps": len(found.path) - 1,
    }
    return Selection(shares, expected=expected, predicted=predicted), notes


def _estimate(
    value: float, resampled: Iterable[Carried], p: np.ndarray, ot: np.ndarray
) -> Estimate:
    """A value at the mixture p with the quantiles of what other fits say there, all in 0..1."""
    import numpy as np

    draws = [float(one.values(p[None], ot[:, None])[0]) for one in resampled]
    bounds = np.quantile(draws, [0.025, 0.975])
    low, value, high = (float(v) for v in np.clip([bounds[0], value, bounds[1]], 0, 1))
    return Estimate(value, min(low, value), max(high, value))


def _distances(distances: Distances | None, ask: Question, points: np.ndarray) -> np.ndarray:
    """OT at n0 and n1 of each mixture, [2, G]; zeros for laws that do not know it."""
    import numpy as np

    if distances is None:
        return np.zeros((2, len(points)))
    return np.array([[distances.value(n, p) for p in points] for n in ask.sizes])


def _fit(
    form: Form, law: Law, ask: Question, tried: np.ndarray, ot: np.ndarray, rows: np.ndarray
) -> Carried:
    from bequeath.blocks.scaling import Carried, fit_surface

    low, high = (
        fit_surface(form, ask.fit[rows], values[rows], d[rows]) for values, d in zip(tried, ot)
    )
    return Carried(low, high, ask.sizes, ask.size, law)


def _residual(fitted: Carried, ask: Question, tried: np.ndarray, ot: np.ndarray) -> float:
    """Mean absolute error of both surfaces on what they were fitted to."""
    import numpy as np

    pair = zip((fitted.low, fitted.high), tried, ot)
    return float(np.mean([np.abs(s.values(ask.fit, d) - v).mean() for s, v, d in pair]))
