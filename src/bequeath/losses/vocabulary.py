"""Head and loss of a language model in one pass, in chunks of tokens, for large vocabularies.

A batch of 8 texts of 512 tokens and a vocabulary of 128k words is 2 GB of logits in fp32, some
times over: the teacher's, the student's, their softmax, the gradient. `fused` starts from what goes
into the heads (hidden states [N, d]) and goes through the tokens in chunks: logits, loss, gradient
by the hidden states and by the head, then it forgets the logits. No tensor of tokens x vocabulary
is ever there, and no logits are computed twice.

    soft = sum over rows of  w_s T^2 D( softmax(z_T / T), softmax(z_S / T) )
    hard = sum over rows of  w_h CE(z_S, y)

The gradient is made in the forward pass, for the weights that the two sums are said to have in the
loss (`soft`, `hard`). If the backward pass then wants others (one term alone, to see its share), it
goes through the chunks once more; the gradient is right in any case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from bequeath.losses.divergence import Divergence, TopK, compare, softened

NUMBERS = 2**24  # in the logits of one chunk: 64 MB in fp32, four or five times at once
ROWS = 128  # in a chunk at least: of 64 the products took 1.17 of the time, at 256,000 words
SAME = 1e-6  # weights that differ by less are those announced


class Rows(Protocol):
    """What a teacher says: rows[a:b] are logits [b - a, V], or a TopK."""

    def __getitem__(self, rows: Any) -> Tensor | TopK: ...


@dataclass(frozen=True)
class Projected:
    """Logits that are made when they are asked for: hidden [..., d], weight [V, d], bias [V]."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None

    def __getitem__(self, rows: Any) -> Tensor:
        hidden = self.hidden[rows]
        bias = None if self.bias is None else self.bias.to(hidden.dtype)
        return F.linear(hidden, self.weight.to(hidden.dtype), bias)

    def __len__(self) -> int:
        return len(self.hidden)

    def over(self, choose: Callable[[Tensor], Tensor]) -> Projected:
        """The same of other rows: `choose` from hidden to hidden."""
        return Projected(choose(self.hidden), self.weight, self.bias)


@dataclass
class _Plan:
    """All that a pass needs beside hidden states and head."""

    teacher: Rows | None
    measure: Divergence | None
    temperature: float
    y: Tensor | None
    soft: float
    hard: float
    soft_rows: Tensor | None
    hard_rows: Tensor | None
    step: int
    dtype: torch.dtype


def fused(
    student: Projected,
    teacher: Rows | None,
    measure: Divergence | None,
    *,
    temperature: float = 1.0,
    y: Tensor | None = None,
    soft: float = 1.0,
    hard: float = 0.0,
    soft_rows: Tensor | None = None,
    hard_rows: Tensor | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """(soft, hard) as above, 0-d, with gradients to the student's hidden states, weight and bias.

    student: hidden [N, d], floating (under autocast the products are in its type, and everything
    after them is float32; float64 stays). teacher: logits in any form of `Rows`, or none with
    `measure` None. y: int64 [N], needed where `hard` is not 0. soft, hard: the weights of the two
    sums in the loss that will be taken backward; the sums themselves are not multiplied by them.
    soft_rows, hard_rows: [N], w_s and w_h, without gradient; None: 1. A row whose weight is 0 is
    ignored, whatever the models say there. chunk: rows at a time; None: `rows_at_once`.
    ValueError for what does not go together.
    """
    if (teacher is None) != (measure is None) or (measure is None and soft):
        raise ValueError("a divergence needs a teacher, and a weight of it both")
    if hard and y is None:
        raise ValueError("cross-entropy needs the right words")
    hidden, weight, bias = student.hidden, student.weight, student.bias
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    step = chunk or rows_at_once(weight.shape[0])
    plan = _Plan(
        teacher, measure, temperature, y if hard else None, soft, hard, soft_rows, hard_rows,
        step, dtype,
    )  # fmt: skip
    with torch.autocast(kind, enabled=False):
        both: tuple[Tensor, Tensor] = _Fused.apply(hidden, weight, bias, plan)
    return both


def rows_at_once(words: int) -> int:
    """Rows of a chunk: as many as make 2^24 logits, and at least 128."""
    return max(ROWS, NUMBERS // words)


@torch.no_grad()
def log_prob(said: Rows, y: Tensor, temperature: float = 1.0, chunk: int = 128) -> Tensor:
    """log softmax(z / T) of the words y [N], [N], at least in float32, in chunks of rows."""
    parts = []
    for a in range(0, len(y), chunk):
        logits = said[a : a + chunk]
        assert isinstance(logits, Tensor), "of the likeliest words alone no other word is known"
        log_p = (_wide(logits) / temperature).log_softmax(1)
        parts.append(log_p.gather(1, y[a : a + chunk, None])[:, 0])
    return torch.cat(parts) if parts else torch.zeros(0, device=y.device)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, plan: _Plan) -> Any:
        ctx.set_materialize_grads(True)
        ctx.plan = plan
        ctx.save_for_backward(hidden, weight, bias)
        sums, ctx.grads = _go(hidden, weight, bias, plan, ctx.needs_input_grad[:3])
        return sums

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        hidden, weight, bias = ctx.saved_tensors
        plan: _Plan = ctx.plan
        soft, hard = (float(g) for g in upstream)
        factor = _factor((soft, hard), (plan.soft, plan.hard))
        if factor is None:
            plan = _Plan(**{**vars(plan), "soft": soft, "hard": hard if plan.y is not None else 0})
            with torch.autocast(hidden.device.type, enabled=False):
                _, grads = _go(hidden, weight, bias, plan, ctx.needs_input_grad[:3])
            return *grads, None
        if factor == 1:
            return *ctx.grads, None
        return *(None if g is None else g * factor for g in ctx.grads), None


def _factor(wanted: tuple[float, float], made: tuple[float, float]) -> float | None:
    """By what the gradients made must be multiplied; None where no number does it."""
    large = 0 if abs(made[0]) >= abs(made[1]) else 1
    if made[large] == 0:
        return None
    factor = wanted[large] / made[large]
    off = abs(wanted[1 - large] - factor * made[1 - large])
    return factor if off <= SAME * max(abs(w) for w in wanted) else None


def _go(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    plan: _Plan,
    wants: tuple[bool, bool, bool],
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor | None, ...]]:
    """One way through the chunks: the two sums, and the gradients that are wanted."""
    used = weight.to(plan.dtype)
    more = None if bias is None else bias.to(plan.dtype)
    wide = torch.promote_types(plan.dtype, torch.float32)
    zero = torch.zeros((), dtype=wide, device=hidden.device)
    by_hidden = torch.zeros_like(hidden) if wants[0] else None
    by_weight = torch.zeros_like(weight, dtype=wide) if wants[1] else None
    by_bias = torch.zeros_like(bias, dtype=wide) if wants[2] and bias is not None else None
    soft, hard = zero.clone(), zero.clone()
    for a in range(0, len(hidden), plan.step):
        rows = slice(a, a + plan.step)
        h = hidden[rows].to(plan.dtype)
        sums, slope = _chunk(F.linear(h, used, more).to(wide), rows, plan, any(wants))
        soft, hard = soft + sums[0], hard + sums[1]
        if slope is None:
            continue
        if by_bias is not None:
            by_bias += slope.sum(0)
        slope = slope.to(plan.dtype)
        if by_hidden is not None:
            by_hidden[rows] = (slope @ used).to(hidden.dtype)
        if by_weight is not None and plan.dtype == wide:
            by_weight.addmm_(slope.T, h)
        elif by_weight is not None:
            by_weight += slope.T @ h
    grads = (by_hidden, by_weight, by_bias)
    like = (hidden, weight, bias)
    return (soft, hard), tuple(g if g is None else g.to(t.dtype) for g, t in zip(grads, like))  # type: ignore[union-attr]


def _chunk(
    z: Tensor, rows: slice, plan: _Plan, wants: bool
) -> tuple[tuple[Tensor, Tensor], Tensor | None]:
    """The sums of a chunk of logits [n, V], and the gradient by them for the plan's weights."""
    zero = z.new_zeros(())
    soft, hard, slope = zero, zero, None
    T = plan.temperature
    log_1 = z.log_softmax(1) if plan.y is not None or T == 1 else None
    if plan.measure is not None and plan.teacher is not None:
        log_q = log_1 if T == 1 and log_1 is not None else softened(z, T)
        del z  # each of these is as large as all that a chunk may be
        value, slope = compare(plan.measure, log_q, plan.teacher[rows], T)
        del log_q
        soft = _weighed(value, plan.soft_rows, rows).sum() * T**2
        slope = _weighed(slope, plan.soft_rows, rows) if wants else None
        if slope is not None and T * plan.soft != 1:
            slope.mul_(T * plan.soft)
    if plan.y is not None and log_1 is not None:
        y = plan.y[rows]
        hard = _weighed(-log_1.gather(1, y[:, None])[:, 0], plan.hard_rows, rows).sum()
        if wants:
            g = log_1.exp_()
            g[torch.arange(len(y), device=y.device), y] -= 1
            g = _weighed(g, plan.hard_rows, rows).mul_(plan.hard)
            slope = g if slope is None else slope.add_(g)
    return (soft, hard), slope


def _weighed(values: Tensor, weights: Tensor | None, rows: slice) -> Tensor:
    """[n] or [n, V] times the weights of their rows; what weighs nothing is 0, whatever it is."""
    if weights is None:
        return values
    w = weights[rows].to(values.dtype)
    w = w if values.dim() == 1 else w[:, None]
    return torch.where(w != 0, values * w, 0.0)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
