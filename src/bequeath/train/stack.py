"""Several models of one architecture as one: tensors [runs, ...], one step for all of them.

A method's `step` computes on the modules it closed over. Here it is called once, on the modules of
one run, with the tensors of every run in their place (`torch.func.functional_call` under
`torch.vmap`). What the step took from elsewhere, a teacher or class means, is that one run's: who
calls this makes sure that it is the same for all (`bequeath.train.together`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bequeath.train.fit import Container, Step
from bequeath.train.gradient import check
from bequeath.train.terms import Term

_WITHIN: ContextVar[bool] = ContextVar("bequeath_within_a_stacked_step", default=False)


def within() -> bool:
    """Whether a step of several runs is computed now, its tensors batched without showing it."""
    return _WITHIN.get()


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, shared ones by each of their names."""
    params = module.named_parameters(remove_duplicate=False)
    return {**dict(params), **dict(module.named_buffers(remove_duplicate=False))}


def stacked(groups: Sequence[Mapping[str, nn.Module]]) -> dict[str, nn.Module]:
    """The trained parts of each run -> such parts whose tensors are [runs, ...], one run a row.

    The parts given stay as they are. ValueError where they are not of the same shapes.
    """
    every = [Container(parts) for parts in groups]
    if len({_shapes(one) for one in every}) > 1:
        raise ValueError("the models are not of the same shapes")
    both = copy.deepcopy(dict(groups[0]))
    made: dict[int, Tensor] = {}  # a tensor that two modules share stays shared
    for mine, *theirs in zip(Container(both).modules(), *(one.modules() for one in every)):
        for name, tensor in theirs[0].named_parameters(recurse=False, remove_duplicate=False):
            if id(tensor) not in made:
                rows = torch.stack([t.get_parameter(name).detach() for t in theirs])
                made[id(tensor)] = nn.Parameter(rows, requires_grad=tensor.requires_grad)
            setattr(mine, name, made[id(tensor)])
        for name, tensor in theirs[0].named_buffers(recurse=False, remove_duplicate=False):
            if id(tensor) not in made:
                made[id(tensor)] = torch.stack([t.get_buffer(name) for t in theirs])
            setattr(mine, name, made[id(tensor)])
    return both


@torch.no_grad()
def unstack(both: nn.Module, run: int, into: nn.Module) -> None:
    """Copy the tensors of one run into a module of its own."""
    rows = tensors_of(both)
    for name, tensor in tensors_of(into).items():
        tensor.copy_(rows[name][run])


@torch.no_grad()
def restack(both: nn.Module, singles: Sequence[nn.Module]) -> None:
    """Copy the tensors of each run's own module into their rows."""
    rows = tensors_of(both)
    for run, single in enumerate(singles):
        for name, tensor in tensors_of(single).items():
            rows[name][run].copy_(tensor)


def step_of_all(step: Step, alone: Container, both: Container, *, draws: bool = False) -> Step:
    """`step`, which computes on the modules of `alone`, for every run in `both` at once.

    draws: whether it may draw random numbers; each run's are its own then, and not those it would
    draw alone.
    The step returned takes batches [runs, B, ...] and gives terms whose values are [runs]. It
    raises whatever the step does that cannot be batched: random numbers, a decision that depends
    on a value, a batch with other things than tensors.
    """
    chance = "different" if draws else "error"
    rows: dict[str, Tensor] = {}
    told: dict[str, Term] = {}

    # Plain lists of tensors go through vmap: each dict on the way costs it time at each step.
    def one(batch: dict[str, Any], names: list[str], *tensors: Tensor) -> list[Tensor]:
        own = copy.copy(batch)  # of the same class: a sealed batch stays sealed
        own.update(zip(names, tensors))
        mine = dict(zip(rows, tensors[len(names) :]))
        call = (partial(step, own),)
        terms = torch.func.functional_call(alone, mine, call, tie_weights=False)
        told.update(check(terms))
        return [tensor for term in told.values() for tensor in (term.value, *_tensors(term))]

    def compute(batch: dict[str, Any]) -> dict[str, Term]:
        if not rows:  # once the modules lie on the device
            rows.update(tensors_of(both))
            alone.to(next(iter(rows.values())).device).train()
        names = list(batch)
        if not all(isinstance(value, Tensor) for value in batch.values()):
            raise TypeError("a batch holds other things than tensors")
        told.clear()
        token = _WITHIN.set(True)
        try:
            each = torch.vmap(partial(one, batch, names), randomness=chance)
            found = iter(each(*batch.values(), *rows.values()))
        finally:
            _WITHIN.reset(token)
        return {name: _term(term, found) for name, term in told.items()}

    return compute


def _tensors(term: Term) -> list[Tensor]:
    return [x for x in (term.count, term.weight) if isinstance(x, Tensor)]


def _term(one: Term, found: Iterator[Tensor]) -> Term:
    """The term of all runs; found: its value, and what is a tensor of its count and weight."""
    value = next(found)
    count = next(found) if isinstance(one.count, Tensor) else one.count
    weight = next(found) if isinstance(one.weight, Tensor) else one.weight
    return Term(value, count, weight, one.over)


def _shapes(module: nn.Module) -> tuple[Any, ...]:
    found = tensors_of(module).items()
    return tuple((name, t.shape, t.dtype, t.requires_grad) for name, t in found)
