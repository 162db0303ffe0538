"""A teacher asked within a step of several students is asked once, about one plain batch.

There the batch is `torch.vmap`'s: [B, ...] to the step, [runs, B, ...] in truth, and no number in
it can be looked at. An answer is a function of the sample, so all of them are put to the teacher as
one batch of runs * B samples, outside of vmap: it may read a table or run in any way it likes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bequeath.signals.signal import Batch, Signal
from bequeath.train import stack


def asked(speak: Callable[[Batch], Signal], batch: Batch) -> Signal:
    """`speak(batch)`; within a stacked step, of the batches of all runs at once."""
    if not stack.within():
        return speak(batch)
    names = [key for key, value in batch.items() if isinstance(value, Tensor)]
    call = _Call(speak, batch, names)
    answers = dict(zip(call.outputs, _Ask.apply(call, *(batch[key] for key in names))))
    return Signal(answers.pop("logits"), answers)


@dataclass
class _Call:
    """outputs: the names of the answers, once there are any."""

    speak: Callable[[Batch], Signal]
    batch: Batch
    names: list[str]
    outputs: list[str] = field(default_factory=list)


class _Ask(torch.autograd.Function):
    """The door through `torch.vmap`: its rule for this function sees the tensors as they are."""

    @staticmethod
    def forward(call: _Call, *values: Tensor) -> tuple[Tensor, ...]:
        batch = copy.copy(call.batch)
        batch.update(zip(call.names, values))
        answers = call.speak(batch).outputs()
        call.outputs[:] = answers
        return tuple(answers.values())

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], call: _Call, *values: Tensor) -> Any:
        runs = info.batch_size
        rows = [
            v.expand(runs, *v.shape) if dim is None else v.movedim(dim, 0)
            for v, dim in zip(values, in_dims[1:])
        ]
        answers = _Ask.forward(call, *(v.flatten(0, 1) for v in rows))
        return tuple(a.unflatten(0, (runs, -1)) for a in answers), (0,) * len(answers)
