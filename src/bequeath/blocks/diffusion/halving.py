"""Two steps of a sampler as one: what a student must see to jump as far (Salimans and Ho 2022)."""

from __future__ import annotations

from torch import Tensor

from bequeath.blocks.diffusion.schedule import Schedule
from bequeath.blocks.diffusion.steppers import Denoiser, ddim


def two_steps(f: Denoiser, x: Tensor, t: Tensor, s: Tensor, schedule: Schedule) -> Tensor:
    """The x_0 [B, ...] with which one DDIM step from t to s ends where f's two of half size do.

    x [B, ...] at t [B]; s [B] below t. arXiv 2202.00512, algorithm 2.
    """
    shape = (-1,) + (1,) * (x.ndim - 1)
    middle = (t + s) / 2
    there = ddim(f, ddim(f, x, t, middle, schedule), middle, s, schedule)
    (alpha, sigma), (alpha_s, sigma_s) = schedule.levels(t), schedule.levels(s)
    ratio = (sigma_s / sigma).view(shape)
    return (there - ratio * x) / (alpha_s.view(shape) - ratio * alpha.view(shape))
