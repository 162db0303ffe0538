"""What the tests of a teacher share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from signal_fakes import Images, ModelView

from bequeath.signals.cached import CachedTeacher
from bequeath.signals.teacher import teacher
from bequeath.train.batches import Batches
from bequeath.train.context import Context

Make = Callable[..., Context]
VIEWS = {"crop": 2, "flip": True, "views": 3}


def batches(ctx: Context, data: Images, epochs: int) -> list[dict[str, Any]]:
    made = Batches(data, ctx.train.batch_size, ctx.seed, ctx.train.augment)
    return [batch for epoch in range(epochs) for batch in made.epoch(epoch)]


def folder(root: Path) -> Path:
    [found] = [p for p in root.iterdir() if p.is_dir() and len(p.name) == 32]
    return found


def cached(ctx: Context, view: ModelView, data: Images, **more: Any) -> CachedTeacher:
    found = teacher(ctx, view, data, **more)
    assert isinstance(found, CachedTeacher)
    return found
