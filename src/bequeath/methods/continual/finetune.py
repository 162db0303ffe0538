"""Fine-tuning: learn on, task after task, and take no precaution.

    theta <- argmin L_t(theta), from where task t - 1 left it

The lower anchor of every comparison: what it loses on old tasks is what there is to keep. It is
also the best there is at the newest task, in most cases, since nothing holds it back.

Use it to know how much is forgotten. A stream whose tasks are much alike may need nothing else.
See De Lange et al., "A continual learning survey", TPAMI 2021, arXiv 1909.08383.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.methods.continual._stream import Stream
    from bequeath.train.context import Context


class Config(MethodConfig):
    pass


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
def finetune(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Learns each task in turn and keeps nothing of the old ones."""
    from bequeath.blocks.task_stream import Scope
    from bequeath.train.terms import mean_over

    stream: Stream = given.protocol
    scope, model = Scope(stream), given.model("model").load()
    ctx.stage("start", model=model)
    for task in stream:

        def step(batch, now=task.index):
            return {"ce": mean_over(scope.cross_entropy(model(batch), batch["y"], now))}

        ctx.fit(model, task.train, step, name=task.name)
        ctx.stage(task.name, model=model)
    return Outcome(models={"model": model})
