"""The source model as it is, on the target: what every adaptation is held against.

    f_target = f_source

Nothing is trained and no target sample is looked at. It is what a user has today. Judged with the
same threshold as the others, it shows what a method adds by itself, and whether adaptation does
harm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MethodConfig):
    """There is nothing to set."""


@method(
    want="adapt",
    paper="none: the source model as it is",
    needs=Needs(
        models={"source": ModelNeed(Access.WEIGHTS, own_classes=True)},
        data={"target": DataNeed(Labels.NONE, optional=True)},
    ),
    identity=(Identity("nothing is changed", "start"),),
)
def source_only(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """The source model as it is: the baseline of every adaptation."""
    return Outcome(models={"model": given.model("source").load()})
