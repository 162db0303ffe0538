"""Steps from x_t to x_s, s < t, given a denoiser f(x, t) = predicted x_0; and walks made of them.

    ddim   the probability-flow ODE with f held still, exact for constant f
    heun   the same ODE with the slope averaged over both ends, two calls of f a step
    ddpm   a draw from q(x_s | x_t, x_0 = f)

DDIM: Song, Meng, Ermon 2020, arXiv 2010.02502; Heun in x / alpha over sigma / alpha: Karras et al.
2022, arXiv 2206.00364, algorithm 1; DDPM: Ho, Jain, Abbeel 2020, arXiv 2006.11239. All as in
diffusers' schedulers, to rounding; those keep state and count steps in whole numbers of a table,
these are functions of continuous time.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from bequeath.blocks.diffusion.schedule import Schedule
from bequeath.given.zoo.denoiser import Pair

Denoiser = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[Denoiser, Tensor, Tensor, Tensor, Schedule], Tensor]


def ddim_update(x: Tensor, x0: Tensor, here: Pair, there: Pair) -> Tensor:
    """x_s = alpha_s x_0 + sigma_s eps with the eps that x_0 leaves in x_t."""
    (alpha, sigma), (alpha_s, sigma_s) = here, there
    return alpha_s * x0 + (sigma_s / sigma) * (x - alpha * x0)


def ddpm_update(x: Tensor, x0: Tensor, here: Pair, there: Pair, noise: Tensor) -> Tensor:
    """A draw from the Gaussian q(x_s | x_t, x_0), its deviation times `noise`."""
    (alpha, sigma), (alpha_s, sigma_s) = here, there
    ratio = alpha / alpha_s
    added = sigma**2 - ratio**2 * sigma_s**2  # variance of the noise added between s and t
    mean = (ratio * sigma_s**2 * x + alpha_s * added * x0) / sigma**2
    return mean + added.clamp(min=0).sqrt() * sigma_s / sigma * noise


def ddim(f: Denoiser, x: Tensor, t: Tensor, s: Tensor, schedule: Schedule) -> Tensor:
    """One step of [B, ...] from t [B] to s [B]."""
    return ddim_update(x, f(x, t), _wide(schedule, t, x), _wide(schedule, s, x))


def heun(f: Denoiser, x: Tensor, t: Tensor, s: Tensor, schedule: Schedule) -> Tensor:
    """One step of [B, ...] from t [B] to s [B]; where s is 0 it is `ddim`, as there is no slope."""
    (alpha, sigma), (alpha_s, sigma_s) = _wide(schedule, t, x), _wide(schedule, s, x)
    x0 = f(x, t)
    first = ddim_update(x, x0, (alpha, sigma), (alpha_s, sigma_s))
    clean = sigma_s == 0
    if bool(clean.all()):
        return first
    z, z_s, k, k_s = x / alpha, first / alpha_s, sigma / alpha, sigma_s / alpha_s
    slope = (z - x0) / k
    slope_s = (z_s - f(first, s)) / torch.where(clean, torch.ones_like(k_s), k_s)
    second = alpha_s * (z + (k_s - k) * 0.5 * (slope + slope_s))
    return torch.where(clean, first, second)


def ddpm(generator: torch.Generator) -> Step:
    """A step whose noise comes from `generator`, which lives on the CPU."""

    def step(f: Denoiser, x: Tensor, t: Tensor, s: Tensor, schedule: Schedule) -> Tensor:
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        return ddpm_update(x, f(x, t), _wide(schedule, t, x), _wide(schedule, s, x), noise)

    return step


def times(steps: int, t_max: float) -> list[float]:
    """t_max, ..., 0 in `steps` equal steps: steps + 1 times. ValueError below one step."""
    if steps < 1:
        raise ValueError(f"a walk has at least one step, not {steps}")
    return [t_max * (1 - k / steps) for k in range(steps + 1)]


def walk(
    f: Denoiser, noise: Tensor, schedule: Schedule, at: list[float], step: Step = ddim
) -> Tensor:
    """From noise [B, ...] at at[0] through the times `at`, falling, to the last of them."""
    x = noise
    for t, s in pairwise(at):
        x = step(f, x, x.new_full((len(x),), t), x.new_full((len(x),), s), schedule)
    return x


def _wide(schedule: Schedule, t: Tensor, x: Tensor) -> Pair:
    """alpha, sigma [B, 1, ...] beside x [B, ...]."""
    shape = (-1,) + (1,) * (x.ndim - 1)
    alpha, sigma = schedule.levels(t)
    return alpha.view(shape), sigma.view(shape)
