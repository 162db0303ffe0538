"""Random features under a linear layer: a fixed projection and a ReLU, so that a line can bend.

    logits = W^T phi(x) + b        phi(x) = sqrt(6) ReLU(P x / rms(x))

P is what torch draws for a linear layer, uniform in +-1 / sqrt(in_features), without a bias, as the
buffer of analytic continual learning (Zhuang et al. 2022, arXiv 2205.14922). Two things are added,
neither of which looks at a data set, so that nothing of a sample stays in them: every input is
divided by its own root mean square, and sqrt(6) makes the features' mean square 1 for such inputs.
A ridge then means the same for any width and any backbone. All in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SCALE = 6.0**0.5  # E[(P x)^2] = 1/3 for inputs of mean square 1, and ReLU keeps half of it


class RandomFeatures(nn.Module):
    """[B, in_features] -> [B, out_features], float64. Nothing here is trained.

    width: rows of P; 0 leaves the input as it is. normalise: divide each input by its own root mean
    square. constant: add a feature that is 1, as the last. generator: draws P.
    """

    projection: Tensor

    def __init__(
        self,
        in_features: int,
        width: int,
        *,
        normalise: bool = True,
        constant: bool = False,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.width, self.normalise, self.constant = width, normalise, constant
        self.out_features = (width or in_features) + constant
        drawn = torch.rand(width, in_features, generator=generator, dtype=torch.float64)
        self.register_buffer("projection", (2 * drawn - 1) * in_features**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1).to(self.projection.dtype)
        if self.normalise:
            x = x / x.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-12)
        if self.width:
            x = (x @ self.projection.T).relu() * SCALE
        return nn.functional.pad(x, (0, 1), value=1.0) if self.constant else x


class RandomHead(nn.Module):
    """[B, in_features] -> logits float32 [B, num_classes]: features, then the linear `out`."""

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        width: int = 2000,
        normalise: bool = True,
        constant: bool = False,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        how = {"normalise": normalise, "constant": constant, "generator": generator}
        self.features = RandomFeatures(in_features, width, **how)  # type: ignore[arg-type]
        self.out = nn.Linear(self.features.out_features, num_classes, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.features(x)).float()


def build(
    name: str,
    num_classes: int,
    in_features: int,
    width: int = 2000,
    normalise: bool = True,
    constant: bool = False,
) -> nn.Module:
    """The head with fresh weights; `name` is `random_features`."""
    return RandomHead(in_features, num_classes, width, normalise, constant)
