"""What a training step says of its loss: named terms, each a numerator and a denominator."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a loss.

    value: the numerator, a 0-d tensor: a sum over what is counted, not a mean.
    count: the denominator, how many things were summed (samples, tokens, pairs); 0 is allowed.
    weight: what the term counts for in the loss.
    over: what is counted. Terms of one `over` share their denominator, so they give the same count
        for the same batch.

    The loss of an optimizer step is the sum over terms of `weight * sum(value) / sum(count)`, the
    sums running over all micro-batches and all processes of the step. An accumulated step thus has
    the gradient of the big batch, whatever the counts of its parts.
    """

    value: Tensor
    count: float | Tensor
    weight: float | Tensor = 1.0
    over: str = "samples"


def mean_over(batch_losses: Tensor, weight: float | Tensor = 1.0, over: str = "samples") -> Term:
    """The term of losses given one a sample: `batch_losses` [B] -> their sum over B."""
    return Term(batch_losses.sum(), batch_losses.numel(), weight, over)


def ramp(share: float, warmup: float) -> float:
    """The weight of a term that rises linearly to 1 over the first `warmup` of a run.

    share: how much of the run is done, 0..1 (`ctx.now.share`).
    """
    return min(1.0, share / warmup) if warmup > 0 else 1.0
