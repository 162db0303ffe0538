"""What a denoising network learns from data: noise is added, and what it says is compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bequeath.blocks.diffusion.forms import said
from bequeath.given.zoo.denoiser import Diffusion

Draw = Callable[..., torch.Generator]


def noisy(like: Tensor, draw: Draw, counters: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(noise like data [B, ...], numbers [B] in [0, 1), one in each of B equal stretches).

    A function of the stream `draw`, which is `ctx.rng`, and the counters alone.
    """
    g, n = draw("diffusion", *counters), len(like)
    noise = torch.randn(like.shape, generator=g)
    place = torch.randperm(n, generator=g) + torch.rand(n, generator=g)
    return noise.to(like), (place / n).clamp(max=1 - 1e-6).to(like)


def counters(step: int, idx: Tensor) -> tuple[int, int, int]:
    """Of a batch: its step, and what tells it from the other batches of that step."""
    return step, int(idx[0]), int(idx.sum())


def denoising(net: Diffusion, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Squared error [B], a mean over the numbers of a sample, of what `net` says of noisy x."""
    alpha, sigma = net.levels(t)
    wanted = said(x, noise, alpha, sigma, net.predicts)
    return (net(alpha * x + sigma * noise, t) - wanted).square().flatten(1).mean(1)
