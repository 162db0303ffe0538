"""What the rules on task vectors share: thin them out, agree on signs, add them to the base.

A task vector is tau_i = x_i - base. All of these rules are

    out = base + lambda * sum_i a_i m_i w_i tau_i / d

with m_i a mask (by size, or random), perhaps rescaled, a_i whether the element agrees with the
elected sign, and d a divisor (1, or the sum of the weights that take part).

The code works with base - x_i and subtracts: where nothing changes, the base comes out to the last
bit, the sign of a zero included, which adding zero would not keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bequeath.weights.random_mask import random_mask, stream_key
from bequeath.weights.rule import Part, Whole, per_model
from bequeath.weights.select import Cut, Rank, cuts
from bequeath.weights.sums import block_sums, total

if TYPE_CHECKING:
    from torch import Tensor

TINY = 1e-7  # a task vector of a smaller L1 norm is not rescaled; mergekit's value
NO_DIVISOR = 1e-8  # weights that sum to less are not divided by; mergekit's value

RESCALE = ("none", "density", "norm")
ELECT = ("mass", "count")


class DeltaSettings(Protocol):
    """What the rules' settings have in common."""

    @property
    def weight(self) -> tuple[float, ...]: ...
    @property
    def lambda_(self) -> float: ...
    @property
    def normalize(self) -> bool: ...


class ElectingSettings(DeltaSettings, Protocol):
    @property
    def elect(self) -> str: ...


class Band(NamedTuple):
    """Magnitudes above `low` and below `high`; None: no border."""

    low: Cut | None
    high: Cut | None

    def mask(self, tau: Tensor, start: int) -> Tensor:
        """1 or 0, in the type of tau."""
        if self.high is None:
            assert self.low is not None
            return self.low.above(tau.abs(), start)
        dropped = self.high.above(tau.abs(), start)
        if self.low is None:
            return dropped.neg_().add_(1)
        return self.low.above(tau.abs(), start).sub_(dropped)


class Random(NamedTuple):
    """Each element with probability `density`."""

    key: int
    density: float

    def mask(self, tau: Tensor, start: int) -> Tensor:
        """1 or 0, in the type of tau."""
        return random_mask(self.key, start, tau.numel(), self.density, tau.dtype)


@dataclass(frozen=True)
class Thinned:
    """How the task vectors of one tensor are thinned: a mask (None: all stay) and a factor each."""

    masks: tuple[Band | Random | None, ...]
    factors: tuple[float, ...]


def task_vectors(part: Part) -> list[Tensor]:
    """-tau_i, flat: base - x_i."""
    assert part.base is not None
    return [part.base - x for x in part.tensors]


def by_magnitude(
    whole: Whole, density: tuple[float, ...], gamma: tuple[float, ...] | None = None
) -> tuple[Band | None, ...]:
    """Keep int(density n) elements of each task vector: the largest, or the largest but for the
    int(gamma n) very largest. Among equals the first by position count as the ones kept (largest),
    or as the smaller ones (with gamma), as in mergekit."""
    n = whole.size
    ranks: list[list[Rank]] = []
    for i, d in enumerate(density):
        if d >= 1:
            ranks.append([])
            continue
        kept = int(d * n)
        if gamma is None:
            kept = max(1, kept) if d > 0 else 0
            ranks.append([Rank(n - kept, first_below=False)])
            continue
        smallest = max(0, n - kept - int(gamma[i] * n))
        ranks.append([Rank(smallest, True), Rank(smallest + kept, True)])
    found = cuts(whole, lambda part: [tau.abs_() for tau in task_vectors(part)], ranks)
    bands: list[Band | None] = []
    for some in found:
        low = some[0] if some else None
        high = some[1] if len(some) > 1 and some[1] and some[1].value < float("inf") else None
        bands.append(Band(low, high) if low or high else None)
    return tuple(bands)


def at_random(whole: Whole, density: tuple[float, ...]) -> tuple[Random | None, ...]:
    return tuple(
        None if d >= 1 else Random(stream_key(whole.seed, whole.name, i), d)
        for i, d in enumerate(density)
    )


def thinned(
    whole: Whole,
    masks: tuple[Band | Random | None, ...],
    density: tuple[float, ...],
    rescale: str,
) -> Thinned:
    """With the factors that make up for what was dropped: `none`, 1 / density, or by L1 norm."""
    factors = [1.0] * len(masks)
    if rescale == "density":
        factors = [1 / d if 0 < d < 1 else 1.0 for d in density]
    elif rescale == "norm" and (masked := [i for i, mask in enumerate(masks) if mask]):

        def look(part: Part) -> tuple[list[float], ...]:
            vectors = task_vectors(part)
            sums = []
            for i in masked:
                mask = masks[i]
                assert mask is not None
                kept = mask.mask(vectors[i], part.start)
                magnitude = vectors[i].abs_()
                sums += [block_sums(magnitude), block_sums(kept.mul_(magnitude))]
            return tuple(sums)

        norms = total(whole.each(look))
        for i, before, after in zip(masked, norms[::2], norms[1::2], strict=True):
            if min(before, after) >= TINY:
                factors[i] = before / after
    return Thinned(masks, tuple(factors))


def combine(
    part: Part, settings: DeltaSettings, thin: Thinned | None = None, elect: str | None = None
) -> Tensor:
    """The base and what the rule makes of the task vectors; `elect`: by mass or count, or not."""
    assert part.base is not None
    n = len(part.tensors)
    weights = per_model(settings.weight, n)
    masks, factors = (thin.masks, thin.factors) if thin else ((None,) * n, (1.0,) * n)
    vectors = task_vectors(part)
    if elect is None:
        weight = sum(weights) if settings.normalize else 1
        scale = settings.lambda_ / (weight if abs(weight) >= NO_DIVISOR else 1)
        change = part.base.new_zeros(part.size)
        for tau, mask, w, factor in zip(vectors, masks, weights, factors, strict=True):
            if mask is None:
                change.add_(tau, alpha=scale * w * factor)
            else:
                change.addcmul_(tau, mask.mask(tau, part.start), value=scale * w * factor)
    else:
        for tau, mask, w, factor in zip(vectors, masks, weights, factors, strict=True):
            if mask is not None:
                tau.mul_(mask.mask(tau, part.start))
            if w * factor != 1:
                tau.mul_(w * factor)
        change = _elected(vectors, weights, elect, settings.normalize)
        if settings.lambda_ != 1:
            change.mul_(settings.lambda_)
        change.add_(0.0)  # a zero that became negative is one again
    return part.base - change


def combine_elected(part: Part, settings: ElectingSettings, thin: Thinned) -> Tensor:
    """The same, of the elements that have the sign elected for them."""
    return combine(part, settings, thin, settings.elect)


def _elected(
    vectors: list[Tensor], weights: tuple[float, ...], elect: str, normalize: bool
) -> Tensor:
    """Sum (mean, with `normalize`) of the elements that have the sign of the majority.

    vectors: -w_i tau_i, overwritten. A draw goes to the positive sign.
    """
    ballot = vectors[0].new_zeros(vectors[0].shape)
    for tau in vectors:
        ballot.add_(tau if elect == "mass" else tau.sign())
    sign = ballot.gt(0).to(ballot.dtype).mul_(2).sub_(1)  # of the negated vectors
    change = ballot.zero_()
    divisor = change.clone() if normalize else None
    for tau, w in zip(vectors, weights, strict=True):
        agreeing = tau.mul_(sign).clamp_(min=0)
        change.add_(agreeing)
        if divisor is not None:
            divisor.add_(agreeing.sign_(), alpha=w)
    if divisor is not None:
        change.div_(divisor.add_(divisor == 0))  # nothing is divided by where nobody agrees
    return change.mul_(sign)
