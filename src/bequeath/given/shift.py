"""The same images in another domain: turned, inverted. For trials of what such a change does."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bequeath.given.samples import ArraySamples, Samples
from bequeath.kernel.errors import JobError, Problem


def shifted(samples: Samples, options: Any) -> Samples:
    """The samples as `options.turn` (degrees) and `options.invert` say; themselves without these.

    JobError G425 for anything but images held in memory.
    """
    if not options.turn and not options.invert:
        return samples
    if not isinstance(samples, ArraySamples) or samples.kind != "image":
        asked = "turn" if options.turn else "invert"
        message = f"`{asked}` is for images held in memory"
        remedies = ("leave it out", "or take fewer or smaller images (`take`, `size`)")
        raise JobError(Problem("G425", message, at=(asked,), remedies=remedies))
    assert isinstance(samples.x, Tensor)
    x = torch.cat([rotate(part, options.turn) for part in samples.x.split(4096)])
    x = 255 - x if options.invert else x
    return ArraySamples("image", x, samples.y, samples.classes, skipped=samples.skipped)


def rotate(x: Tensor, degrees: float) -> Tensor:
    """uint8 [B, H, W, C] turned counter-clockwise about the middle; bilinear, 0 from outside."""
    if degrees == 0:
        return x
    angle = torch.tensor(degrees).deg2rad()
    cos, sin = float(angle.cos()), float(angle.sin())
    h, w = x.shape[1:3]
    # output -> input coordinates, y downwards; the ratios keep pixels square
    theta = torch.tensor([[cos, -sin * h / w, 0.0], [sin * w / h, cos, 0.0]], device=x.device)
    pixels = x.permute(0, 3, 1, 2).float()
    grid = F.affine_grid(theta.expand(len(x), 2, 3), list(pixels.shape), align_corners=False)
    turned = F.grid_sample(pixels, grid, align_corners=False)
    return turned.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
