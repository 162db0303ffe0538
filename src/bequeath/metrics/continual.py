"""What an accuracy matrix of continual learning says. Several names mean different things.

A[i, j] is the accuracy on task j after learning task i (i, j = 1..T), a_j the accuracy on task j
of the model as it began. Entries above the diagonal are measured too.

    acc          mean_j A[T, j]
    bwt          mean_{j<T} (A[T, j] - A[j, j])                 GEM: last minus just learnt
    fwt          mean_{j>1} (A[j-1, j] - a_j)                   GEM: before it is learnt
    forgetting   mean_{j<T} (max_{i<T} A[i, j] - A[T, j])       Chaudhry et al.: best minus last
    aia          mean_i mean_{j<=i} A[i, j]                     average incremental accuracy
    learning_acc mean_j A[j, j]                                 just learnt
    nbt          mean_{j<T} mean_{i>j} (A[j, j] - A[i, j])      LIBERO, lower is better
    learning_speed, auc                                         LIBERO's FWT and AUC

GEM: Lopez-Paz and Ranzato 2017, arXiv 1706.08840. Forgetting: Chaudhry et al. 2018, arXiv
1801.10112. LIBERO: arXiv 2306.03310. Where others differ: Avalanche's forgetting is the first value
minus the last (the negative of bwt here) and its BWT the negative of that; the reference code of
ExSSNeT calls the last value minus the maximum over time BWT (the negative of forgetting here);
LIBERO's FWT is an area under the learning curve, not what GEM calls FWT.

All take float [T, T], on the CPU. A NaN among what a metric reads is a ValueError: it was not
measured, and a mean over the rest would be another metric.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def acc(a: Tensor) -> float:
    """Mean accuracy over tasks after the last one."""
    return _mean(_matrix(a)[-1])


def bwt(a: Tensor) -> float:
    """Backward transfer as in GEM; negative where tasks are forgotten. 0 for one task."""
    a = _matrix(a)
    return _mean(a[-1, :-1] - a.diagonal()[:-1])


def fwt(a: Tensor, start: Tensor) -> float:
    """Forward transfer as in GEM. start [T]: accuracy of the model as it began. 0 for one task."""
    a = _matrix(a)
    if start.shape != (len(a),):
        raise ValueError(f"start is [{len(a)}], not {list(start.shape)}")
    return _mean(a.diagonal(1) - start.double()[1:])


def forgetting(a: Tensor) -> float:
    """Best accuracy before the last task minus that after it, mean over old tasks.

    The best over all i < T, so also over times before the task was learnt. 0 for one task.
    """
    a = _matrix(a)
    if len(a) == 1:
        return 0.0
    return _mean(a[:-1, :-1].amax(0) - a[-1, :-1])


def average_incremental_accuracy(a: Tensor) -> float:
    """Mean over time of the mean accuracy on the tasks seen by then."""
    a = _matrix(a)
    return _mean(torch.stack([a[i, : i + 1].mean() for i in range(len(a))]))


def learning_accuracy(a: Tensor) -> float:
    """Mean accuracy on each task right after it was learnt."""
    return _mean(_matrix(a).diagonal())


def negative_backward_transfer(a: Tensor) -> float:
    """LIBERO's NBT: mean fall below the just-learnt value over all later times. 0 for one task."""
    a = _matrix(a)
    falls = [(a[j, j] - a[j + 1 :, j]).mean() for j in range(len(a) - 1)]
    return _mean(torch.stack(falls)) if falls else 0.0


def learning_speed(curves: Sequence[Sequence[float]]) -> float:
    """LIBERO's FWT: mean over tasks of the mean of the learning curve (checkpoint 0 included).

    curves: for each task its accuracy at the checkpoints. After its best value a curve is held.
    """
    return _mean(torch.stack([_held(curve).mean() for curve in curves]))


def area_under_curve(a: Tensor, curves: Sequence[Sequence[float]]) -> float:
    """LIBERO's AUC: mean over tasks of (its learning speed + its accuracy at all later times)."""
    a = _matrix(a)
    if len(curves) != len(a):
        raise ValueError(f"{len(a)} tasks have {len(curves)} learning curves")
    each = [
        (_held(curve).mean() + a[k + 1 :, k].sum()) / (len(a) - k) for k, curve in enumerate(curves)
    ]
    return _mean(torch.stack(each))


def _held(curve: Sequence[float]) -> Tensor:
    values = torch.tensor(list(curve), dtype=torch.float64)
    best = int(values.argmax())
    values[best:] = values[best]
    return values


def _matrix(a: Tensor) -> Tensor:
    if a.ndim != 2 or a.shape[0] != a.shape[1] or not len(a):
        raise ValueError(f"an accuracy matrix is [T, T], not {list(a.shape)}")
    return a.double()


def _mean(values: Tensor) -> float:
    if not values.numel():
        return 0.0
    value = float(values.mean())
    if not math.isfinite(value):
        raise ValueError("part of the accuracy matrix was not measured")
    return value
