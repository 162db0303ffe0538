"""What a learner reaches on draws from several sources: trained, measured, remembered, counted.

A trial trains a fresh model on D(n, p), n samples of which source i gives n p_i, and measures its
accuracy on the data that judge. Trials of one repeat share their initial weights and the order in
which each source's samples are drawn, so that two mixtures differ by the mixture.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bequeath.blocks import mixtures
from bequeath.given.bound import BoundModel
from bequeath.given.samples import Samples
from bequeath.given.subset import Joined
from bequeath.kernel.files import write_json
from bequeath.train.context import Context
from bequeath.train.many import Small, fit_many
from bequeath.train.seeds import derive, generator

CHUNK = 2048


@dataclass
class Trials:
    """load: repeat -> a fresh model. sources: name -> labelled samples. judge: labelled samples.

    path: where results are kept (None: in memory only), so that runs with the same models, data
    and seed share them; it must be another file for other ones. trained: models trained so far.
    """

    load: Callable[[int], BoundModel]
    sources: Mapping[str, Samples]
    judge: Samples
    seed: int
    name: str = "trials"
    path: Path | None = None
    trained: int = 0
    known: dict[str, float] = field(default_factory=dict)

    def draw(self, n: int, p: np.ndarray, repeat: int) -> list[np.ndarray]:
        """D(n, p) of a repeat: the rows of each source, in the sources' order."""
        return mixtures.draw([self._order(i, repeat) for i in range(len(self.sources))], n, p)

    def accuracy(self, ctx: Context, n: int, points: np.ndarray, repeats: int) -> np.ndarray:
        """Accuracy on the judge for mixtures [G, m], each `repeats` times: [G, repeats].

        Only what is not known yet is trained; with `ctx.train`, within `ctx.budget`.
        """
        self._recall()
        keys = [[self._key(n, p, r) for r in range(repeats)] for p in points]
        wanted = [
            (keys[g][r], p, r)
            for g, p in enumerate(points)
            for r in range(repeats)
            if keys[g][r] not in self.known
        ]
        if wanted:
            self._train(ctx, n, wanted)
        return np.array([[self.known[key] for key in row] for row in keys])

    def _train(self, ctx: Context, n: int, wanted: list[tuple[str, np.ndarray, int]]) -> None:
        everything = Joined(list(self.sources.values()))
        starts = [self.load(r) for r in range(max(r for _, _, r in wanted) + 1)]
        todo = [Small(r, self._rows(everything, n, p, r)) for _, p, r in wanted]
        own = Context(
            seed=derive(self.seed, self.name) % 2**31,
            train=ctx.train,
            store=ctx.store / self.name / f"{n}",
            device=ctx.device,
            budget=ctx.budget,
            memory=ctx.memory,
            show=False,
            processes=ctx.processes,
        )
        judged = _Judge(self.judge, ctx.device)
        for k, model in fit_many(own, starts, everything, todo, name=self.name):
            self.known[wanted[k][0]] = judged.accuracy(model)
            self.trained += 1
        if (
            self.path is not None and not ctx.budget.over()
        ):  # what a deadline cut short is no result
            write_json(self.path, self.known)

    def _rows(self, everything: Joined, n: int, p: np.ndarray, repeat: int) -> Tensor:
        parts = [torch.from_numpy(rows) for rows in self.draw(n, p, repeat)]
        return torch.cat([rows + start for rows, start in zip(parts, everything.starts)])

    def _order(self, i: int, repeat: int) -> np.ndarray:
        g = generator(self.seed, f"{self.name}/order", i, repeat)
        return torch.randperm(len(list(self.sources.values())[i]), generator=g).numpy()

    def _key(self, n: int, p: np.ndarray, repeat: int) -> str:
        return f"{n}/{','.join(str(k) for k in mixtures.counts(n, p))}/{repeat}"

    def _recall(self) -> None:
        if not self.known and self.path is not None and self.path.is_file():
            self.known.update(json.loads(self.path.read_text(encoding="utf-8")))


class _Judge:
    """Accuracy on one data set, its inputs preprocessed once where they are held in memory."""

    def __init__(self, samples: Samples, device: torch.device):
        self.samples, self.device = samples, device
        self.ready: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def accuracy(self, model: BoundModel) -> float:
        right = 0
        if self.samples.lazy or self.samples.kind == "text":
            for idx in torch.arange(len(self.samples)).split(CHUNK):
                batch = self.samples.fetch(idx)
                right += int((model(batch).argmax(1).cpu() == batch["y"].cpu()).sum())
            return right / len(self.samples)
        if not self.ready:
            for idx in torch.arange(len(self.samples)).split(CHUNK):
                batch = self.samples.fetch(idx)
                x = model.preprocess(batch, self.device)
                self.ready.append((x, batch["y"].to(self.device)))  # type: ignore[arg-type]
        for x, y in self.ready:
            right += int((model.module(x).argmax(1) == y).sum())
        return right / len(self.samples)
