"""From raw images and vectors to what a model eats, in torch alone.

Models saved for plain torch carry a copy of this file, so it imports nothing else.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)


def images(
    x: Tensor,
    size: tuple[int, int] | None,
    crop: float,
    interpolation: str,
    channels: int | None,
    scale: Tensor,
    shift: Tensor,
) -> Tensor:
    """uint8 [B, H, W, C] -> float32 [B, channels, height, width]: resized, times scale plus shift.

    scale, shift: [1, channels, 1, 1], on the device of x; see `affine`. crop: share of the resized
    image that is kept around its middle.
    """
    # The permuted view keeps its strides through the cast: channels last, the faster layout.
    x = match_channels(x, channels).permute(0, 3, 1, 2).to(torch.float32)
    if size is not None:
        x = resize(x, size, crop, interpolation)
    return x.mul_(scale).add_(shift)


def affine(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """x in 0..255 -> (x / 255 - mean) / std, as one multiplication and one addition."""
    m, s = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    pair = (1 / (255 * s), -m / s)
    scale, shift = (t.to(torch.float32).view(1, -1, 1, 1) for t in pair)
    return scale, shift


def resize(x: Tensor, size: tuple[int, int], crop: float, interpolation: str) -> Tensor:
    """float [B, C, H, W] in 0..255 -> [B, C, height, width]."""
    height, width = size
    target = size
    if crop < 1:
        factor = max(height / x.shape[2], width / x.shape[3]) / crop
        target = (round(x.shape[2] * factor), round(x.shape[3] * factor))
    if tuple(x.shape[2:]) != target:
        if interpolation == "nearest":
            x = F.interpolate(x, target, mode="nearest-exact")
        else:
            x = F.interpolate(x, target, mode=interpolation, antialias=True, align_corners=False)
        x = x.clamp(0, 255)
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top : top + height, left : left + width]


def match_channels(x: Tensor, channels: int | None) -> Tensor:
    """[B, H, W, C] with C in {1, 3, 4} to 1 or 3 channels."""
    have = x.shape[-1]
    if channels is None or have == channels:
        return x
    if channels == 3 and have == 1:
        return x.expand(-1, -1, -1, 3)
    if channels == 3 and have == 4:
        return x[..., :3]
    if channels == 1 and have in (3, 4):
        luma = torch.tensor(_LUMA, device=x.device)
        return (x[..., :3].to(torch.float32) @ luma).round_().to(torch.uint8)[..., None]
    raise ValueError(f"images of {have} channels cannot become {channels}")


def flat(x: Tensor) -> Tensor:
    """[B, ...] -> float32 [B, D]; uint8 is scaled to 0..1."""
    if x.dtype == torch.uint8:
        return x.flatten(1).to(torch.float32).div_(255)
    return x.flatten(1).to(torch.float32)
