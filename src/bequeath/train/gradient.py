"""From the terms of micro-batches to the exact gradient of an optimizer step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bequeath.kernel.errors import Problem, RunError
from bequeath.train.terms import Term

if TYPE_CHECKING:
    from bequeath.train.shard import Shards


def normalised(term: Term, count: float | Tensor | None = None) -> Tensor | None:
    """`weight * value / count`, or None where nothing was counted. count: in place of its own."""
    n = term.count if count is None else count
    if isinstance(n, Tensor):
        n = torch.where(n > 0, n, torch.ones_like(n))
    elif n == 0:
        return None
    value = term.value / n
    if isinstance(term.weight, Tensor) or term.weight != 1.0:
        value = value * term.weight
    return value


def check(terms: Any, runs: int | None = None) -> Mapping[str, Term]:
    """What a step returned, if it is what a step returns; RunError T604 otherwise.

    runs: of a step of several runs at once, whose values are [runs].
    """
    shape = () if runs is None else (runs,)
    counts: dict[str, float] = {}
    wrong = "nothing" if not terms else ""
    if not isinstance(terms, Mapping):
        wrong = f"a {type(terms).__name__}"
    for name, term in terms.items() if not wrong else ():
        if not isinstance(term, Term):
            wrong = f"a {type(term).__name__} as `{name}`"
        elif term.value.shape != shape:
            wrong = f"a value of shape {list(term.value.shape)} in term `{name}`"
        elif not isinstance(term.count, Tensor) and counts.setdefault(term.over, term.count) != (
            term.count
        ):
            wrong = f"two different counts over `{term.over}`"
        if wrong:
            break
    if wrong:
        problem = Problem(
            "T604",
            f"the training step returned {wrong}",
            label="a step returns a dict of named `Term(value, count)`, each value a 0-d tensor",
        )
        raise RunError(problem)
    return terms


def norm(tensors: list[Tensor]) -> Tensor:
    """The L2 norm of all of them together, a 0-d tensor."""
    if len({(t.device, t.dtype) for t in tensors}) == 1:
        return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
    return torch.nn.utils.get_total_norm(tensors)


@dataclass(frozen=True)
class Balance:
    """shares: each term's part in the sum of the norms of their gradients, 0 to 1. cosines:
    `a & b` -> the cosine of the angle between the gradients of two terms; below zero a step along
    one undoes part of the other.
    """

    shares: dict[str, float] = field(default_factory=dict)
    cosines: dict[str, float] = field(default_factory=dict)


def norm_of_each(tensors: list[Tensor]) -> Tensor:
    """The L2 norm of all of them together for each run: tensors [runs, ...] -> [runs]."""
    norms = [torch.linalg.vector_norm(t.reshape(len(t), -1), dim=1) for t in tensors]
    return torch.linalg.vector_norm(torch.stack(norms), dim=0)


def clip_each(tensors: list[Tensor], most: float) -> Tensor:
    """`clip_grad_norm_` for each run by itself: gradients [runs, ...]; -> their norms before."""
    norms = norm_of_each(tensors)
    factors = (most / (norms + 1e-6)).clamp(max=1.0)
    for t in tensors:
        t.mul_(factors.view(-1, *[1] * (t.dim() - 1)))
    return norms


class Gradient:
    """Fills `.grad` of `params` for one optimizer step from the terms of its micro-batches.

    A step of one micro-batch is one backward of the plain loss. In a longer one the denominators
    are known only at its end, so the numerators go backward, each `over` into buffers of its own,
    and `finish` divides. With several processes the denominators (and in a longer step the
    gradients) are summed over them.
    """

    def __init__(
        self,
        accelerator: Any,
        model: nn.Module,
        params: Sequence[nn.Parameter],
        size: int,
        world: int = 1,
        runs: int | None = None,
        shards: Shards | None = None,
    ):
        """size: of a micro-batch. runs: of parameters [runs, ...], one run's in each row.

        shards: of `params`, where processes share them out.
        """
        self.runs, self.shards = runs, shards
        self.accelerator, self.model, self.params = accelerator, model, list(params)
        self.world = world
        # Keeps un-normalised sums near their mean (float16 ends at 65504). A power of two: exact.
        self.scale = 2.0 ** -round(math.log2(max(1, size)))
        self.single = True
        self._buffers: dict[str, list[Tensor | None]] = {}
        self._counts: dict[str, float] = {}

    def start(self, micro: int) -> None:
        """Begin a step of `micro` micro-batches; `.grad` must be empty."""
        self.single = micro == 1
        self._buffers, self._counts = {}, {}

    def context(self) -> AbstractContextManager:
        """What the forward and `add` of a micro-batch run under (no exchange until `finish`)."""
        if self.single or self.world == 1 or self.shards is not None:
            return nullcontext()
        return self.accelerator.no_sync(self.model)

    def add(self, terms: Mapping[str, Term]) -> None:
        """Take the terms of one micro-batch backward."""
        if self.single:
            self._backward(self._loss(terms))
            return
        groups: dict[str, Tensor] = {}
        for over, count in _counts(terms).items():
            self._counts[over] = self._counts.get(over, 0.0) + float(count)
            numerators = [t.value * t.weight for t in terms.values() if t.over == over]
            groups[over] = torch.stack(numerators).sum() if len(numerators) > 1 else numerators[0]
        live = [over for over, value in groups.items() if value.requires_grad] or list(groups)
        for over in live:
            self._swap_in(over)
            self._backward(groups[over] * self.scale, over, retain_graph=over != live[-1])
            self._buffers[over] = [p.grad for p in self.params]
        self._swap_in(None)

    def finish(self) -> None:
        """After the last micro-batch: `.grad` becomes the gradient of the step."""
        if self.single:
            return
        counts = self._counts
        if self.world > 1:
            counts = self._exchange()
        for over, buffers in sorted(self._buffers.items()):
            factor = 1.0 / (counts[over] * self.scale) if counts.get(over) else 0.0
            have = [(p, g) for p, g in zip(self.params, buffers) if g is not None]
            if have and factor != 1.0:
                torch._foreach_mul_([g for _, g in have], factor)
            for p, g in have:
                p.grad = g if p.grad is None else p.grad.add_(g)
        self._buffers = {}

    def balances(self, terms: Mapping[str, Term]) -> list[Balance]:
        """How the terms stand to each other, from this micro-batch alone; one for each run.

        Call before `add`: it leaves the graph, the gradients and the random streams untouched.
        """
        grads: dict[str, Sequence[Tensor | None]] = {}
        for name, term in terms.items():
            loss = normalised(term)
            if loss is None or not loss.requires_grad:
                continue
            loss = loss.sum() if loss.dim() else loss
            found = torch.autograd.grad(loss, self.params, retain_graph=True, allow_unused=True)
            if any(g is not None for g in found):
                grads[name] = found
        if self.runs is None:
            return [_balance(list(terms), grads)]
        return [
            _balance(list(terms), {n: [g if g is None else g[k] for g in of] for n, of in rows})
            for rows in [grads.items()]
            for k in range(self.runs)
        ]

    def clip(self, most: float | None, scaled: bool = False) -> Tensor | None:
        """Shorten the gradient to at most `most`, where there is one; its norm before that.

        scaled: it is fp16's, multiplied. Then without a `most` only the loss scaler knows its norm.
        """
        have = [p.grad for p in self.params if p.grad is not None]
        if self.runs is not None:
            return clip_each(have, most) if most else norm_of_each(have)
        if self.shards is not None:
            total, mine = self.shards.norm(self.params)
            if most is not None and mine:
                torch._foreach_mul_(mine, (most / (total + 1e-6)).clamp(max=1.0))
            return total
        if most is not None:
            return self.accelerator.clip_grad_norm_(self.params, most)
        return None if scaled else norm(have)

    def _loss(self, terms: Mapping[str, Term]) -> Tensor:
        totals: dict[str, Tensor] = {}
        if self.world > 1:
            own = _counts(terms)
            device = self.accelerator.device
            # DDP averages gradients over processes where a sum is meant.
            flat = torch.tensor(
                [float(c) for c in own.values()], device=device, dtype=torch.float64
            )
            flat = self.accelerator.reduce(flat, "sum") / self.world
            totals = dict(zip(own, flat))
        loss: Tensor | None = None
        for term in terms.values():
            part = normalised(term, totals.get(term.over))
            if part is not None:
                loss = part if loss is None else loss + part
        if loss is None:
            loss = next(iter(terms.values())).value * 0.0
        return loss

    def _backward(self, loss: Tensor, over: str = "", retain_graph: bool = False) -> None:
        if not loss.requires_grad:
            problem = Problem(
                "T605",
                "the loss does not depend on anything that is trained",
                remedies=("compute the loss from the output of the model that is trained",),
            )
            raise RunError(problem)
        # of several runs: what one has trained no other's loss depends on, so their sum does
        loss = loss.sum() if loss.dim() else loss
        sharing = self.shards.backward(not retain_graph, over) if self.shards else nullcontext()
        with sharing:
            self.accelerator.backward(loss, retain_graph=retain_graph)

    def _swap_in(self, over: str | None) -> None:
        buffers = self._buffers.get(over) if over is not None else None
        for i, p in enumerate(self.params):
            p.grad = buffers[i] if buffers is not None else None

    def _exchange(self) -> dict[str, float]:
        """Sum counts and gradients over the processes."""
        from accelerate.utils import gather_object

        reached = {
            over: [i for i, g in enumerate(buffers) if g is not None]
            for over, buffers in self._buffers.items()
        }
        everyone: list[Any] = gather_object([(self._counts, reached)])
        names = sorted({over for counts, _ in everyone for over in counts})
        totals = {n: sum(counts.get(n, 0.0) for counts, _ in everyone) for n in names}
        if self.shards is not None:  # they hold the mean over processes already
            return {name: total / self.world for name, total in totals.items()}
        for over in names:
            buffers = self._buffers.setdefault(over, [None] * len(self.params))
            # What no process has reached gets no gradient, as in one process.
            some = sorted({i for _, found in everyone for i in found.get(over, ())})
            rows = [(i, self.params[i], buffers[i]) for i in some]
            grads = [torch.zeros_like(p) if g is None else g for _, p, g in rows]
            if not grads:
                continue
            flat = self.accelerator.reduce(torch.cat([g.reshape(-1) for g in grads]), "sum")
            pieces = flat.split([g.numel() for g in grads])
            for i, piece, g in zip(some, pieces, grads):
                buffers[i] = piece.view_as(g)
        return totals


def _balance(names: Sequence[str], grads: Mapping[str, Sequence[Tensor | None]]) -> Balance:
    norms = dict.fromkeys(names, 0.0)
    for name, found in grads.items():
        norms[name] = float(norm([g for g in found if g is not None]))
    total = sum(norms.values())
    if not 0 < total < math.inf:
        return Balance()
    shares = {name: value / total for name, value in norms.items()}
    cosines = {
        f"{a} & {b}": _dot(grads[a], grads[b]) / (norms[a] * norms[b])
        for a, b in itertools.combinations(grads, 2)
        if norms[a] and norms[b]
    }
    return Balance(shares, cosines)


def _dot(a: Sequence[Tensor | None], b: Sequence[Tensor | None]) -> float:
    pairs = [(x, y) for x, y in zip(a, b) if x is not None and y is not None]
    return float(sum(torch.dot(x.flatten().float(), y.flatten().float()) for x, y in pairs))


def _counts(terms: Mapping[str, Term]) -> dict[str, float | Tensor]:
    found: dict[str, float | Tensor] = {}
    for term in terms.values():
        found.setdefault(term.over, term.count)
    return found
