"""The diffusion that is known exactly: data from N(mean, diag(std^2)).

The best denoiser is f(x, t) = mean + alpha s^2 / (alpha^2 s^2 + sigma^2) (x - alpha mean), and the
probability-flow ODE keeps z = (x_t - alpha mean) / sqrt(alpha^2 s^2 + sigma^2) as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bequeath.blocks.diffusion.forms import said
from bequeath.given.bound import BoundModel, Source
from bequeath.given.facts import ModelFacts
from bequeath.given.preprocess import VectorPreprocess
from bequeath.given.zoo.denoiser import SCHEDULES, Diffusion

MEAN, STD = (0.5, -1.0, 2.0), (0.3, 1.0, 1.7)


class Best(nn.Module):
    """What a perfect network says, in any form; its one parameter shifts the mean."""

    def __init__(self, predicts: str = "v", schedule: str = "cosine"):
        super().__init__()
        self.predicts, self.levels = predicts, SCHEDULES[schedule]
        self.mean = nn.Parameter(torch.tensor(MEAN, dtype=torch.float64))
        self.register_buffer("std", torch.tensor(STD, dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (one[:, None] for one in self.levels(t))
        x0 = data(x, alpha, sigma, self.mean, self.std)
        return said(x0, (x - alpha * x0) / sigma, alpha, sigma, self.predicts)


class Ends(nn.Module):
    """The perfect student: what it says of noise, read at t_max, is the signal at t."""

    def __init__(self, schedule: str = "cosine", t_max: float = 0.99):
        super().__init__()
        self.schedule, self.t_max = schedule, t_max
        self.shift = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, noise: Tensor, t: Tensor) -> Tensor:
        return signal(noise, t, self.t_max, self.schedule) + self.shift


def data(x: Tensor, alpha: Tensor, sigma: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
    return mean + gain * (x - alpha * mean)


def flow(x: Tensor, t: Tensor, s: Tensor, schedule: str = "cosine") -> Tensor:
    """Where the ODE leads from x [B, 3] at t [B], exactly."""
    mean, std = (torch.tensor(one, dtype=torch.float64) for one in (MEAN, STD))
    (alpha, sigma), (alpha_s, sigma_s) = (
        [one[:, None] for one in SCHEDULES[schedule](time)] for time in (t, s)
    )
    z = (x - alpha * mean) / (alpha**2 * std**2 + sigma**2).sqrt()
    return alpha_s * mean + (alpha_s**2 * std**2 + sigma_s**2).sqrt() * z


def signal(noise: Tensor, t: Tensor, t_max: float, schedule: str = "cosine") -> Tensor:
    """BOOT's y(noise, t): (x_t - sigma noise) / alpha on the walk that begins at
    alpha_T f(noise, T) + sigma_T noise."""
    mean, std = (torch.tensor(one, dtype=torch.float64) for one in (MEAN, STD))
    end = torch.full_like(t, t_max)
    alpha, sigma = (one[:, None] for one in SCHEDULES[schedule](end))
    first = data(noise, alpha, sigma, mean, std)
    x = flow(alpha * first + sigma * noise, end, t, schedule)
    alpha, sigma = (one[:, None] for one in SCHEDULES[schedule](t))
    return (x - sigma * noise) / alpha


def model(
    net: nn.Module, predicts: str = "v", schedule: str = "cosine", **more: object
) -> Diffusion:
    return Diffusion(net, (3,), predicts, schedule, **more)  # type: ignore[arg-type]


def bound(module: Diffusion) -> BoundModel:
    return BoundModel(module, VectorPreprocess(), ModelFacts(), Source("zoo", "denoiser"))
