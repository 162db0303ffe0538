"""One-vs-all clustering: which class each sample of an unlabelled set is of, or that it is of none.

For each class c the surest samples make one positive prototype, and K-means over all others makes K
negative ones. A sample is of class c when it is nearer to the positive than to any negative,

    a_c <z, w_c> >= max_m <z, n_cm>        a_c = rho + (1 - rho) * mean probability of the surest

and c is the class of its nearest positive prototype; otherwise it is of none. Qu et al. 2023,
"Upcycling Models under Domain and Category Shift", arXiv 2303.07110.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bequeath.blocks.prototypes import surest

RATIOS = (0.25, 0.5, 1.0, 2.0, 3.0)


@dataclass(frozen=True)
class OneVsAll:
    """targets: [N, C], one-hot where a class accepts the sample, else all 1 / C. accepted: bool
    [N]. nearest: int64 [N], class of the nearest positive prototype. prototypes: [C, d], of
    length 1. priors: [C]."""

    targets: Tensor
    accepted: Tensor
    nearest: Tensor
    prototypes: Tensor
    priors: Tensor


def one_vs_all(
    features: Tensor, predictions: Tensor, ratio: float, *, rho: float = 0.75, seed: int = 0
) -> OneVsAll:
    """Pseudo-labels of all N samples.

    features: [N, d], of length 1. predictions: [N, C], probabilities. ratio: classes of the target
    over those of the source, as `class_ratio` finds it. Each class's own set is the
    floor(N / (ratio C)) surest, half of all at most; K is floor(ratio C), at least 2. N >= 4.
    seed: of K-means.
    """
    n, classes = predictions.shape
    size = min(n // 2, max(1, math.floor(n / (ratio * classes))))  # two classes at least
    clusters = min(n - size, negatives(ratio, classes))
    own = surest(predictions, size)
    w = F.normalize(features[own].mean(dim=1), dim=1)
    sure = predictions.gather(0, own.T).mean(dim=0)
    priors = rho + (1 - rho) * sure
    similar = features @ w.T
    nearest = similar.argmax(dim=1)
    accepted = torch.zeros(n, dtype=torch.bool, device=features.device)
    host = features.cpu().numpy()
    for c in range(classes):
        asked = (nearest == c).nonzero().flatten()
        if not len(asked):
            continue
        others = np.ones(n, dtype=bool)
        others[own[c].cpu().numpy()] = False
        centres = torch.from_numpy(centroids(host[others], clusters, seed + c)).to(features)
        against = (features[asked] @ F.normalize(centres, dim=1).T).amax(dim=1)
        accepted[asked] = priors[c] * similar[asked, c] >= against
    targets = torch.full_like(predictions, 1 / classes)
    targets[accepted] = F.one_hot(nearest[accepted], classes).to(targets.dtype)
    return OneVsAll(targets, accepted, nearest, w, priors)


def negatives(ratio: float, classes: int) -> int:
    """K, the estimated number of classes of the target: floor(ratio C), at least 2."""
    return max(2, math.floor(ratio * classes))


def centroids(points: np.ndarray, clusters: int, seed: int, iterations: int = 100) -> np.ndarray:
    """K-means: centres [K, d]. points: [N, d], N >= K. One start (k-means++)."""
    found = _kmeans(points, clusters, seed, n_init=1, max_iter=iterations)
    return found.cluster_centers_.astype(points.dtype)


def _kmeans(points: np.ndarray, clusters: int, seed: int, **how: int) -> Any:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():  # fewer different points than clusters: some are empty
        warnings.simplefilter("ignore", ConvergenceWarning)
        return KMeans(clusters, random_state=seed % 2**31, **how).fit(points)


def class_ratio(
    features: Tensor, classes: int, *, seed: int = 0, embed: str = "tsne", most: int = 2000
) -> tuple[float, dict[float, float]]:
    """How many classes the target has, over those of the source: (ratio, score of each candidate).

    K-means with K = ratio C clusters (at least 2) for each ratio of 1/4, 1/2, 1, 2, 3; the best
    silhouette wins, and 1 where none is above 0. features: [N, d], of length 1, N >= 3. embed:
    `tsne` clusters a 2-d t-SNE of them (sklearn, init pca), `none` the features. most: of more
    samples so many are drawn. Candidates with N clusters or more are left out.
    """
    from sklearn.manifold import TSNE
    from sklearn.metrics import silhouette_score

    z = features.cpu().numpy()
    if len(z) > most:
        z = z[np.sort(np.random.default_rng(seed).choice(len(z), most, replace=False))]
    if embed == "tsne":
        perplexity = min(30.0, (len(z) - 1) / 3)
        z = TSNE(2, init="pca", perplexity=perplexity, random_state=seed % 2**31).fit_transform(z)
    best, ratio = 0.0, 1.0
    scores: dict[float, float] = {}
    for candidate in RATIOS:
        k = negatives(candidate, classes)
        if k >= len(z):
            continue
        labels = _kmeans(z, k, seed, n_init=10).labels_
        if len(np.unique(labels)) < 2:
            continue
        scores[candidate] = float(silhouette_score(z, labels))
        if scores[candidate] > best:
            best, ratio = scores[candidate], candidate
    return ratio, scores
