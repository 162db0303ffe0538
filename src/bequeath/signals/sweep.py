"""Going through a data set in a fixed order and batch size, so that a pass can be repeated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bequeath.signals.signal import Batch
from bequeath.train.config import Augment

BATCH = 256


def sweep(
    data: Any,
    device: torch.device | str | None = None,
    *,
    view: int | None = None,
    augment: Augment | None = None,
    seed: int = 0,
    batch_size: int = BATCH,
) -> Iterator[Batch]:
    """All of `data` (`len`, `fetch(idx)`) in its order; with `augment`, every sample in `view`."""
    for start in range(0, len(data), batch_size):
        idx = torch.arange(start, min(start + batch_size, len(data)))
        views = None if view is None else torch.full_like(idx, view)
        yield pick(data, idx, device, views=views, augment=augment, seed=seed)


def pick(
    data: Any,
    idx: Tensor,
    device: torch.device | str | None = None,
    *,
    views: Tensor | None = None,
    augment: Augment | None = None,
    seed: int = 0,
) -> Batch:
    """The samples `idx` as one batch on `device`, with `augment` each in its own of the `views`."""
    batch = data.fetch(idx)
    if device is not None:
        for key, value in batch.items():
            if isinstance(value, Tensor):
                batch[key] = value.to(device)
    if augment is not None and views is not None:
        from bequeath.given.views import augment as draw

        batch["view"] = views.to(batch["idx"].device)
        batch["x"] = draw(batch["x"], batch["idx"], batch["view"], seed, augment)
    return batch
