"""Small trainable bridges between the widths of two models; dropped once training is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from bequeath.blocks.taps import Taps


def width_adapter(d_in: int, d_out: int, dropout: float = 0.5) -> nn.Module:
    """[B, d_in] -> [B, d_out]: BatchNorm1d, Dropout, Linear; identity when the widths agree.

    The adapter of arXiv 2305.17007 for students narrower or wider than their teacher.
    """
    if d_in == d_out:
        return nn.Identity()
    return nn.Sequential(nn.BatchNorm1d(d_in), nn.Dropout(dropout), nn.Linear(d_in, d_out))


def tap_width(model: nn.Module, taps: Taps, batch: Mapping[str, Any]) -> int:
    """Width d of what the only tap of `taps` sees, flattened to [B, d], by one look at `batch`.

    The look changes nothing: eval mode, no gradient, no batch statistics.
    """
    training = model.training
    model.eval()
    with torch.no_grad():
        model(batch)
        (name,) = taps
        width = taps[name].flatten(1).shape[1]
    model.train(training)
    return width
