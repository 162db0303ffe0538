"""Failures of a training step that torch words for programmers, said for the owner of the job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bequeath.kernel.errors import Problem, RunError, text_of

# What autograd says of operations that went behind its back.
_NO_GRADIENT = (
    "modified by an inplace operation",
    "in-place operation",
    "backward through the graph a second time",
    "is not differentiable",
    "derivative for",
)


@contextmanager
def explained(samples: int) -> Iterator[None]:
    """RunError T610, T611, T614 or T694 in place of torch's error; other errors go on as they are.

    samples: how many the forward pass in the block has.
    """
    try:
        yield
    except Exception as error:
        problem = _explanation(error, samples)
        if problem is None:
            raise
        raise RunError(problem) from error


def _explanation(error: Exception, samples: int) -> Problem | None:
    said = text_of(error)
    if _of_compiler(error):
        return Problem(
            "T614",
            "a trained model cannot be compiled",
            at=("train", "compile"),
            notes=(said.strip().splitlines()[0] if said.strip() else type(error).__name__,),
            remedies=("leave `train.compile` away",),
        )
    if not isinstance(error, ValueError | RuntimeError):
        return None
    if "more than 1 value per channel" in said:
        return Problem(
            "T610",
            f"batch normalisation cannot be trained on {samples} sample at a time",
            at=("train", "batch_size"),
            remedies=("set `train.batch_size` to 2 or more",),
        )
    if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in said:
        return Problem(
            "T611",
            f"a step on {samples} samples does not fit into memory",
            at=("train", "batch_size"),
            notes=(said.splitlines()[0],),
            remedies=("lower `train.batch_size` and raise `train.accumulate` by as much",),
        )
    if any(words in said for words in _NO_GRADIENT):
        return Problem(
            "T694",
            "torch cannot compute the gradient of the loss",
            notes=(said.splitlines()[0][:300],),
        )
    return None


def _of_compiler(error: Exception) -> bool:
    """Whether torch.compile raised it; its modules are loaded only where something is compiled."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
