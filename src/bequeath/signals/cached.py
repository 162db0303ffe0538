"""A teacher that has answered already: its answers are read from memory-mapped files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bequeath.kernel.errors import Problem, RunError
from bequeath.signals.cache import Rows
from bequeath.signals.flat import asked
from bequeath.signals.signal import Batch, Signal, Teacher, signal_of
from bequeath.signals.sweep import sweep

ON_DEVICE = 2**30
LOOKED_AT = 4


class CachedTeacher:
    """`teacher(batch) -> Signal`, read by `idx` (and `view`); holds no weight of the teacher.

    stored: for each view, output -> [n, ...]. draw: (idx, views) -> the batch they stand for.
    seconds: what the live teacher takes for a sample. spent: what the cache cost this run.
    plain: makes the teacher of un-augmented data, when `stored` holds augmented views.
    grow: makes the teacher that has answered in (at least) so many views, when there are more than
    `stored` holds: a method may train for longer than the job says.

    stats: {"hit", "saved_s", "bytes"}; `saved_s` grows with every batch and starts at -spent.
    """

    def __init__(
        self,
        stored: list[Rows],
        data: Any,
        draw: Callable[[Tensor, Tensor], Batch],
        *,
        hit: bool = False,
        seconds: float = 0.0,
        spent: float = 0.0,
        device: torch.device | str | None = None,
        plain: Callable[[], Teacher] | None = None,
        grow: Callable[[int], Teacher] | None = None,
    ):
        self._data, self._draw, self._plain, self._grow = data, draw, plain, grow
        self._instead: Teacher | None = None
        self._device, self._seconds = device, seconds
        size = sum(values.nbytes for rows in stored for values in rows.values())
        away = device is not None and torch.device(device).type != "cpu"
        self._table = _Table(stored, device if away and size <= ON_DEVICE else None)
        self._calls = 0
        self.stats: dict[str, Any] = {"hit": hit, "saved_s": -spent, "bytes": size}

    def __call__(self, batch: Batch) -> Signal:
        """Answers, on the batch's device. RunError S706 when it is not the data asked about."""
        return asked(self._answer, batch)

    def _answer(self, batch: Batch) -> Signal:
        if self._grow is not None and "view" in batch and self._instead is None:
            self._reach(int(batch["view"].max()) + 1)
        if self._instead is not None:
            return self._instead(batch)
        self._calls += 1
        if self._calls & (self._calls - 1) == 0:  # batches 1, 2, 4, 8 ...
            self._look(batch)
        answers = self._table.rows(batch["idx"], batch.get("view"))
        self.stats["saved_s"] += self._seconds * len(batch["idx"])
        return signal_of(answers)

    def over_data(self) -> Iterator[tuple[Batch, Signal]]:
        """Every sample once, in order, without augmentation."""
        if self._plain is not None:
            yield from self._adopt(self._plain()).over_data()
            return
        for batch in sweep(self._data, self._device):
            yield batch, self(batch)

    def _reach(self, views: int) -> None:
        """Have answers in so many views at least; from then on another teacher answers."""
        if self._grow is not None and views > self._table.views:
            self._instead = self._adopt(self._grow(views))

    def _adopt(self, other: Teacher) -> Teacher:
        """Count what another teacher costs and saves as ours, from now on."""
        if isinstance(other, CachedTeacher):
            self.stats["hit"] = self.stats["hit"] and other.stats["hit"]
            self.stats["saved_s"] += other.stats["saved_s"]
            self.stats["bytes"] += other.stats["bytes"]
            other.stats = self.stats
        return other

    def _look(self, batch: Batch) -> None:
        """Are these the samples and views the teacher was asked about? A wrong index is silent."""
        idx = batch["idx"][:LOOKED_AT]
        view = batch.get("view")
        views = torch.zeros_like(idx) if view is None else view[:LOOKED_AT]
        in_range = int(idx.min()) >= 0 and int(idx.max()) < len(self._data)
        if in_range and int(views.min()) >= 0 and int(views.max()) < self._table.views:
            drawn = self._draw(idx.cpu(), views.cpu())
            if "text" in batch and list(batch["text"][:LOOKED_AT]) == list(drawn["text"]):
                return
            if "x" in batch and torch.equal(batch["x"][:LOOKED_AT].cpu(), drawn["x"].cpu()):
                return
        raise RunError(
            Problem(
                "S706",
                "a batch is not from the data, or not in the views, that the teacher has answered",
                notes=(f"samples {idx.tolist()}, views {views.tolist()}",),
                remedies=(
                    "ask a cached teacher only about batches of the data set it was made with",
                    "set `train.cache: off` to ask the teacher live",
                ),
            )
        )


class _Table:
    """Rows by (sample, view): of memory maps, or of tensors on `device` if one is named."""

    def __init__(self, stored: list[Rows], device: torch.device | str | None):
        self.views = len(stored)
        # a plain array over the same map: indexing np.memmap itself is several times slower
        self._maps = [{name: np.asarray(m) for name, m in rows.items()} for rows in stored]
        self._tensors: dict[str, Tensor] = {}
        if device is not None:
            self._tensors = {
                name: torch.stack([torch.tensor(rows[name]) for rows in stored]).to(device)
                for name in stored[0]
            }

    def rows(self, idx: Tensor, view: Tensor | None) -> dict[str, Tensor]:
        if self._tensors:
            first = torch.zeros_like(idx) if view is None else view
            return {name: t[first, idx] for name, t in self._tensors.items()}
        where = idx.cpu().numpy()
        which = np.zeros_like(where) if view is None else view.cpu().numpy()
        seen = np.unique(which)
        found = {}
        for name in self._maps[0]:
            if len(seen) == 1:
                values = self._maps[seen[0]][name][where]
            else:
                values = np.stack([self._maps[v][name][i] for i, v in zip(where, which)])
            found[name] = torch.from_numpy(values).to(idx.device)
        return found
