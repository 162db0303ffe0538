"""LeNet for images of any small size: LeCun et al. (1998), with ReLU and max pooling.

Two 5x5 convolutions that keep the size, each followed by a halving, then 120, 84 and the classes.
On a 28x28 image the first linear layer sees 16 x 7 x 7.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LeNet(nn.Module):
    """Images [B, in_channels, height, width] -> logits [B, num_classes]; sides >= 8."""

    def __init__(self, num_classes: int, in_channels: int, height: int, width: int):
        super().__init__()
        if min(height, width) < 8:
            raise ValueError(f"lenet needs images of 8x8 or more, not {height}x{width}")
        self.conv1 = nn.Conv2d(in_channels, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5, padding=2)
        self.fc1 = nn.Linear(16 * (height // 4) * (width // 4), 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(F.relu(self.fc2(x)))


def build(
    name: str, num_classes: int, in_channels: int = 1, height: int = 28, width: int = 28
) -> nn.Module:
    """The network with fresh weights; `name` is `lenet`."""
    return LeNet(num_classes, in_channels, height, width)
