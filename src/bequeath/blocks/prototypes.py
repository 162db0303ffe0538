"""Prototypes: one vector for a class, from labels, soft labels, or the surest predictions."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F


def class_means(batches: Iterable[tuple[Tensor, Tensor]], n_classes: int) -> Tensor:
    """Mean feature of each class, [K, d], accumulated in float64 and returned in the input's dtype.

    batches: (features [B, d], labels [B]). The mean is of the raw features: a caller who wants
    directions normalises it afterwards (a mean of normalised features is another vector). A class
    without samples gets zeros.
    """
    total: Tensor | None = None
    counts = torch.zeros(n_classes, dtype=torch.float64)
    dtype = torch.float32
    for features, labels in batches:
        if total is None:
            dtype = features.dtype
            total = features.new_zeros(n_classes, features.shape[1], dtype=torch.float64)
            counts = counts.to(features.device)
        total.index_add_(0, labels, features.double())
        counts += torch.bincount(labels, minlength=n_classes)
    if total is None:
        raise ValueError("class_means needs at least one batch")
    return (total / counts.clamp_min(1)[:, None]).to(dtype)


def soft_means(features: Tensor, weights: Tensor) -> Tensor:
    """Mean feature of each class with weights, [K, d]: sum_i w_ik f_i / sum_i w_ik.

    features: [N, d]. weights: [N, K], not negative (predictions, or labels as one-hot rows). A
    class without weight gets zeros.
    """
    total = weights.sum(0)
    mean = weights.T @ features / torch.where(total > 0, total, 1.0)[:, None]
    return torch.where(total[:, None] > 0, mean, 0.0)


def surest(predictions: Tensor, k: int) -> Tensor:
    """The k samples with the largest probability of each class, int64 [K, k], largest first.

    predictions: [N, K]. A sample may be among those of several classes.
    """
    return predictions.topk(k, dim=0).indices.T


def cosines(features: Tensor, prototypes: Tensor) -> Tensor:
    """Cosine of every feature [N, d] with every prototype [K, d], [N, K]; 0 with a zero vector."""
    return F.normalize(features, dim=1) @ F.normalize(prototypes, dim=1).T
