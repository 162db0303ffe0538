"""Divergences between what a teacher and a student say of the next word, with their gradients.

p is the teacher's distribution over V words, q the student's, x = log p - log q:

    forward KL          sum p log(p / q)                     Hinton et al. 2015, arXiv 1503.02531
    reverse KL          sum q log(q / p)                     Gu et al. 2023, arXiv 2306.08543
    JSD(b)              b KL(p || M) + (1 - b) KL(q || M),   M = b p + (1 - b) q
                                                             Agarwal et al. 2023, arXiv 2306.13649
    skew KL(a)          KL(p || a p + (1 - a) q)             Ko et al. 2024, arXiv 2402.03898
    skew reverse KL(a)  KL(q || (1 - a) p + a q)             the same
    ULD                 sum over i of |p_(i) - q_(i)|, both sorted, the shorter padded with zeros
                                                             Boizard et al. 2024, arXiv 2402.12030

Some papers swap the names of the two KL; the formulas hold here. JSD(b) / b tends to the forward
KL as b goes to 0, JSD(b) / (1 - b) to the reverse KL as b goes to 1; the formula is not divided, so
b scales it.

A divergence is a function (log q [N, V], log p) -> (value [N], slope [N, V]), slope being the
gradient by the student's logits. It is written down rather than left to autograd, because it is
then exactly zero where both say the same (to the last bit: autograd leaves the rounding of
probabilities that do not sum to one), and because nothing has to be kept for a backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Kind = Literal["forward", "reverse", "jsd", "skew", "skew_reverse", "uld"]

LEAST = -80.0  # log of a probability below which a bin counts as this: float32 ends at -87
NEVER = -1e4  # that of a word a teacher rules out, -inf


@dataclass(frozen=True)
class TopK:
    """The k likeliest words of each row and what all others have together.

    log_p: [..., k], index: int64 [..., k], log_rest: [...], the log of the others' mass.
    """

    log_p: Tensor
    index: Tensor
    log_rest: Tensor

    def __getitem__(self, rows: Any) -> TopK:
        return TopK(self.log_p[rows], self.index[rows], self.log_rest[rows])


def top_k(logits: Tensor, k: int) -> TopK:
    """Of logits [..., V], k < V. The rest's mass is summed over the others, not told from 1."""
    log_p = logits.log_softmax(-1)
    best = log_p.topk(k, dim=-1)
    return TopK(best.values, best.indices, _rest(log_p, best.indices))


def rest_of(log_p: Tensor) -> Tensor:
    """The log of what is left beside [..., k] log-probabilities, where nothing more is known.

    Told from 1 in float64; a rest that rounding has eaten is e^-80.
    """
    left = -torch.expm1(log_p.double().logsumexp(-1))
    return left.clamp_min(0).log().clamp_min(LEAST).to(log_p.dtype)


@dataclass(frozen=True)
class Divergence:
    """The divergence by its name: called with log q [N, V] and log p, -> value [N], slope [N, V].

    amount: a of the skew ones in [0, 1), b of `jsd` in (0, 1); ValueError out of these bounds.
    """

    kind: Kind
    amount: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.amount < 1 if self.kind == "jsd" else 0 <= self.amount < 1):
            message = "the skew is in [0, 1), the share of jsd in (0, 1)"
            raise ValueError(f"`{self.kind}` with {self.amount}: {message}")

    def __call__(self, log_q: Tensor, log_p: Tensor) -> tuple[Tensor, Tensor]:
        if self.kind == "uld":
            return _sorted_distance(log_q, log_p)
        if self.kind == "jsd":
            return _jsd(log_q, log_p, self.amount)
        skew = self.amount if self.kind.startswith("skew") else 0.0
        return (_skew if self.kind in ("forward", "skew") else _skew_reverse)(log_q, log_p, skew)


def compare(measure: Divergence, log_q: Tensor, teacher: Tensor | TopK, temperature: float) -> Any:
    """(value [N], slope [N, V]) of a chunk; teacher: logits [N, V'], or a TopK at temperature 1.

    Of a TopK its k words and the rest are k + 1 bins, and the divergence is that between the bins;
    the sorted distance knows no words, and takes none.
    """
    if isinstance(teacher, TopK):
        if temperature != 1 or measure.kind == "uld":
            raise ValueError("the rest beside the likeliest words cannot be softened or sorted")
        return _binned(measure, log_q, teacher)
    log_p = softened(teacher.to(log_q.dtype), temperature)
    del teacher  # as large as all that a chunk may be
    return measure(log_q, log_p.clamp_min_(NEVER))  # 0 log 0 is 0


def softened(logits: Tensor, temperature: float) -> Tensor:
    """log softmax(z / T) of [N, V], in memory of its own."""
    return (logits if temperature == 1 else logits / temperature).log_softmax(1)


class _Dense(torch.autograd.Function):
    """T^2 times the divergence of logits, one a row; keeps its slope for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Any, measure: Divergence, temperature: float
    ) -> Tensor:
        log_q = softened(student, temperature)
        value, slope = compare(measure, log_q, teacher, temperature)
        ctx.save_for_backward(slope.mul_(temperature))
        return value * temperature**2

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        (slope,) = ctx.saved_tensors
        return slope * upstream[0][:, None], None, None, None


def dense(
    student: Tensor, teacher: Tensor | TopK, measure: Divergence, temperature: float = 1.0
) -> Tensor:
    """T^2 times the divergence of softened logits: student [N, V] with gradient, teacher as above.

    -> [N]. For vocabularies that fit; `vocabulary.fused` gives the same where they do not.
    """
    found: Tensor = _Dense.apply(student, teacher, measure, temperature)
    return found


def _mixed(x: Tensor, b: float) -> Tensor:
    """log(b e^x + 1 - b): exactly 0 at x = 0, without overflow anywhere; 0 < b < 1."""
    share = torch.where(x > 0, x.new_tensor(1 - b), x.new_tensor(b))
    return x.abs().neg_().expm1_().mul_(share).log1p_().add_(x.clamp_min(0))


def _skew(log_q: Tensor, log_p: Tensor, a: float) -> tuple[Tensor, Tensor]:
    """M / q = e^m. value: sum p (x - m). slope: (1 - a) (q sum w - w), w = p q / M - q.

    The sum of w is 0 where a is.
    """
    p, q, x = log_p.exp(), log_q.exp(), log_p - log_q
    if not a:
        return x.mul_(p).sum(1), q.sub_(p)
    m = _mixed(x, a)
    value = x.sub_(m).mul_(p).sum(1)
    w = m.neg_().add_(log_p).exp_().sub_(q)
    return value, q.mul_(w.sum(1, keepdim=True)).sub_(w).mul_(1 - a)


def _skew_reverse(log_q: Tensor, log_p: Tensor, a: float) -> tuple[Tensor, Tensor]:
    """M / q = e^m. value: - sum q m. slope: c - q sum c, c = - q m - a q (q / M - 1)."""
    q, x = log_q.exp(), log_p - log_q
    m = _mixed(x, 1 - a) if a else x
    c = (q * m).neg_()
    value = c.sum(1)
    if a:
        c.sub_(m.neg_().expm1_().mul_(q).mul_(a))
    return value, c.sub_(q.mul_(c.sum(1, keepdim=True)))


def _jsd(log_q: Tensor, log_p: Tensor, b: float) -> tuple[Tensor, Tensor]:
    """M / q = e^m. value: b sum p (x - m) + sum c, c = - (1 - b) q m. slope: c - q sum c."""
    q, x = log_q.exp(), log_p - log_q
    m = _mixed(x, b)
    c = (q * m).mul_(b - 1)
    value = x.sub_(m).mul_(log_p.exp()).sum(1).mul_(b) + c.sum(1)
    return value, c.sub_(q.mul_(c.sum(1, keepdim=True)))


def _sorted_distance(log_q: Tensor, log_p: Tensor) -> tuple[Tensor, Tensor]:
    """ULD; the vocabularies may differ in size. The slope of |.| at 0 is taken as 0."""
    q, order = log_q.exp().sort(1, descending=True)
    p = log_p.exp().sort(1, descending=True).values
    most = max(q.shape[1], p.shape[1])
    apart = F.pad(q, (0, most - q.shape[1])) - F.pad(p, (0, most - p.shape[1]))
    c = torch.zeros_like(q).scatter_(1, order, q * apart[:, : q.shape[1]].sign())
    return apart.abs().sum(1), c - log_q.exp() * c.sum(1, keepdim=True)


def _binned(measure: Divergence, log_q: Tensor, teacher: TopK) -> tuple[Tensor, Tensor]:
    """Between the k words and the rest. A word of the rest moves the rest's bin by its share."""
    rest = _rest(log_q, teacher.index)
    bins_q = torch.cat([log_q.gather(1, teacher.index), rest[:, None]], 1)
    bins_p = torch.cat([teacher.log_p, teacher.log_rest[:, None]], 1).to(bins_q.dtype)
    value, slope = measure(bins_q, bins_p)
    whole = (log_q - rest[:, None]).exp_().mul_(slope[:, -1:])
    return value, whole.scatter_(1, teacher.index, slope[:, :-1])


def _rest(log_p: Tensor, index: Tensor) -> Tensor:
    """The log of the mass of all words but those of `index`, not below LEAST."""
    others = log_p.scatter(-1, index, -torch.inf)
    return others.logsumexp(-1).clamp_min(LEAST)
