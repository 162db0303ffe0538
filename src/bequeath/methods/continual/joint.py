"""Joint training: all tasks at once, as if there were no stream.

    theta = argmin sum_t L_t(theta)

The upper anchor of every comparison. It takes as many steps as the others take over all tasks
together. Only its last row of the accuracy matrix exists, so it has an ACC and nothing else.

Use it when all data can be kept: then there is nothing continual about the problem.
See De Lange et al., "A continual learning survey", TPAMI 2021, arXiv 1909.08383.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.methods.continual._stream import Stream
    from bequeath.train.context import Context


class Config(MethodConfig):
    at_once: ClassVar[bool] = True  # the protocol gives it the data of all tasks together


@method(
    want="continual",
    paper="De Lange et al. 2021, arXiv 1909.08383 (survey)",
    needs=Needs(
        models={"model": ModelNeed(Access.WEIGHTS, trains=True)},
        data={"train": DataNeed(Labels.ALL)},
        same_classes=True,
    ),
    identity=(Identity("no training leaves the model as it was", "start", train={"epochs": 0}),),
)
def joint(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Learns all tasks at once: what could be reached if nothing had to be remembered."""
    from bequeath.blocks.task_stream import Scope
    from bequeath.train.terms import mean_over

    stream: Stream = given.protocol
    scope, model = Scope(stream), given.model("model").load()
    last = stream.tasks[-1]

    def step(batch):
        return {"ce": mean_over(scope.cross_entropy(model(batch), batch["y"], last.index))}

    ctx.stage("start", model=model)
    ctx.fit(model, stream.together(), step)
    ctx.stage(last.name, model=model)
    return Outcome(models={"model": model})
