"""Experience replay: a small memory of old samples, learnt again beside the new ones.

    L = mean over B_new and B_old of CE,    B_old drawn from a reservoir of M samples

Each step joins the batch of the task with as many samples from the memory, and takes one mean over
both. After a task its samples are offered to the reservoir once, so that every sample of the
stream so far lies in it with equal probability. From the second task on a step costs twice.

Chaudhry et al., "On tiny episodic memories in continual learning", 2019, arXiv 1902.10486. They
learn each task in one epoch and fill the memory on the way; with several epochs that would offer
every sample several times, so here it is filled once, when the task is over.

Use it where a few old samples may be kept: it is hard to beat. Where none may, see `exssnet`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.methods.continual._stream import Stream
    from bequeath.train.context import Context


class Config(MethodConfig):
    memory: int = Field(
        500,
        ge=0,
        le=10_000_000,
        description="M, samples kept of all old tasks together",
        json_schema_extra={
            "source": "a common size for MNIST and CIFAR streams; the paper has 1 to 15 a class",
            "search": ["log", 50, 5000],
        },
    )


@method(
    want="continual",
    paper="Chaudhry et al. 2019, arXiv 1902.10486",
    needs=Needs(
        models={"model": ModelNeed(Access.WEIGHTS, trains=True)},
        data={"train": DataNeed(Labels.ALL)},
        same_classes=True,
    ),
    identity=(Identity("without a memory it is `finetune`", "finetune", config={"memory": 0}),),
)
def er(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Learns each task together with samples of the old ones from a small memory."""
    import torch

    from bequeath.blocks.replay import Reservoir, join
    from bequeath.blocks.task_stream import Scope
    from bequeath.train.terms import mean_over

    stream: Stream = given.protocol
    scope, model = Scope(stream), given.model("model").load()
    memory = Reservoir(cfg.memory)
    ctx.stage("start", model=model)
    for task in stream:

        def step(batch, now=task.index):
            if len(memory):
                # The first sample too, so that the micro-batches of one step draw differently.
                g = ctx.rng("replay", now, ctx.now.step, int(batch["idx"][0]))
                batch = join(batch, memory.draw(len(batch["idx"]), g))
            return {"ce": mean_over(scope.cross_entropy(model(batch), batch["y"], now))}

        ctx.fit(model, task.train, step, name=task.name)
        if cfg.memory and task.index + 1 < len(stream):
            g = ctx.rng("reservoir", task.index)
            for idx in torch.randperm(len(task.train), generator=g).split(1024):
                memory.add(task.train.fetch(idx), g)
        ctx.stage(task.name, model=model)
    return Outcome(models={"model": model}, notes={"memory_samples": len(memory)})
