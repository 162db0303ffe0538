"""Choose nothing: every source gives the same share; one source is used whole.

    p_i = 1 / m, as far as the sources last

The baseline of every selection. With one source (data `source`) it is that source unpruned.

Use it to see what a choice is worth. It looks at no sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method
from bequeath.methods.select import Selection

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MethodConfig):
    pass


@method(
    want="select",
    paper="none: equal shares",
    needs=Needs(
        models={"model": ModelNeed(Access.WEIGHTS, optional=True)},
        data={
            "validation": DataNeed(Labels.NONE, optional=True),
            "target": DataNeed(Labels.NONE, optional=True),
            "*": DataNeed(Labels.NONE),
        },
    ),
    identity=(Identity("equal shares whatever the data", "start"),),
)
def uniform(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """All sources alike, or the one there is whole: nothing is chosen."""
    import numpy as np

    from bequeath.blocks.mixtures import project_simplex

    ask = given.protocol
    m = len(ask.sources)
    p = project_simplex(np.full(m, 1.0 / m), ask.limits)
    return Outcome(answer=Selection(dict(zip(ask.sources, p.tolist()))))
