"""What belongs to single tasks of one network: masks in one bit a weight, buffers, scores.

    bank = TaskBank()
    bank.keep("task-1", masks, buffers(net))
    bank.masks("task-1", like)            # bool tensors again

The network's running statistics, counters and whatever else training changes without a gradient
lie in its buffers; they belong to the task that was learnt last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from bequeath.blocks import task_network
from bequeath.blocks.task_network import pack, unpack
from bequeath.kernel.files import write_text, write_whole

FILE, CODE = "tasks.safetensors", "tasks.py"


def buffers(net: nn.Module) -> dict[str, Tensor]:
    """The network's own buffers, copied; not those of parametrisations (masks)."""
    return {n: b.detach().clone() for n, b in own_buffers(net).items()}


@torch.no_grad()
def put_buffers(net: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Make the network's buffers these. KeyError when one is missing."""
    for name, buffer in own_buffers(net).items():
        buffer.copy_(values[name])


def own_buffers(net: nn.Module) -> dict[str, Tensor]:
    """The network's own buffers, not copied."""
    return {n: b for n, b in net.named_buffers() if "parametrizations" not in n.split(".")}


class TaskBank:
    """Tasks in the order they were kept. A task that is kept again is replaced."""

    def __init__(self) -> None:
        self._bits: dict[str, dict[str, Tensor]] = {}
        self._buffers: dict[str, dict[str, Tensor]] = {}
        self._scores: dict[str, dict[str, Tensor]] = {}

    def keep(
        self,
        task: str,
        masks: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        scores: Mapping[str, Tensor] | None = None,
    ) -> None:
        """masks: bool by weight; scores: what they came from, for tasks that begin with them."""
        self._bits[task] = {name: pack(mask) for name, mask in masks.items()}
        self._buffers[task] = {name: b.detach().clone() for name, b in buffers.items()}
        self._scores[task] = {name: s.detach().clone() for name, s in (scores or {}).items()}

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self._bits)

    def masks(self, task: str, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """bool by weight, of the shapes and on the devices of `like`. KeyError for an unknown."""
        bits = self._bits[task]
        return {n: unpack(bits[n].to(w.device), w.shape) for n, w in like.items()}

    def buffers(self, task: str) -> dict[str, Tensor]:
        return self._buffers[task]

    def scores(self, task: str) -> dict[str, Tensor]:
        return self._scores[task]

    def used(self, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """bool by weight: in the mask of any task kept so far."""
        union = {n: torch.zeros_like(w, dtype=torch.bool) for n, w in like.items()}
        for task in self.tasks:
            for name, mask in self.masks(task, like).items():
                union[name] |= mask
        return union

    def overlap(self, like: Mapping[str, Tensor]) -> Tensor:
        """float64 [T, T]: share of task i's weights (row) that task j's mask holds as well."""
        flat = [
            torch.cat([m.reshape(-1) for m in self.masks(t, like).values()]) for t in self.tasks
        ]
        both = [[int((a & b).sum()) / max(1, int(a.sum())) for b in flat] for a in flat]
        return torch.tensor(both, dtype=torch.float64)

    def save(
        self,
        weights: Mapping[str, Tensor],
        folder: Path,
        classes: Mapping[str, Sequence[str]] | None = None,
    ) -> str:
        """Write `tasks.safetensors` and `tasks.py`; -> how to use them, as comments in code.

        classes: task -> the names of its outputs.
        """
        from safetensors.torch import save_file

        tensors = {f"weight/{n}": w.detach().cpu().contiguous() for n, w in weights.items()}
        for task in self.tasks:
            tensors |= {f"{task}/mask/{n}": b for n, b in self._bits[task].items()}
            tensors |= {
                f"{task}/buffer/{n}": b.cpu().contiguous() for n, b in self._buffers[task].items()
            }
        named = {task: list((classes or {}).get(task, ())) for task in self.tasks}
        # One entry: safetensors writes several in an order that changes from process to process.
        meta = {"tasks": json.dumps(named, ensure_ascii=False)}
        write_whole(folder / FILE, lambda part: save_file(tensors, part, metadata=meta))
        write_text(folder / CODE, Path(task_network.__file__).read_text(encoding="utf-8"))
        return (
            f"# This is the network of {self.tasks[-1]}. For another of {', '.join(self.tasks)}:\n"
            f"# from tasks import load_task  # {CODE} of this folder\n"
            f"# names = load_task(model, {self.tasks[0]!r}, {FILE!r})  # of its outputs\n"
        )
