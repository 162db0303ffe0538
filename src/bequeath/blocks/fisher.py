"""The diagonal of the Fisher information, and the quadratic penalty around what was learnt.

    F_i = E_x E_y [ (d log p(y | x) / d theta_i)^2 ]

Three estimates are in use, and EWC results depend on which; name it:

    sampled     y drawn from the model's own p(y | x), one gradient a sample: the Fisher itself
    labels      y the label of the data, one gradient a sample: the empirical Fisher
    batch       the square of a batch's mean gradient (LIBERO and others). Cheap, and not the
                Fisher: it shrinks with the batch size

Kirkpatrick et al. (2017), "Overcoming catastrophic forgetting", arXiv 1612.00796; Kunstner et al.
(2019) on why the empirical one differs, arXiv 1905.12558.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

Estimate = Literal["sampled", "labels", "batch"]


def diagonal_fisher(
    params: Mapping[str, nn.Parameter],
    log_p: Callable[[Mapping[str, Any]], Tensor],
    batches: Iterable[Mapping[str, Any]],
    *,
    estimate: Estimate = "sampled",
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """F by parameter, averaged over the batches' samples (`batch`: over the batches).

    log_p: batch -> log-probabilities [B, K] (-inf for classes that do not count); put the model
    into eval mode before. generator: on the CPU, for `sampled`. ValueError without a sample.
    """
    found = {name: torch.zeros_like(p) for name, p in params.items()}
    many = 0
    for batch in batches:
        z = log_p(batch)
        y = _labels(z, batch, estimate, generator)
        chosen = z.gather(1, y[:, None])[:, 0]
        each = [chosen.mean()] if estimate == "batch" else list(chosen)
        for i, one in enumerate(each):
            grads = torch.autograd.grad(
                one, list(params.values()), retain_graph=i + 1 < len(each), allow_unused=True
            )
            for total, grad in zip(found.values(), grads):
                if grad is not None:
                    total.addcmul_(grad, grad)
        many += len(each)
    if not many:
        raise ValueError("there are no samples to take the Fisher information of")
    return {name: total / many for name, total in found.items()}


def _labels(
    z: Tensor, batch: Mapping[str, Any], estimate: Estimate, generator: torch.Generator | None
) -> Tensor:
    if estimate != "sampled":
        return batch["y"]
    p = z.detach().exp().cpu()
    return torch.multinomial(p, 1, generator=generator)[:, 0].to(z.device)


class Anchor:
    """sum_i F_i (theta_i - theta*_i)^2, with F and theta* of everything learnt so far.

    One anchor for all tasks (online EWC; Schwarz et al. 2018, arXiv 1805.06370): after each task
    F <- decay F + F_task and theta* <- theta.
    """

    def __init__(self, params: Mapping[str, nn.Parameter], decay: float):
        self.params, self.decay = dict(params), decay
        self.fisher: dict[str, Tensor] = {}
        self.start: dict[str, Tensor] = {}

    def move(self, fisher: Mapping[str, Tensor]) -> None:
        """A task has been learnt: its F is added and the present weights are the new theta*."""
        old = self.fisher or {name: torch.zeros_like(p) for name, p in self.params.items()}
        self.fisher = {name: self.decay * old[name] + fisher[name] for name in self.params}
        self.start = {name: p.detach().clone() for name, p in self.params.items()}

    def penalty(self, params: Mapping[str, Tensor] | None = None) -> Tensor:
        """0-d, without a factor. LookupError before the first `move`.

        params: what the weights are now, where a step may find other objects than the ones here.
        """
        if not self.fisher:
            raise LookupError("there is nothing to hold on to yet")
        now = self.params if params is None else params
        parts = [
            (self.fisher[name] * (now[name] - self.start[name]).square()).sum()
            for name in self.params
        ]
        return torch.stack(parts).sum()
