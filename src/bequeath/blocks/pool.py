"""A pool of candidates with cheap metrics, and a counted oracle for what is expensive to know.

Whatever is random about an order of candidates is a function of their names, never of their
places, so the result of a search does not depend on how the pool happens to be sorted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bequeath.kernel.errors import Problem, RunError

Array = np.ndarray


@dataclass(frozen=True, repr=False)
class Pool:
    """What may be known of N candidates without paying for it.

    ids: their names, all different. names: of the M metrics. metrics: float64 [N, M], NaN where a
    metric has no value. signs: [M] of 1 and -1, the user's word on which way each metric is
    better. codes: int64 [N, D], the decisions that make a candidate (the operations of a cell);
    None where only names are known.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    metrics: Array
    signs: Array
    codes: Array | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Pool({len(self)} candidates, metrics {', '.join(self.names) or 'none'})"


class Oracle:
    """Answers what a candidate is worth, and counts each candidate once.

    `query(i)` is the objective of candidate i, turned so that more is better. Asking again costs
    nothing. The objective itself lies in a closure, out of a method's sight.
    """

    def __init__(self, pool: Pool, budget: int, ask: Callable[[int], float]):
        """budget: how many different candidates may be asked about. ask: the objective."""
        self.pool, self.budget = pool, budget
        answers: dict[int, float] = {}

        def query(i: int) -> float:
            i = int(i)
            if not 0 <= i < len(pool):
                raise IndexError(f"candidate {i} of {len(pool)}")
            if i not in answers:
                if len(answers) >= budget:
                    raise RunError(_spent(pool.ids[i], budget))
                answers[i] = float(ask(i))
            return answers[i]

        self._answers, self._query = answers, query

    def query(self, i: int) -> float:
        """The objective of candidate i. RunError T660 for one more than the budget."""
        return self._query(i)

    @property
    def asked(self) -> tuple[int, ...]:
        """The candidates asked about, each once, in that order."""
        return tuple(self._answers)

    @property
    def left(self) -> int:
        """How many more candidates may be asked about."""
        return self.budget - len(self._answers)

    @property
    def best(self) -> int:
        """The candidate with the best answer so far; of equals the first asked. LookupError."""
        if not self._answers:
            raise LookupError("no candidate has been asked about")
        return max(self._answers, key=self._answers.__getitem__)

    def knows(self, i: int) -> bool:
        """Whether asking about candidate i costs nothing."""
        return int(i) in self._answers

    def query_until_spent(self, order: Sequence[int] | Array) -> None:
        """Ask about the candidates of `order`, first to last, while the budget lasts."""
        for i in order:
            if not self.left:
                return
            self.query(int(i))


def drawn_seed(rng: torch.Generator) -> int:
    """A number below 2^62 from a stream, to begin a stream of another library."""
    return int(torch.randint(2**62, (1,), generator=rng))


def name_noise(ids: Sequence[str], rng: torch.Generator) -> Array:
    """uint64 [N], random but a function of (where the stream is, name) alone."""
    key = drawn_seed(rng).to_bytes(8, "little")
    digests = [hashlib.blake2b(name.encode(), digest_size=8, key=key).digest() for name in ids]
    return np.frombuffer(b"".join(digests), dtype="<u8")


def scaled(metrics: Array) -> tuple[Array, Array]:
    """Each metric brought to [0, 1] over the pool. -> float64 [N, K], which columns were kept [K].

    (v - min) / (max - min) over the finite values; what is not finite counts 0, as the card of
    RoBoT has it. A metric that is the same for all candidates ranks nothing and is left out, so
    that adding one changes nothing.
    """
    finite = np.isfinite(metrics)
    low = np.where(finite, metrics, np.inf).min(axis=0, initial=np.inf)
    high = np.where(finite, metrics, -np.inf).max(axis=0, initial=-np.inf)
    filled = np.where(finite, metrics, np.where(np.isfinite(low), low, 0.0))
    kept = np.flatnonzero(filled.max(axis=0, initial=-np.inf) > filled.min(axis=0, initial=np.inf))
    low, high = low[kept], high[kept]
    return (filled[:, kept] - low) / (high - low), kept


def weighted_sum(metrics: Array, weights: Array) -> Array:
    """S_w = sum_m w_m M_m, [N].

    Term by term: a matrix product may round equal rows differently, which would break ties by
    their place in the pool.
    """
    total = np.zeros(len(metrics))
    for m, weight in enumerate(weights):
        total = total + weight * metrics[:, m]
    return total


def ranked(scores: Array, noise: Array) -> Array:
    """Candidates from the highest score down, int64 [N]; ties in the order of `noise`."""
    return np.lexsort((noise, -scores))


def top(scores: Array, noise: Array) -> int:
    """The first of `ranked`, without sorting all."""
    best = np.flatnonzero(scores == scores.max())
    return int(best[np.argmin(noise[best])])


def distances(pool: Pool, i: int) -> Array:
    """How far every candidate is from candidate i, float64 [N].

    With codes, the number of decisions that differ; else the Euclidean distance of the scaled
    metrics. Zero for all where neither is known.
    """
    if pool.codes is not None:
        return (pool.codes != pool.codes[i]).sum(axis=1).astype(np.float64)
    metrics, _ = scaled(pool.metrics)
    return np.sqrt(((metrics - metrics[i]) ** 2).sum(axis=1))


def nearest_unknown(oracle: Oracle, i: int, k: int) -> Array:
    """Candidates near to i that were not asked about yet, int64 [>= 1]; some must be left.

    With codes, all at the smallest distance there is; else the k nearest, and what ties with them.
    """
    pool = oracle.pool
    away = distances(pool, i)
    away[list(oracle.asked)] = np.inf
    open_ = np.sort(away[np.isfinite(away)])
    reach = open_[0] if pool.codes is not None else open_[min(k, len(open_)) - 1]
    return np.flatnonzero(away <= reach)


def _spent(name: str, budget: int) -> Problem:
    return Problem(
        "T660",
        f"the budget of {budget} queries is spent, and `{name}` was asked about",
        at=("protocol", "budget"),
        remedies=("a method asks only while `oracle.left` is above 0",),
    )
