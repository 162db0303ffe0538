"""The classifier that source-free adaptation begins with: a bottleneck, then directions.

    z = BatchNorm(W_b x + b_b)        logits = W z + c, each row of W with a length of its own

The bottleneck brings any backbone's output to one width, batch normalisation keeps target features
where the classifier expects them, and weight normalisation keeps a frequent class from growing a
longer row. Liang, Hu, Feng 2020, "Do We Really Need to Access the Source Data?", arXiv 2002.08546.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class BottleneckHead(nn.Module):
    """[B, in_features] -> logits [B, num_classes]; what goes into `out` is the embedding."""

    def __init__(self, in_features: int, num_classes: int, width: int = 256):
        super().__init__()
        self.reduce = nn.Linear(in_features, width)
        self.norm = nn.BatchNorm1d(width)
        self.out = nn.Linear(width, num_classes)
        for layer in (self.reduce, self.out):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        weight_norm(self.out)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(self.reduce(x.flatten(1))))
