"""Wide residual networks: Zagoruyko and Komodakis (2016).

`wrn-d-k`: depth d = 6n + 4, three stages of n pre-activation blocks with 16k, 32k and 64k
channels. Where the width changes, the shortcut is a 1x1 convolution of the activated input.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Norm, ReLU, 3x3 convolution, twice, with dropout between the convolutions."""

    def __init__(self, channels: int, out_channels: int, stride: int, dropout: float):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.shortcut: nn.Module | None = None
        if stride != 1 or channels != out_channels:
            self.shortcut = nn.Conv2d(channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        residual = F.relu(self.bn2(self.conv1(active)))
        residual = self.conv2(self.dropout(residual))
        return residual + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    """Images [B, in_channels, H, W] -> logits [B, num_classes]."""

    def __init__(
        self, depth: int, width: int, num_classes: int, in_channels: int = 3, dropout: float = 0.0
    ):
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth is 6n + 4 with n >= 1, not {depth}")
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        self.layer1 = _stage(blocks, 16, 16 * width, 1, dropout)
        self.layer2 = _stage(blocks, 16 * width, 32 * width, 2, dropout)
        self.layer3 = _stage(blocks, 32 * width, 64 * width, 2, dropout)
        self.bn = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        x = F.adaptive_avg_pool2d(F.relu(self.bn(x)), 1)
        return self.fc(torch.flatten(x, 1))


def _stage(
    blocks: int, channels: int, out_channels: int, stride: int, dropout: float
) -> nn.Sequential:
    first = Block(channels, out_channels, stride, dropout)
    rest = (Block(out_channels, out_channels, 1, dropout) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def build(name: str, num_classes: int, in_channels: int = 3, dropout: float = 0.0) -> nn.Module:
    """`wrn-40-2`, `wrn-16-4`, ... -> the network with fresh weights."""
    _, depth, width = name.split("-")
    return WideResNet(int(depth), int(width), num_classes, in_channels, dropout)
