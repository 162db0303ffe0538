"""`synthetic:pool`: made-up candidates, to try a search where the truth is known."""

from __future__ import annotations

from typing import Any

from bequeath.given.data_schemes.source import Found, fail
from bequeath.kernel.errors import JobError

METRICS = ("strong", "weak1", "weak2", "inverted", "noise")


def find(rest: str, options: Any) -> Found:
    try:
        _known(rest)
    except JobError as error:
        return Found(problems=error.problems)
    return Found("pool", options.n)


def read(rest: str, options: Any) -> Any:
    import numpy as np

    from bequeath.given.pool import PoolSamples

    _known(rest)
    n = options.n
    rng = np.random.default_rng(options.seed)
    quality = rng.standard_normal(n)
    noise = rng.standard_normal((n, len(METRICS) + 1))
    share = np.array([1.0, 1.0, 1.0, -1.0, 0.0])
    spread = np.array([0.3, 1.5, 1.5, 0.5, 1.0])
    return PoolSamples(
        ids=tuple(f"c{i}" for i in range(n)),
        names=METRICS,
        metrics=quality[:, None] * share + noise[:, :-1] * spread,
        signs=np.array([1.0, 1.0, 1.0, -1.0, 1.0]),
        objective=quality + 0.1 * noise[:, -1],
        report={"quality": quality},
    )


def _known(name: str) -> None:
    if name != "pool":
        fail("D216", f"there is no made-up data set `{name}`", label="did you mean `pool`?")
