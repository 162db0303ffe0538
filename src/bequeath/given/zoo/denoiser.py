"""Small diffusion models: a network that takes noise away, and the walk that makes it a generator.

    x_t = alpha_t x_0 + sigma_t eps        t in [0, 1], alpha^2 + sigma^2 = 1

Called with a time, `model(x_t, t)` is what the network says: the noise eps, the data x_0, or the
velocity v = alpha eps - sigma x_0. Called without, `model(noise)` is a sample for each noise.

`ddim` walks from noise to data in `steps` deterministic steps (Song, Meng, Ermon 2020, arXiv
2010.02502). `direct` is one call of a network that has learnt where the walk ends: its input is
always pure noise, and its time says where on the walk the answer is wanted (BOOT, Gu et al. 2023,
arXiv 2306.05544).

`denoiser` is a residual perceptron, for vectors and very small images. `unet` is convolutional:
Ho, Jain, Abbeel (2020), without attention.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pair = tuple[Tensor, Tensor]
FREQUENCIES, HIGHEST = 16, 100.0  # radians a unit of time: steps of a hundredth are told apart
BETA_MIN, BETA_MAX = 0.1, 20.0


def cosine(t: Tensor) -> Pair:
    """alpha, sigma of the variance-preserving cosine: a turn by a right angle, evenly in t."""
    return torch.cos(t * (math.pi / 2)), torch.sin(t * (math.pi / 2))


def linear(t: Tensor) -> Pair:
    """alpha, sigma of DDPM's linear beta in continuous time (Song et al. 2021, VP-SDE)."""
    integral = t * BETA_MIN + t * t * ((BETA_MAX - BETA_MIN) / 2)
    return torch.exp(-integral / 2), torch.sqrt(-torch.expm1(-integral))


SCHEDULES: dict[str, Callable[[Tensor], Pair]] = {"cosine": cosine, "linear": linear}


def data_of(output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, predicts: str) -> Tensor:
    """x_0 from what a network says of x = alpha x_0 + sigma eps."""
    if predicts == "x0":
        return output
    if predicts == "v":
        return alpha * x - sigma * output
    return (x - sigma * output) / alpha


class Diffusion(nn.Module):
    """A denoising network with its schedule.

    shape: of one sample. predicts: `v`, `x0` or `eps`. t_max: the time that counts as pure noise,
    a little below 1, where alpha is not yet 0. sampler, steps: how samples are made.
    """

    def __init__(
        self,
        net: nn.Module,
        shape: Sequence[int],
        predicts: str = "v",
        schedule: str = "cosine",
        t_max: float = 0.99,
        sampler: str = "ddim",
        steps: int = 50,
    ):
        super().__init__()
        known = {"predicts": ("v", "x0", "eps"), "sampler": ("ddim", "direct")}
        for name, value in (("predicts", predicts), ("sampler", sampler)):
            if value not in known[name]:
                raise ValueError(f"{name} is one of {', '.join(known[name])}, not {value!r}")
        if schedule not in SCHEDULES:
            raise ValueError(f"schedule is one of {', '.join(SCHEDULES)}, not {schedule!r}")
        if steps < 1 or not 0 < t_max <= 1:
            raise ValueError(f"steps is 1 or more and t_max in (0, 1], not {steps} and {t_max}")
        self.net, self.shape = net, tuple(shape)
        self.predicts, self.schedule, self.t_max = predicts, schedule, t_max
        self.sampler, self.steps = sampler, steps

    @property
    def evaluations(self) -> int:
        """Calls of the network for one sample."""
        return 1 if self.sampler == "direct" else self.steps

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """x_t [B, *shape] and t [B] -> what the network says; noise alone -> samples."""
        return self.sample(x) if t is None else self.net(x, t)

    def levels(self, t: Tensor) -> Pair:
        """alpha, sigma at t [B], as [B, 1, ...] to be multiplied with samples."""
        alpha, sigma = SCHEDULES[self.schedule](t)
        ones = (-1,) + (1,) * len(self.shape)
        return alpha.view(ones), sigma.view(ones)

    def data(self, x: Tensor, t: Tensor) -> Tensor:
        """The data x_0 that the network sees in x_t."""
        return data_of(self.net(x, t), x, *self.levels(t), self.predicts)

    def signal(self, noise: Tensor, t: Tensor) -> Tensor:
        """Of a network trained for `direct`: y(noise, t), the signal in the walk's x_t.

        The input is pure noise, so what is said is read at the level of t_max, whatever t.
        """
        levels = self.levels(torch.full_like(t, self.t_max))
        return data_of(self.net(noise, t), noise, *levels, self.predicts)

    def sample(self, noise: Tensor) -> Tensor:
        """Standard normal noise [B, *shape] -> samples of that shape."""
        t = noise.new_full((len(noise),), self.t_max)
        if self.sampler == "direct":
            return self.signal(noise, torch.zeros_like(t))
        x = noise
        for k in range(self.steps):
            x0 = self.data(x, t)
            alpha, sigma = self.levels(t)
            t = torch.full_like(t, self.t_max * (1 - (k + 1) / self.steps))
            alpha_s, sigma_s = self.levels(t)
            x = alpha_s * x0 + (sigma_s / sigma) * (x - alpha * x0)
        return x


class Clock(nn.Module):
    """Times [B] -> [B, width]: sines and cosines of rising frequency, then two layers."""

    def __init__(self, width: int):
        super().__init__()
        self.inner = nn.Linear(2 * FREQUENCIES, width)
        self.outer = nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        places = torch.linspace(0, math.log(HIGHEST), FREQUENCIES, device=t.device, dtype=t.dtype)
        angle = t[:, None] * places.exp()
        return self.outer(F.silu(self.inner(torch.cat([angle.sin(), angle.cos()], dim=1))))


class MLPBlock(nn.Module):
    """h + W2 silu(W1 norm(h) + time)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, width)
        self.time = nn.Linear(width, width)
        self.down = nn.Linear(width, width)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        return h + self.down(F.silu(self.up(self.norm(h)) + self.time(time)))


class MLP(nn.Module):
    """x [B, *shape], t [B] -> [B, *shape]: a residual perceptron."""

    def __init__(self, shape: Sequence[int], width: int, layers: int):
        super().__init__()
        size = math.prod(shape)
        self.clock = Clock(width)
        self.enter = nn.Linear(size, width)
        self.blocks = nn.ModuleList(MLPBlock(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, size)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        time = F.silu(self.clock(t))
        h = self.enter(x.flatten(1))
        for block in self.blocks:
            h = block(h, time)
        return self.out(F.silu(self.norm(h))).view_as(x)


class ConvBlock(nn.Module):
    """Norm, SiLU, 3x3 convolution, twice, the time added between; and the shortcut around."""

    def __init__(self, channels: int, out_channels: int, time: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(_groups(channels), channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time, out_channels)
        self.norm2 = nn.GroupNorm(_groups(out_channels), out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x))) + self.time(time)[:, :, None, None]
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class UNet(nn.Module):
    """x [B, C, H, W], t [B] -> [B, C, H, W]. Each of `levels` halvings doubles the channels."""

    def __init__(self, shape: Sequence[int], width: int, levels: int):
        super().__init__()
        channels, *sides = shape
        if any(side % 2**levels for side in sides):
            raise ValueError(f"sides of {sides} pixels cannot be halved {levels} times")
        widths = [width * 2**level for level in range(levels + 1)]
        time = 2 * width
        self.clock = Clock(time)
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList(ConvBlock(w, w, time) for w in widths)
        self.shrink = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.middle = ConvBlock(widths[-1], widths[-1], time)
        self.up = nn.ModuleList(ConvBlock(2 * w, w, time) for w in reversed(widths))
        self.grow = nn.ModuleList(
            nn.Conv2d(b, a, 3, padding=1) for a, b in reversed(list(pairwise(widths)))
        )
        self.norm = nn.GroupNorm(_groups(width), width)
        self.out = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        time = F.silu(self.clock(t))
        h, kept = self.enter(x), []
        for i, block in enumerate(self.down):
            h = block(h, time)
            kept.append(h)
            if i < len(self.shrink):
                h = self.shrink[i](h)
        h = self.middle(h, time)
        for i, block in enumerate(self.up):
            h = block(torch.cat([h, kept.pop()], dim=1), time)
            if i < len(self.grow):
                h = self.grow[i](F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return self.out(F.silu(self.norm(h)))


def _groups(channels: int) -> int:
    return math.gcd(8, channels)


def build(
    name: str,
    num_classes: int | None,
    shape: Sequence[int],
    width: int = 128,
    layers: int = 3,
    predicts: str = "v",
    schedule: str = "cosine",
    t_max: float = 0.99,
    sampler: str = "ddim",
    steps: int = 50,
) -> nn.Module:
    """The model with fresh weights; `name` is `denoiser` or `unet`; there are no classes.

    layers: blocks of the perceptron, halvings of the U-net.
    """
    net = (MLP if name == "denoiser" else UNet)(shape, width, layers)
    return Diffusion(net, shape, predicts, schedule, t_max, sampler, steps)
