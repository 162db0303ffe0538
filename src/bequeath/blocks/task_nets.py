"""One network as many: each task its mask and its statistics, on weights they share.

Labels of a task are numbered anew from 0, so that a classifier as wide as the largest task serves
all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bequeath.blocks.supermask import Masked, top_k
from bequeath.blocks.task_bank import TaskBank, buffers, own_buffers, put_buffers
from bequeath.given.bound import BoundModel
from bequeath.given.heads import replace_head

Scores = Mapping[str, Tensor]


class TaskNets:
    """names, classes: of each task, labels as the data have them. n_classes: of all together.

    fresh: number of a task -> the scores it would begin with, for tasks not learnt yet.
    The classifier of `net` is replaced when it is wider than any task needs.
    """

    def __init__(
        self,
        net: BoundModel,
        density: float,
        names: Sequence[str],
        classes: Sequence[Sequence[int]],
        n_classes: int,
        fresh: Callable[[int], Scores],
    ):
        widest = max(len(group) for group in classes)
        if widest < n_classes:
            device = next(net.parameters()).device
            replace_head(net.module, net.facts.head, widest)
            net.to(device).facts = replace(net.facts, n_classes=widest)
        self.net, self.names, self.classes, self.n_classes = net, names, classes, n_classes
        self.plain = copy.deepcopy(net)  # the architecture without masks, for what is handed over
        self.masked = Masked(net.module, density)
        self.bank, self.fresh = TaskBank(), fresh
        self.blank = buffers(net.module)
        self.now = -1

    def begin(self, task: int, scores: Scores) -> None:
        """Task `task` is to be learnt, from these scores; its statistics begin anew."""
        self.now = task
        put_buffers(self.net.module, self.blank)
        self.masked.set_scores(scores)
        self.masked.fix()

    def keep(self) -> None:
        """The task is learnt."""
        self.masked.still()
        masks = {name: mask.mask for name, mask in self.masked.masks.items()}
        self.bank.keep(self.names[self.now], masks, buffers(self.net.module), self.masked.scores())

    def use(self, task: int) -> None:
        """Make `net` the network of a task; one that is not learnt yet has random scores."""
        name = self.names[task]
        like = self.masked.originals
        if name in self.bank.tasks:
            self.masked.set_masks(self.bank.masks(name, like))
            put_buffers(self.net.module, self.bank.buffers(name))
        elif task != self.now:
            scores = self.fresh(task)
            masks = self.masked.masks
            self.masked.set_masks({n: top_k(scores[n].abs(), m.k) for n, m in masks.items()})
            put_buffers(self.net.module, self.blank)

    def values(self) -> list[Tensor]:
        """Masks and statistics of the network as it is now; not copies."""
        masks = [mask.mask for mask in self.masked.masks.values()]
        return [*masks, *own_buffers(self.net.module).values()]

    @torch.no_grad()
    def put(self, values: Sequence[Tensor]) -> None:
        """Make the network what `values` were."""
        for mine, value in zip(self.values(), values):
            mine.copy_(value)

    def for_task(self, task: int) -> Callable[[Mapping[str, Any]], Tensor]:
        """batch -> logits [B, K] over all classes, -inf for those the task does not have."""
        self.use(task)
        self.net.eval()
        classes = torch.tensor(self.classes[task])

        def predict(batch: Mapping[str, Any]) -> Tensor:
            z = self.net(batch)[:, : len(classes)]
            return torch.full((len(z), self.n_classes), -torch.inf, device=z.device).index_copy(
                1, classes.to(z.device), z.float()
            )

        return predict

    def local(self, y: Tensor, task: int) -> Tensor:
        """Labels of the data -> 0..C-1 within the task."""
        table = torch.full((self.n_classes,), -1, dtype=torch.int64)
        table[list(self.classes[task])] = torch.arange(len(self.classes[task]))
        return table.to(y.device)[y]

    def free(self) -> dict[str, Tensor]:
        """bool by weight: in no mask of a task that was kept."""
        return {n: ~used for n, used in self.bank.used(self.masked.originals).items()}

    def result(self) -> BoundModel:
        """The network of the last task as an ordinary model; beside it, when saved, all tasks."""
        last = len(self.names) - 1
        self.use(last)
        self.plain.module.load_state_dict(self.masked.state())
        known = self.plain.source.classes
        named = {
            name: [known[c] if known else str(c) for c in group]
            for name, group in zip(self.names, self.classes)
        }
        weights, bank = self.masked.weights(), self.bank

        def beside(folder: Path) -> str:
            return bank.save(weights, folder, named)

        if self.plain.facts.n_classes != self.n_classes:
            own = tuple(named[self.names[last]])
            self.plain.source = replace(self.plain.source, classes=own)
            self.plain.facts = replace(self.plain.facts, classes=own)
        self.plain.beside = (beside,)
        return self.plain.eval()


class Snapshot(nn.Module):
    """A copy of masks and statistics, taken while a fit runs; part of its checkpoint."""

    taken: Tensor

    def __init__(self, nets: TaskNets):
        super().__init__()
        self._nets = [nets]  # in a list, so that it is no part of this module
        self.register_buffer("taken", torch.zeros((), dtype=torch.bool))
        for i, value in enumerate(nets.values()):
            self.register_buffer(f"value_{i}", torch.zeros_like(value))

    def take(self) -> None:
        """Copy what the network is now. Once; later calls change nothing."""
        if bool(self.taken):
            return
        self._nets[0].masked.fix()
        for held, value in zip(self.values(), self._nets[0].values()):
            held.copy_(value)
        self.taken.fill_(True)

    def values(self) -> list[Tensor]:
        return [b for name, b in self.named_buffers() if name != "taken"]
