"""How near made samples come to real ones, in the features of a network that judges.

    frechet     |m - m'|^2 + tr(S + S' - 2 (S S')^1/2), of the Gaussians of their means and
                covariances (Heusel et al. 2017, arXiv 1706.08500); 0 is best
    precision   share of made samples within some real sample's ball, whose radius is the distance
                to its k-th nearest real one; recall: the same the other way round
                (Kynkaanniemi et al. 2019, arXiv 1904.06991)
    density     mean over made samples of how many real balls hold it, divided by k: may exceed 1;
                coverage: share of real samples with a made one in their ball
                (Naeem et al. 2020, arXiv 2002.09797)

The Frechet distance grows as samples become fewer (rank and noise of the covariances): compare
values of the same numbers of samples only. The other four are shares of samples, to which one
outlier adds little; they depend on k and on the number of samples as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bequeath.metrics.names import Direction

GENERATION: dict[str, Direction] = {
    "frechet": "lower",
    "precision": "higher",
    "recall": "higher",
    "density": "higher",
    "coverage": "higher",
    "class_entropy": "higher",
    "class_gap": "lower",
    "confidence": "higher",
}
CHUNK = 1024


@dataclass(frozen=True)
class Neighbourhoods:
    """The four figures of balls, one number a sample; the figure is their mean.

    precision, density: [n_made]; recall, coverage: [n_real].
    """

    precision: Tensor
    recall: Tensor
    density: Tensor
    coverage: Tensor


def frechet(real: Tensor, made: Tensor) -> float:
    """Frechet distance of the Gaussians fitted to features [N, d] and [M, d], in float64.

    The trace of (S S')^1/2 is the sum of the singular values of S^1/2 S'^1/2, and S^1/2 may be any
    factor: the centred features themselves, over the root of N - 1. ValueError below two samples.
    """
    if min(len(real), len(made)) < 2:
        raise ValueError("a covariance needs two samples of each kind")
    real, made = real.double(), made.double()
    apart = real.mean(0) - made.mean(0)
    a, b = _factor(real), _factor(made)
    cross = torch.linalg.svdvals(a @ b.T).sum()
    distance = apart.square().sum() + a.square().sum() + b.square().sum() - 2 * cross
    return float(distance.clamp(min=0))


def neighbourhoods(real: Tensor, made: Tensor, k: int = 5) -> Neighbourhoods:
    """Who lies in whose ball. Features [N, d] and [M, d]; N, M > k, else ValueError."""
    if not 1 <= k < min(len(real), len(made)):
        raise ValueError(f"k is 1 or more and below both numbers of samples, not {k}")
    real, made = real.double(), made.double()
    balls, own_balls = _radius(real, k), _radius(made, k)
    inside = torch.zeros(len(made), dtype=torch.float64)
    found = torch.zeros(len(real), dtype=torch.bool)
    recalled = torch.zeros(len(real), dtype=torch.bool)
    for rows in torch.arange(len(real)).split(CHUNK):
        distance = torch.cdist(real[rows], made, compute_mode="donot_use_mm_for_euclid_dist")
        held = distance <= balls[rows, None]
        inside += held.sum(dim=0)
        found[rows] = held.any(dim=1)
        recalled[rows] = (distance <= own_balls).any(dim=1)
    return Neighbourhoods(
        precision=(inside > 0).double(),
        recall=recalled.double(),
        density=inside / k,
        coverage=found.double(),
    )


def class_entropy(probabilities: Tensor) -> float:
    """Entropy of the mean of class probabilities [N, K], as a share of log K: 1 is evenly spread.

    It speaks of the mean only: use it beside `confidence`, which says how sure single answers are.
    """
    mean = probabilities.double().mean(0)
    return float(torch.special.entr(mean).sum() / torch.log(torch.tensor(float(len(mean)))))


def class_gap(real: Tensor, made: Tensor) -> float:
    """Total variation between the shares of classes, by classes given [N] and [M]: 0 to 1."""
    k = int(max(real.max(), made.max())) + 1
    shares = [torch.bincount(y, minlength=k).double() / len(y) for y in (real, made)]
    return float((shares[0] - shares[1]).abs().sum() / 2)


def _factor(x: Tensor) -> Tensor:
    """A [r, d], r <= min(N, d), with A^T A the covariance of x [N, d]."""
    centred = (x - x.mean(0)) / (len(x) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R if len(x) > x.shape[1] else centred


def _radius(x: Tensor, k: int) -> Tensor:
    """Distance of each of [N, d] to its k-th nearest other."""
    found = []
    for rows in torch.arange(len(x)).split(CHUNK):
        distance = torch.cdist(x[rows], x, compute_mode="donot_use_mm_for_euclid_dist")
        found.append(distance.topk(k + 1, dim=1, largest=False).values[:, k])
    return torch.cat(found)
