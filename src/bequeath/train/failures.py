"""Failures of a training step that torch words for programmers, said for the owner of the job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bequeath.kernel.errors import Problem, RunError


@contextmanager
def explained(samples: int) -> Iterator[None]:
    """RunError T610 or T611 in place of torch's error; other errors go on as they are.

    samples: how many the forward pass in the block has.
    """
    try:
        yield
    except (ValueError, RuntimeError) as error:
        problem = _explanation(error, samples)
        if problem is None:
            raise
        raise RunError(problem) from error


def _explanation(error: Exception, samples: int) -> Problem | None:
    said = str(error)
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
    return None
