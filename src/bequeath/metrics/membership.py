"""Membership inference: how well an attacker tells what a model has learnt from what it has not.

An attack gives every sample a score, higher for likelier members:

    loss threshold   score = -loss                              Yeom et al. 2018, arXiv 1709.01604
    LiRA, offline    score = log P(shadow without it < phi)     Carlini et al. 2022,
    LiRA, online     score = log p(phi | in) - log p(phi | out)      arXiv 2112.03570

where phi = log(p_y / (1 - p_y)) is the model's scaled confidence in the label. Offline asks for
shadow models that never saw the sample; online also for some that did. With few shadows (below
about 64) one variance is shared by all samples (`pooled`), as the authors advise.

How well the scores separate is told by `auc`, `advantage` and `tpr_at_fpr`. Everything takes and
gives tensors or what becomes one, computes in float64 and needs no model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Attack:
    """How well one attack separates members from non-members.

    auc: 0.5 is chance. advantage: the best TPR - FPR over all thresholds. tpr_at: FPR -> TPR.
    members, nonmembers: how many there were.
    """

    auc: float
    advantage: float
    tpr_at: dict[float, float]
    members: int
    nonmembers: int


def attack(members: Any, nonmembers: Any, at: Sequence[float] = (0.001, 0.01, 0.1)) -> Attack:
    """Judge an attack by its scores of members [M] and of non-members [N]."""
    inside, outside = _scores(members), _scores(nonmembers)
    return Attack(
        auc=auc(inside, outside),
        advantage=advantage(inside, outside),
        tpr_at={float(fpr): tpr_at_fpr(inside, outside, fpr) for fpr in at},
        members=len(inside),
        nonmembers=len(outside),
    )


def auc(members: Any, nonmembers: Any) -> float:
    """The chance that a member scores higher than a non-member; a tie counts one half.

    The Mann-Whitney statistic, exact. Scores [M] and [N]; ValueError when one is empty or NaN.
    """
    inside, outside = _scores(members), _scores(nonmembers).sort().values
    below = torch.searchsorted(outside, inside, right=False)
    upto = torch.searchsorted(outside, inside, right=True)
    return float((below + upto).double().sum() / (2 * len(inside) * len(outside)))


def advantage(members: Any, nonmembers: Any, threshold: float | None = None) -> float:
    """TPR - FPR of "member if score >= threshold".

    threshold: None takes the best one for these very scores. That flatters the attacker: without
    any leak it is about 0.63 sqrt(1 / M + 1 / N) instead of 0. Compare models on the same samples,
    or give a threshold found on other samples. Yeom's is minus the mean loss of training.
    """
    inside, outside = _scores(members), _scores(nonmembers)
    if threshold is not None:
        hit = (inside >= threshold).double().mean() - (outside >= threshold).double().mean()
        return float(hit)
    fpr, tpr = roc(inside, outside)
    return float((tpr - fpr).max())


def tpr_at_fpr(members: Any, nonmembers: Any, fpr: float) -> float:
    """The largest share of members found while at most `fpr` of the non-members are accused.

    With N non-members an FPR below 1 / N means that none may be accused.
    """
    if not 0 <= fpr <= 1:
        raise ValueError(f"an FPR lies in 0..1, not {fpr}")
    false, true = roc(members, nonmembers)
    return float(true[false <= fpr + 1e-12].max())


def roc(members: Any, nonmembers: Any) -> tuple[Tensor, Tensor]:
    """(FPR, TPR), each float64 [T + 1], from (0, 0) to (1, 1), a point for each different score."""
    inside, outside = _scores(members), _scores(nonmembers)
    thresholds = torch.cat([inside, outside]).unique().flip(0)
    rates = []
    for scores in (outside, inside):
        rising = scores.sort().values
        reached = len(rising) - torch.searchsorted(rising, thresholds, right=False)
        rates.append(torch.cat([torch.zeros(1), reached / len(rising)]).double())
    return rates[0], rates[1]


def cross_entropy(logits: Any, y: Any) -> Tensor:
    """The loss of each sample, float64 [N]: -log softmax(logits)_y. logits [N, K], y [N]."""
    logits, y = _logits(logits, y)
    return -logits.log_softmax(dim=1).gather(1, y[:, None])[:, 0]


def scaled_confidence(logits: Any, y: Any) -> Tensor:
    """phi = log(p_y / (1 - p_y)), float64 [N], without the rounding of p near 0 and 1.

    p_y / (1 - p_y) = exp(z_y) / sum of exp(z_k) over k != y. logits [N, K > 1], y [N].
    """
    logits, y = _logits(logits, y)
    own = logits.gather(1, y[:, None])
    others = logits.scatter(1, y[:, None], -torch.inf)
    return own[:, 0] - others.logsumexp(dim=1)


def lira_offline(phi: Any, shadows: Any, *, pooled: bool = True) -> Tensor:
    """Scores [N] of LiRA without shadows that saw the sample: log P(N(mu_out, var_out) < phi).

    phi: the attacked model's scaled confidence [N]. shadows: [S, N], that of S > 1 models, NaN
    where a shadow did see the sample; at least two must not have. pooled: one variance for all.
    ValueError where a sample has fewer.
    """
    phi, shadows = _scores(phi), _shadows(shadows)
    mean, var = _gaussian(shadows, ~shadows.isnan(), pooled, "never saw it")
    return torch.special.log_ndtr((phi - mean) / var.sqrt())


def lira_online(phi: Any, shadows: Any, inside: Any, *, pooled: bool = True) -> Tensor:
    """Scores [N] of LiRA with shadows of both kinds: the log likelihood ratio of two Gaussians.

    phi: [N]. shadows: scaled confidences [S, N]. inside: bool [S, N], whether shadow s saw sample
    i; each sample needs two of either kind. pooled: one variance for each kind. ValueError else.
    """
    phi, shadows = _scores(phi), _shadows(shadows)
    seen = torch.as_tensor(inside).to(torch.bool)
    if seen.shape != shadows.shape:
        raise ValueError(f"`inside` is {list(seen.shape)}, the shadows {list(shadows.shape)}")
    held = _gaussian(shadows, seen, pooled, "saw it")
    without = _gaussian(shadows, ~seen, pooled, "never saw it")
    return _log_density(phi, *held) - _log_density(phi, *without)


def balanced(y_members: Any, y_nonmembers: Any, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Positions of members and of non-members with as many of each class on both sides.

    Without it an attack on the samples of one forgotten class would tell the class and not the
    membership. As many as the rarer side has, drawn by `seed`; a class of one side is left out.
    """
    sides = [torch.as_tensor(y).to("cpu", torch.int64) for y in (y_members, y_nonmembers)]
    kept: tuple[list[Tensor], list[Tensor]] = ([], [])
    g = torch.Generator().manual_seed(seed)
    for label in sorted(set(sides[0].tolist()) & set(sides[1].tolist())):
        places = [(y == label).nonzero().flatten() for y in sides]
        n = min(map(len, places))
        for side, where in zip(kept, places):
            side.append(where[torch.randperm(len(where), generator=g)[:n]])
    empty = torch.empty(0, dtype=torch.int64)
    first, second = (torch.cat(side).sort().values if side else empty for side in kept)
    return first, second


def _gaussian(values: Tensor, kept: Tensor, pooled: bool, what: str) -> tuple[Tensor, Tensor]:
    """Mean and variance [N] over the shadows that are kept; unbiased, floored at 1e-12."""
    n = kept.sum(dim=0)
    if bool((n < 2).any()):
        few = int((n < 2).sum())
        raise ValueError(f"{few} samples have fewer than two shadow models that {what}")
    held = values.where(kept, 0.0)
    mean = held.sum(dim=0) / n
    squares = (values - mean).square().where(kept, 0.0).sum(dim=0)
    var = squares.sum() / (n - 1).sum() if pooled else squares / (n - 1)
    return mean, var.clamp(min=1e-12).expand_as(mean)


def _log_density(x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return -0.5 * ((x - mean).square() / var + var.log() + math.log(2 * math.pi))


def _scores(values: Any) -> Tensor:
    scores = torch.as_tensor(values).detach().to("cpu", torch.float64).flatten()
    if not len(scores):
        raise ValueError("there are no samples to attack")
    if bool(scores.isnan().any()):
        raise ValueError("a score is not a number")
    return scores


def _shadows(values: Any) -> Tensor:
    shadows = torch.as_tensor(values).detach().to("cpu", torch.float64)
    if shadows.ndim != 2:
        raise ValueError(f"shadows are [models, samples], not {list(shadows.shape)}")
    return shadows


def _logits(logits: Any, y: Any) -> tuple[Tensor, Tensor]:
    scores = torch.as_tensor(logits).detach().to("cpu", torch.float64)
    labels = torch.as_tensor(y).to("cpu", torch.int64)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(
            f"logits [N, K] and labels [N], not {list(scores.shape)} and {list(labels.shape)}"
        )
    return scores, labels
