"""Soft targets with a temperature and noise of each row's own; a row is a token of a text.

Swing Distillation, 2022, arXiv 2212.08349, as read from its abstract.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from bequeath.losses.kl import kl


def soft_targets_at(
    student: Tensor,
    teacher: Tensor,
    tau: Tensor,
    tau_s: Tensor,
    noise: Tensor | None = None,
) -> Tensor:
    """tau_S^2 KL( q || softmax(z_S / tau_S) ), q = softmax(z_T / tau) or that with noise; [N].

    student, teacher: logits [N, K]; tau, tau_s: [N], in float64 so that a constant one gives the
    bits of `kl.soft_targets`; noise: [N, K], see `noisy`. tau_S^2 is each row's own: one factor
    for all would weigh hot rows too little.
    """
    log_s = F.log_softmax(student / tau_s.to(student.dtype)[:, None], dim=1)
    log_t = F.log_softmax(teacher / tau.to(teacher.dtype)[:, None], dim=1)
    if noise is not None:
        log_t = noisy(log_t.exp(), noise).log()
    return tau_s.square().to(student.dtype) * kl(log_t, log_s)


def noisy(p: Tensor, noise: Tensor) -> Tensor:
    """max(p + noise, 0), brought back to sum 1, [N, K]; even where nothing is left."""
    q = (p + noise).clamp_min(0)
    total = q.sum(dim=1, keepdim=True)
    even = torch.full_like(q, 1 / q.shape[1])
    return torch.where(total > 0, q / total.clamp_min(torch.finfo(q.dtype).tiny), even)


def draw_noise(
    kind: Literal["laplace", "normal"], shape: tuple[int, int], scale: float, rng: torch.Generator
) -> Tensor:
    """Laplace(0, scale) or Normal(0, scale), float32 on the CPU."""
    if kind == "normal":
        return scale * torch.randn(shape, generator=rng)
    # the difference of two exponentials
    both = torch.empty((2, *shape)).exponential_(generator=rng)
    return scale * (both[0] - both[1])


def temperature(
    rho: Tensor,
    least: float,
    most: float,
    form: Literal["linear", "exponential", "step"],
    at: float,
) -> Tensor:
    """tau(rho), rho [N] in 0..1 -> [N] float64, from `least` at 0 to `most` at 1.

    linear: least + (most - least) rho. exponential: least (most / least)^rho. step: most where
    rho >= at, else least.
    """
    rho = rho.double()
    if form == "linear":
        return least + (most - least) * rho
    if form == "exponential":
        return least * (most / least) ** rho
    return torch.where(rho >= at, most, least).double()
