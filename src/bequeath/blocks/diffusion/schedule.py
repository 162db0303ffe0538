"""Noise schedules: alpha, sigma and the log of their ratio as functions of time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bequeath.given.zoo.denoiser import SCHEDULES, Pair


@dataclass(frozen=True)
class Schedule:
    """A variance-preserving schedule. levels: t [...] -> alpha, sigma [...]."""

    levels: Callable[[Tensor], Pair]

    def log_ratio(self, t: Tensor) -> Tensor:
        """lambda = log(alpha / sigma), half the log of the signal-to-noise ratio; falls with t."""
        alpha, sigma = self.levels(t.double())
        return alpha.log() - sigma.log()

    def stride(self, t: Tensor, s: Tensor) -> Tensor:
        """d = 1 - exp(lambda_t - lambda_s) in (0, 1] for s < t: how far one exact step from t to s
        moves the signal towards what the denoiser sees. 1 where s is 0, or t pure noise.

        In float64 and through `expm1`: with s close to t, 1 - r would lose all its digits.
        """
        return -torch.expm1(self.log_ratio(t) - self.log_ratio(s)).to(t.dtype)


def named(name: str) -> Schedule:
    """`cosine` or `linear`. KeyError for another."""
    return Schedule(SCHEDULES[name])


def of_scheduler(scheduler: Any) -> Schedule:
    """The schedule of a diffusers scheduler that has `alphas_cumprod` [N]; its step i is at
    t = (i + 1) / N, between the steps lambda is interpolated, and at 0 there is no noise.

    ValueError where that table is not a falling one within (0, 1).
    """
    table = torch.as_tensor(scheduler.alphas_cumprod).double()
    falls = bool((table[1:] < table[:-1]).all()) and bool(((table > 0) & (table < 1)).all())
    if table.ndim != 1 or len(table) < 2 or not falls:
        raise ValueError("`alphas_cumprod` falls from step to step and lies within (0, 1)")
    ratio = 0.5 * (table.log() - torch.log1p(-table))

    def levels(t: Tensor) -> Pair:
        place = (t.double() * len(table) - 1).clamp(0, len(table) - 1)
        low = place.floor().long().clamp(max=len(table) - 2)
        between = torch.lerp(ratio.to(t.device)[low], ratio.to(t.device)[low + 1], place - low)
        between = torch.where(t <= 0, torch.inf, between)
        return torch.sigmoid(2 * between).sqrt().to(t.dtype), torch.sigmoid(-2 * between).sqrt().to(
            t.dtype
        )

    return Schedule(levels)
