"""What methods of source-free adaptation begin with: a source whose classifier stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.kernel.errors import Problem, RunError

if TYPE_CHECKING:
    from bequeath.blocks.bank import Bank
    from bequeath.blocks.taps import Taps
    from bequeath.given.bound import BoundModel
    from bequeath.given.given import DataView, Given
    from bequeath.train.config import Train
    from bequeath.train.context import Context

NEEDS = Needs(
    models={"source": ModelNeed(Access.WEIGHTS, trains=True, embedding=True, own_classes=True)},
    data={"target": DataNeed(Labels.NONE)},
)


@dataclass(frozen=True)
class SourceFree:
    """model: the source, its classifier frozen. tap: `embedding`, what goes into the classifier.
    bank: what it says of each target sample. train: the job's, with the backbone's slower rate."""

    model: BoundModel
    tap: Taps
    bank: Bank
    target: DataView
    train: Train

    def fit(self, ctx: Context, step: Any) -> None:
        """Train the model with `step`; the bank is part of the checkpoint."""
        parts = {"model": self.model, "bank": self.bank}
        ctx.fit(parts, self.target, step, train=self.train)


@contextmanager
def source_free(
    ctx: Context, given: Given, *, backbone: float, least: int = 2
) -> Iterator[SourceFree]:
    """backbone: factor of the learning rate before a bottleneck, unless the job says `rates`.

    RunError T642 where there are fewer than `least` target samples.
    """
    import torch

    from bequeath.blocks.bank import Bank, vectors
    from bequeath.blocks.bottleneck import backbone_rates
    from bequeath.blocks.taps import Tap, Taps

    target = given.data("target")
    if problem := too_few(len(target), least):
        raise RunError(problem)
    model = given.model("source").load()
    head = str(model.facts.head)
    model.module.get_submodule(head).requires_grad_(False)
    train = ctx.train
    if not train.optimizer.rates:
        optimizer = train.optimizer.model_copy(update={"rates": backbone_rates(model, backbone)})
        train = train.model_copy(update={"optimizer": optimizer})
    with Taps(model.module, {"embedding": Tap(head, "input")}) as tap:
        with torch.no_grad():
            classes = model(target.fetch(torch.arange(1))).shape[1]
        width = vectors(tap["embedding"]).shape[1]
        bank = Bank(len(target), width, classes, ctx.device)
        yield SourceFree(model, tap, bank, target, train)


def too_few(n: int, least: int) -> Problem | None:
    """T642 for a target set that is smaller than a method can work with."""
    if n >= least:
        return None
    return Problem(
        "T642",
        f"`data.target` has {n} sample{'' if n == 1 else 's'}, and {least} are the least",
        at=("data", "target"),
        label="neighbours and clusters need more",
        remedies=("give more target samples; they need no labels",),
    )
