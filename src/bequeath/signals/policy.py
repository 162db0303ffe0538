"""When a teacher's answers are kept on disk. No torch here: `bequeath check` asks too."""

from __future__ import annotations

from bequeath.kernel.errors import Problem
from bequeath.train.config import Train

LARGEST = 2 * 10**9
SHARE_OF_DISK = 0.1
GAIN = 1.2


def n_views(train: Train, kind: str = "image") -> int | None:
    """How many different views a sample has; None: without end."""
    if kind != "image" or not train.augment.active:
        return 1
    return train.augment.views or None


def problems(train: Train, kind: str = "image") -> list[Problem]:
    """What is wrong with `train.cache`, before anything is loaded."""
    if train.cache != "on" or n_views(train, kind) is not None:
        return []
    return [
        Problem(
            "S704",
            "`cache: on` cannot hold a new random view of each image in each epoch",
            at=("train", "cache"),
            label="a teacher's answers can be kept for a finite number of views only",
            remedies=(
                f"set `train.augment.views: {max(2, min(8, train.epochs))}`: so many different "
                "views a sample, used in turn",
                "set `train.cache: auto` to ask the teacher live where it cannot be cached",
            ),
        )
    ]


def samples_asked(train: Train, n: int) -> int:
    """How many answers a training run of n samples an epoch asks for."""
    if train.steps is not None:
        return train.steps * train.batch_size * train.accumulate
    return train.epochs * n


def views_asked(train: Train, n: int, kind: str = "image") -> int | None:
    """How many of its views a sample is trained in; None: without end.

    A run goes through the views in turn, one an epoch: with fewer epochs than views, some are
    never seen. On several processes a number of steps makes more epochs than this says.
    """
    views = n_views(train, kind)
    epochs = train.epochs
    if train.steps is not None:
        batches = max(1, -(-n // train.batch_size) - (n % train.batch_size == 1))
        epochs = -(-train.steps // -(-batches // train.accumulate))
    return None if views is None else max(1, min(views, epochs))


def pays(asks: int, n: int, views: int) -> bool:
    """Whether asking about n samples in so many views is clearly less work than `asks` samples."""
    return asks > GAIN * n * views


def fits(size: int, free: int) -> bool:
    """Whether a cache of `size` bytes is small enough to be made without being asked for."""
    return size < LARGEST and size < SHARE_OF_DISK * free
