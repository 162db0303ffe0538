"""One task's network in plain torch: shared weights, the task's mask, the task's statistics.

A saved model carries a copy of this file as `tasks.py`, so it imports torch and safetensors alone.

`tasks.safetensors` holds, with NAME as in the model's state,
    weight/NAME           the weights that all tasks share, once
    TASK/mask/NAME        uint8, 8 weights a byte: which of them the task uses
    TASK/buffer/NAME      the task's own state (running statistics of batch normalisation)
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn


def load_task(model: nn.Module, task: str, file: str | Path = "tasks.safetensors") -> list[str]:
    """Make `model` the network of `task`, in place; -> the names of its outputs, from the first.

    A task may have fewer classes than the model has outputs; the outputs beyond mean nothing.
    KeyError names the tasks there are.
    """
    from safetensors import safe_open

    with safe_open(file, framework="pt") as held:
        tasks = json.loads(held.metadata()["tasks"])
        if task not in tasks:
            raise KeyError(f"there is no task {task!r}; there are {', '.join(tasks)}")
        state = model.state_dict()
        for key in held.keys():  # noqa: SIM118
            kind, _, name = key.partition("/")
            if kind == "weight":
                weight = held.get_tensor(key)
                mask = unpack(held.get_tensor(f"{task}/mask/{name}"), weight.shape)
                state[name] = torch.where(mask, weight, torch.zeros_like(weight))
            elif key.startswith(f"{task}/buffer/"):
                state[key.removeprefix(f"{task}/buffer/")] = held.get_tensor(key)
    model.load_state_dict(state)
    model.eval()
    return tasks[task]


def pack(mask: Tensor) -> Tensor:
    """bool of any shape -> uint8 [ceil(n / 8)], the first weight in the highest bit."""
    flat = mask.detach().cpu().reshape(-1).to(torch.uint8)
    flat = torch.nn.functional.pad(flat, (0, -len(flat) % 8)).view(-1, 8)
    return (flat << torch.arange(7, -1, -1, dtype=torch.uint8)).sum(1, dtype=torch.uint8)


def unpack(bits: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """What `pack` packed, bool of `shape`."""
    each = bits[:, None] >> torch.arange(7, -1, -1, dtype=torch.uint8, device=bits.device)
    return (each.reshape(-1)[: torch.Size(shape).numel()] & 1).bool().view(shape)
