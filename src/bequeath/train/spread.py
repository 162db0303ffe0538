"""State of which every process has a part (DTensors), and the whole of it in the first process.

One tensor at a time passes between the two, so that no process but the first holds more than its
part and one tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed


@dataclass
class Held:
    """A whole tensor that the first process has on its CPU; the others know its shape and type."""

    shape: torch.Size
    dtype: torch.dtype
    tensor: Tensor | None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "tensor": None}


def whole(state: Any, main: bool, seen: dict[int, Any] | None = None) -> Any:
    """Nested state with its DTensors whole on the CPU of the first process, None in the others.

    All processes call it together. What is one object in the state is one in the answer.
    """
    seen = {} if seen is None else seen
    if isinstance(state, Mapping):
        return {key: whole(value, main, seen) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(whole(value, main, seen) for value in state)
    if not is_shared(state):
        return state
    if id(state) not in seen:
        full = state.detach().full_tensor()
        seen[id(state)] = full.to("cpu", copy=True) if main else None
    return seen[id(state)]


def held(state: Any) -> Any:
    """Nested state whose tensors stay here when it is sent."""
    if isinstance(state, Mapping):
        return {key: held(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(held(value) for value in state)
    return Held(state.shape, state.dtype, state) if isinstance(state, Tensor) else state


def spread(state: Any, like: Any, device: torch.device) -> Any:
    """Nested state with each `Held` tensor shared out as its counterpart in `like` is, or whole.

    like: nested alike; where it ends, tensors are whole. All processes call it together. Without a
    `Held` it gives back what it was given.
    """
    if isinstance(state, Mapping):
        below = like if isinstance(like, Mapping) else {}
        return {key: spread(value, below.get(key), device) for key, value in state.items()}
    if isinstance(state, list | tuple):
        rows = like if isinstance(like, list | tuple) else [None] * len(state)
        return type(state)(spread(v, row, device) for v, row in zip(state, rows))
    if not isinstance(state, Held):
        return state
    if state.tensor is None:
        tensor = torch.empty(state.shape, dtype=state.dtype, device=device)
    else:
        tensor = state.tensor.to(device, copy=True)
    if is_shared(like) and like.shape == state.shape:
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(tensor, like.device_mesh, like.placements)
    distributed.broadcast(tensor, 0)
    return tensor


def is_shared(value: Any) -> bool:
    """Whether a tensor is a DTensor; torch loads them only where something is shared out."""
    return isinstance(value, Tensor) and hasattr(value, "full_tensor")
