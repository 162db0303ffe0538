"""Metrics of a classifier: a value, its direction and, where it is a mean, the per-sample terms.

    accuracy             share of samples whose largest logit is the label's
    top5_accuracy        share whose label is among the five largest logits (all K when K < 5)
    balanced_accuracy    mean over the classes present of the share found again (recall)
    macro_f1             mean F1 over the classes that occur as label or as prediction
    nll                  mean of -log p(label), natural logarithm
    ece                  sum over 15 equal bins of confidence of share * |accuracy - confidence|
                         (Guo et al. 2017)
    brier                mean of sum_k (p_k - [k = y])^2, between 0 and 2 (Brier 1950)

Ties between logits go to the lower class index, in accuracy and in top5_accuracy alike, so that a
model with constant answers earns nothing from them. Everything is computed in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bequeath.metrics.names import NAMES, Direction

ECE_BINS = 15


@dataclass(frozen=True)
class Predictions:
    """What a classifier said about N labelled samples, and the truth.

    logits: float [N, K]; y: int64 [N], values in 0..K-1. Both end up on the CPU. ValueError when
    the shapes disagree, N is 0, a label is out of range or a logit is not finite.
    """

    logits: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        logits, y = self.logits.detach().cpu(), self.y.detach().cpu()
        if logits.ndim != 2 or y.ndim != 1 or len(logits) != len(y):
            raise ValueError(
                f"logits are [N, K] and labels [N]; got {list(logits.shape)} and {list(y.shape)}"
            )
        if len(y) == 0:
            raise ValueError("there are no predictions")
        if y.is_floating_point() or y.min() < 0 or y.max() >= logits.shape[1]:
            raise ValueError(f"labels must be integers in 0..{logits.shape[1] - 1}")
        bad = (~logits.isfinite()).any(1).nonzero().flatten()
        if len(bad):
            raise ValueError(f"logits are not finite in {len(bad)} rows, e.g. {bad[:10].tolist()}")
        object.__setattr__(self, "logits", logits)
        object.__setattr__(self, "y", y.long())

    @property
    def n(self) -> int:
        return len(self.y)

    @property
    def k(self) -> int:
        return self.logits.shape[1]

    @cached_property
    def log_p(self) -> Tensor:
        """log p(k | x), float64 [N, K]."""
        return self.logits.double().log_softmax(1)

    @cached_property
    def pred(self) -> Tensor:
        """The predicted class, int64 [N]; the lowest index among ties."""
        return (self.logits == self.logits.amax(1, keepdim=True)).int().argmax(1)

    @cached_property
    def correct(self) -> Tensor:
        """bool [N]."""
        return self.pred == self.y

    @cached_property
    def confidence(self) -> Tensor:
        """p(predicted class), float64 [N]."""
        return self.log_p.gather(1, self.pred[:, None])[:, 0].exp()

    @cached_property
    def nll(self) -> Tensor:
        """-log p(label), float64 [N]."""
        return -self.log_p.gather(1, self.y[:, None])[:, 0]


@dataclass(frozen=True)
class MetricValue:
    """value: the metric over n samples. terms: float64 [N] whose mean it is, None if it is none."""

    value: float
    direction: Direction
    terms: Tensor | None
    n: int


def evaluate(name: str, predictions: Predictions) -> MetricValue:
    """The metric `name` of `predictions`. ValueError names the known ones when it is unknown."""
    if name not in NAMES:
        raise ValueError(f"unknown metric `{name}`; known: {', '.join(NAMES)}")
    value, terms = _METRICS[name](predictions)
    return MetricValue(value, NAMES[name], terms, predictions.n)


def confusion(predictions: Predictions) -> Tensor:
    """int64 [K, K]: how many samples of class (row) were taken for class (column)."""
    k = predictions.k
    return torch.bincount(predictions.y * k + predictions.pred, minlength=k * k).view(k, k)


@dataclass(frozen=True)
class Agreement:
    """How far two models say the same about the same N samples.

    same: share of equal predictions. kl: mean KL(reference || model), nats. mended, broken: bool
    [N], wrong in the reference and right in the model, and the reverse.
    """

    same: float
    kl: float
    mended: Tensor
    broken: Tensor


def agreement(predictions: Predictions, reference: Predictions) -> Agreement:
    """Compare with a reference (a teacher, a baseline). ValueError unless N, K and y are equal."""
    if predictions.logits.shape != reference.logits.shape:
        raise ValueError(
            f"predictions are {list(predictions.logits.shape)}, "
            f"the reference {list(reference.logits.shape)}"
        )
    if not torch.equal(predictions.y, reference.y):
        raise ValueError("predictions and reference are not about the same samples: labels differ")
    kl = (reference.log_p.exp() * (reference.log_p - predictions.log_p)).sum(1)
    return Agreement(
        same=(predictions.pred == reference.pred).double().mean().item(),
        kl=kl.mean().item(),
        mended=~reference.correct & predictions.correct,
        broken=reference.correct & ~predictions.correct,
    )


Computed = tuple[float, Tensor | None]


def _mean(terms: Tensor) -> Computed:
    terms = terms.double()
    return terms.mean().item(), terms


def _top5(p: Predictions) -> Computed:
    own = p.logits.gather(1, p.y[:, None])
    earlier = torch.arange(p.k) < p.y[:, None]
    ahead = (p.logits > own) | ((p.logits == own) & earlier)
    return _mean(ahead.sum(1) < 5)


def _balanced_accuracy(p: Predictions) -> Computed:
    table = confusion(p).double()
    present = table.sum(1) > 0
    return (table.diagonal()[present] / table.sum(1)[present]).mean().item(), None


def _macro_f1(p: Predictions) -> Computed:
    table = confusion(p).double()
    both = table.sum(1) + table.sum(0)
    seen = both > 0
    return (2 * table.diagonal()[seen] / both[seen]).mean().item(), None


def _ece(p: Predictions) -> Computed:
    # bins are (low, high], as in the paper; a confidence is never 0
    which = (p.confidence * ECE_BINS).ceil().long().clamp(1, ECE_BINS) - 1
    gap = torch.zeros(ECE_BINS, dtype=torch.float64)
    gap.index_add_(0, which, p.correct.double() - p.confidence)
    return (gap.abs().sum() / p.n).item(), None


def _brier(p: Predictions) -> Computed:
    truth = torch.nn.functional.one_hot(p.y, p.k)
    return _mean((p.log_p.exp() - truth).square().sum(1))


_METRICS: dict[str, Callable[[Predictions], Computed]] = {
    "accuracy": lambda p: _mean(p.correct),
    "top5_accuracy": _top5,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "nll": lambda p: _mean(p.nll),
    "ece": _ece,
    "brier": _brier,
}
