"""Class means of features over a data set: prototypes, centres."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


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
