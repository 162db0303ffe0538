"""Small trainable bridges between the widths of two models; dropped once training is over."""

from __future__ import annotations

from torch import nn


def width_adapter(d_in: int, d_out: int, dropout: float = 0.5) -> nn.Module:
    """[B, d_in] -> [B, d_out]: BatchNorm1d, Dropout, Linear; identity when the widths agree.

    The adapter of arXiv 2305.17007 for students narrower or wider than their teacher.
    """
    if d_in == d_out:
        return nn.Identity()
    return nn.Sequential(nn.BatchNorm1d(d_in), nn.Dropout(dropout), nn.Linear(d_in, d_out))
