"""The signal of a deterministic walk, and the target BOOT learns it from.

The walk from eps is x_t = alpha_t y_t + sigma_t eps, with the same eps all the way; y is its
signal. The probability-flow ODE says dy/dlambda = f(x_t, t) - y; one step from t to s with f held
still is exactly

    y_s = y_t + d (f(x_t, t) - y_t)        d = 1 - exp(lambda_t - lambda_s)

Gu et al. 2023, arXiv 2306.05544, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bequeath.blocks.diffusion.schedule import Schedule
from bequeath.blocks.diffusion.steppers import Denoiser

Signal = Callable[[Tensor, Tensor], Tensor]


def target(
    y: Signal,
    f: Denoiser,
    noise: Tensor,
    t: Tensor,
    s: Tensor,
    schedule: Schedule,
    *,
    order: int = 1,
) -> tuple[Tensor, Tensor]:
    """(the signal at s that follows from y(noise, t), the stride d [B, 1, ...]).

    noise [B, ...]; t, s [B] with s < t. order 2: f is averaged over both ends (Heun). Gradients are
    the caller's affair: the whole target is meant to be held still.
    """
    shape = (-1,) + (1,) * (noise.ndim - 1)
    y_t, d = y(noise, t), schedule.stride(t, s).view(shape)
    f_t = f(_place(y_t, noise, t, schedule), t)
    y_s = y_t + d * (f_t - y_t)
    if order == 2:
        f_s = f(_place(y_s, noise, s, schedule), s)
        y_s = y_t + d * (0.5 * (f_t + f_s) - y_t)
    return y_s, d


def _place(y: Tensor, noise: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    """x_t of the walk whose signal is y."""
    shape = (-1,) + (1,) * (noise.ndim - 1)
    alpha, sigma = schedule.levels(t)
    return alpha.view(shape) * y + sigma.view(shape) * noise


@contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """No gradients and no dropout of `model` inside; afterwards it is as it was."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
