"""Random views of images: crop, mirror, cutout, each a function of (seed, sample, view).

The random numbers are a hash of those three (splitmix64 steps, Steele et al. 2014, in wrapping
int64 arithmetic), not the state of a generator. A view is therefore the same in any batch, order
and process and on any device, which lets a teacher's answers be cached for it.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio, splitmix64's step


class Augment(Protocol):
    """crop: pixels of zero padding around the image before a crop of its own size. flip: mirror
    left and right with probability 1/2. cutout: side of a square set to the image's mean.
    active: whether any of them is on."""

    @property
    def crop(self) -> int: ...
    @property
    def flip(self) -> bool: ...
    @property
    def cutout(self) -> int: ...
    @property
    def active(self) -> bool: ...


def augment(x: Tensor, idx: Tensor, view: Tensor, seed: int, cfg: Augment) -> Tensor:
    """View number `view` of each image.

    x: uint8 [B, H, W, C]. idx: int64 [B], position in the data set. view: int64 [B].
    Returns uint8 [B, H, W, C] on the same device; `x` itself when `cfg` asks for nothing.
    Raises ValueError for anything but images.
    """
    if not cfg.active:
        return x
    if x.dtype != torch.uint8 or x.ndim != 4:
        raise ValueError(f"only images (uint8 [B, H, W, C]) have views, not {x.dtype} {x.ndim}-d")
    key = _key(seed, idx.to(x.device), view.to(x.device))
    if cfg.crop or cfg.flip:
        x = _crop_and_flip(x, key, cfg.crop, cfg.flip)
    if cfg.cutout:
        x = _cutout(x, key, cfg.cutout)
    return x


def _crop_and_flip(x: Tensor, key: Tensor, pad: int, flip: bool) -> Tensor:
    B, H, W, C = x.shape
    rows = torch.arange(H, device=x.device).expand(B, H)
    columns = torch.arange(W, device=x.device).expand(B, W)
    if flip:
        mirrored = _below(2, key, 1).bool()[:, None]
        columns = torch.where(mirrored, W - 1 - columns, columns)
    if pad:
        padded = x.new_zeros(B, H + 2 * pad, W + 2 * pad, C)
        padded[:, pad : pad + H, pad : pad + W] = x
        x = padded
        rows = rows + _below(2 * pad + 1, key, 2)[:, None]
        columns = columns + _below(2 * pad + 1, key, 3)[:, None]
    height, width = x.shape[1:3]
    # One flat gather of whole pixels: several times faster than indexing along three axes.
    base = torch.arange(B, device=x.device)[:, None, None] * height
    flat = (base + rows[:, :, None]) * width + columns[:, None, :]
    return x.reshape(-1, C).index_select(0, flat.reshape(-1)).view(B, H, W, C)


def _cutout(x: Tensor, key: Tensor, side: int) -> Tensor:
    """A square with its centre anywhere in the image, so it may stick out of it."""
    _, H, W, _ = x.shape
    top = _below(H, key, 4)[:, None] - side // 2
    left = _below(W, key, 5)[:, None] - side // 2
    rows = torch.arange(H, device=x.device)[None]
    columns = torch.arange(W, device=x.device)[None]
    inside = ((rows >= top) & (rows < top + side))[:, :, None] & (
        (columns >= left) & (columns < left + side)
    )[:, None, :]
    # Whole-number sums: the mean is the same on every device.
    mean = x.to(torch.int32).sum((1, 2), keepdim=True) // (H * W)
    return torch.where(inside[..., None], mean.to(torch.uint8), x)


def _below(n: int, key: Tensor, draw: int) -> Tensor:
    """Whole numbers in 0..n-1, int64 [B], the `draw`-th of each key; n <= 2^31."""
    return (_shift(_mix(key + _wrap(draw * _GOLDEN)), 33) * n) >> 31


def _key(seed: int, idx: Tensor, view: Tensor) -> Tensor:
    """int64 [B]; each of the three is mixed in on its own, so swapping two changes the result."""
    start = torch.full_like(idx, _wrap(seed * _GOLDEN + 1))
    return _mix(_mix(_mix(start) + idx) + view)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _wrap(0xBF58476D1CE4E5B9)
    z = (z ^ _shift(z, 27)) * _wrap(0x94D049BB133111EB)
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical shift to the right (torch's keeps the sign)."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _wrap(value: int) -> int:
    """The int64 with the same lowest 64 bits."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value
