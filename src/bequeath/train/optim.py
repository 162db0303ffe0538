"""Optimizer, learning rate and weight average, from what the job says under `train:`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from bequeath.kernel.errors import Problem, RunError
from bequeath.train.config import Optimizer, Schedule
from bequeath.train.spread import is_shared


def build(
    params: Sequence[nn.Parameter], cfg: Optimizer, names: Sequence[str] = ()
) -> torch.optim.Optimizer:
    """torch's optimizer; its fused form where there is one, since it is the same rule faster.

    names: of the parameters, in the same order, for `cfg.rates`.
    """
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in params)
    asked: Any = _groups(params, cfg, names) if cfg.rates else params
    if cfg.name == "sgd":
        return torch.optim.SGD(
            asked,
            lr=cfg.lr,
            momentum=cfg.momentum,
            nesterov=cfg.nesterov and cfg.momentum > 0,
            weight_decay=cfg.weight_decay,
            fused=fused and not any(map(is_shared, params)),  # torch has none of shards
        )
    make = torch.optim.Adam if cfg.name == "adam" else torch.optim.AdamW
    return make(asked, lr=cfg.lr, betas=cfg.betas, weight_decay=cfg.weight_decay, fused=fused)


def own_names(names: Iterable[str]) -> list[str]:
    """Names as a model itself has them, without the part of the fit and the shells around it."""
    return [".".join(w for w in name.split(".")[2:] if w != "module") for name in names]


def rate_of(name: str, rates: dict[str, float]) -> str | None:
    """The first pattern that fits a parameter, by its own name or that of a module above it."""
    fitting = (p for p in rates if fnmatchcase(name, p) or fnmatchcase(name, f"{p}.*"))
    return next(fitting, None)


def _groups(
    params: Sequence[nn.Parameter], cfg: Optimizer, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Parameters by their factor, the highest first: that one's rate is what the log shows.

    RunError T641 for a pattern that fits no parameter.
    """
    meant = [rate_of(name, cfg.rates) for name in names]
    if unmet := [pattern for pattern in cfg.rates if pattern not in meant]:
        problem = Problem(
            "T641",
            f"`{unmet[0]}` fits no parameter that is trained",
            at=("train", "optimizer", "rates"),
            notes=(f"they are called {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}",),
            remedies=("name a module or parameter, or use `*`; the first that fits counts",),
        )
        raise RunError(problem)
    factors = [1.0 if pattern is None else cfg.rates[pattern] for pattern in meant]
    return [
        {"params": [p for p, f in zip(params, factors) if f == factor], "lr": cfg.lr * factor}
        for factor in sorted(set(factors), reverse=True)
    ]


def factor(cfg: Schedule, step: int, total: int) -> float:
    """What the highest learning rate is multiplied by at optimizer step `step` of `total` (from 0).

    The first `warmup` share of the steps climbs in equal stairs to 1, the rest falls from 1 as
    `name` says. Milestones are shares of the whole run.
    """
    warm = round(cfg.warmup * total)
    if step < warm:
        return (step + 1) / (warm + 1)
    gone = min(1.0, (step - warm) / max(1, total - warm))
    if cfg.name == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * gone))
    if cfg.name == "linear":
        return 1.0 - gone
    if cfg.name == "inverse":
        return (1.0 + cfg.slope * gone) ** -cfg.power
    if cfg.name == "multistep":
        return cfg.gamma ** sum(step >= share * total for share in cfg.milestones)
    return 1.0


def schedule(optimizer: torch.optim.Optimizer, cfg: Schedule, total: int) -> LambdaLR:
    """The learning rate over `total` optimizer steps; call `.step()` after each of them."""
    return LambdaLR(optimizer, lambda step: factor(cfg, step, total))


class Ema:
    """An exponential moving average of parameters.

    After update t (from 1) the decay is `min(decay, t / (t + 9))`, so that a short run does not
    end with the average of its beginnings. Buffers are not averaged: they stay the model's own.
    """

    def __init__(self, params: Sequence[nn.Parameter], decay: float):
        self.params = list(params)
        self.decay = decay
        self.updates = 0
        self.average = [p.detach().clone() for p in self.params]

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 9))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.params], 1.0 - decay)

    @torch.no_grad()
    def apply(self) -> None:
        """Put the average into the parameters."""
        for p, average in zip(self.params, self.average):  # shards know no copy of many at once
            p.detach().copy_(average)

    def state(self) -> dict[str, list[Tensor] | int]:
        return {"updates": self.updates, "average": self.average}

    @torch.no_grad()
    def load(self, state: dict) -> None:
        self.updates = state["updates"]
        for average, found in zip(self.average, state["average"]):
            average.copy_(found)
