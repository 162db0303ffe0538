"""The sources of a selection: what is there, what of it is revealed, and trials on both."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bequeath.blocks import mixtures
from bequeath.fleet.gates import Opened
from bequeath.given.bound import BoundModel
from bequeath.given.samples import Samples
from bequeath.given.subset import Joined, Rows
from bequeath.kernel.files import canonical, digest
from bequeath.methods.select import Protocol, Question, Skew
from bequeath.train.seeds import derive, generator
from bequeath.train.trials import Trials

MODEL, VALIDATION, TARGET = "model", "validation", "target"


def source_roles(opened: Opened) -> list[str]:
    others = (opened.job.evaluate.data, VALIDATION, TARGET)
    return [role for role in opened.job.data if role not in others]


def settings_of(opened: Opened) -> Protocol:
    return opened.job.protocol or Protocol()  # type: ignore[return-value]


class Sources:
    """The sources of one seed: `full`, `pilots` (what methods see), and trials on either.

    Which samples are revealed, and which are mislabelled by `skew`, goes with the seed.
    """

    def __init__(self, opened: Opened, seed: int):
        self.opened, self.seed = opened, seed
        self.says = settings_of(opened)
        self.names = source_roles(opened)
        self.full: dict[str, Samples] = {}
        self.pilots: dict[str, Samples] = {}
        for role in self.names:
            one = opened.samples[role]
            skew = self.says.skew.get(role)
            self.full[role] = one if skew is None else skewed(one, skew, self._rng("skew", role))
            self.pilots[role] = self._pilot(role)

    @property
    def changed(self) -> bool:
        """Whether methods are given anything else than the job's data."""
        return self.says.pilot is not None or bool(self.says.skew)

    @cached_property
    def size(self) -> int:
        """N: as the job says, else all of the one source, or as many as the smallest has."""
        if self.says.size is not None:
            return self.says.size
        return min(len(one) for one in self.full.values())

    @cached_property
    def limits(self) -> np.ndarray:
        """The largest share of each source in N samples; without a judge nothing is drawn."""
        if not self.opened.job.judged:
            return np.ones(len(self.names))
        there = np.array([len(one) for one in self.full.values()])
        return np.minimum(1.0, there / self.size)

    @cached_property
    def grid(self) -> np.ndarray:
        """Mixtures that the sources last for at N, and the pilots at n1: [G, m]."""
        points = mixtures.simplex_grid(len(self.names), self.says.step)
        there = np.array([len(one) for one in self.pilots.values()])
        counts = np.stack([mixtures.counts(self.says.sizes[1], p) for p in points])
        return points[(counts <= there).all(1) & (points <= self.limits + 1e-9).all(1)]

    @cached_property
    def held(self) -> np.ndarray:
        """Which mixtures of the grid are predicted only, bool [G]."""
        if self.says.held_out is None or len(self.names) < 2:
            return np.zeros(len(self.grid), dtype=bool)
        source = self.says.held_source or self.names[1]
        return self.grid[:, self.names.index(source)] >= self.says.held_out - 1e-9

    def question(self) -> Question:
        """What methods are offered; trials are made when they are asked for."""
        there = self.opened.samples
        able = len(self.names) > 1 and MODEL in self.opened.job.models and VALIDATION in there
        return Question(
            sources=tuple(self.names),
            size=self.size,
            sizes=self.says.sizes,
            limits=self.limits,
            fit=self.grid[~self.held],
            asked=self.grid,
            repeats=self.says.repeats,
            trials=self._trials("pilots", self.pilots, there[VALIDATION]) if able else None,
        )

    def check(self) -> Trials:
        """Trials at full size, on what judges."""
        return self._trials("full", self.full, self.opened.judge)

    def _trials(self, name: str, sources: dict[str, Samples], judge: Samples) -> Trials:
        everything = Joined(list(sources.values()))

        def load(repeat: int) -> BoundModel:
            seed = derive(self.seed, f"start/{name}", repeat)
            return self.opened.load(MODEL, data=everything, seed=seed)

        job = self.opened.job
        what = [*self.opened.identity(MODEL), job.train.identity]
        key = digest(canonical(what), everything.hash, judge.hash, str(self.seed))
        path = Path(job.out) / "work" / f".{name}-{key}.json"
        return Trials(load, sources, judge, self.seed, name, path)

    def _pilot(self, role: str) -> Samples:
        one = self.full[role]
        if self.says.pilot is None or self.says.pilot >= len(one):
            return one
        order = torch.randperm(len(one), generator=self._rng("pilot", role))
        return Rows(one, order[: self.says.pilot].sort().values)

    def _rng(self, name: str, role: str) -> torch.Generator:
        return generator(self.seed, f"{name}/{role}")


def skewed(samples: Samples, skew: Skew, g: torch.Generator) -> Samples:
    """As many samples as can be had with `share` of them in `classes`, some labels random.

    The other classes are thinned at random; where they are too few, the dominant ones are.
    """
    y = samples.y
    assert y is not None, "the gate refuses to skew data without labels"
    y = y.cpu()
    rows = torch.arange(len(y))
    if skew.classes:
        major = torch.isin(y, torch.tensor(skew.classes))
        most, rest = (_shuffled(mask.nonzero()[:, 0], g) for mask in (major, ~major))
        n = min(len(most) / skew.share, len(rest) / max(1 - skew.share, 1e-9))
        parts = most[: round(n * skew.share)], rest[: round(n * (1 - skew.share))]
        rows = torch.cat(parts).sort().values
    labels = y[rows].clone()
    wrong = _shuffled(torch.arange(len(rows)), g)[: round(skew.noise * len(rows))]
    labels[wrong] = torch.randint(len(samples.classes), (len(wrong),), generator=g)
    return Rows(samples, rows, labels)


def _shuffled(rows: Tensor, g: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=g)]
