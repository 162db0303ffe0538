"""The student alone: cross-entropy on the labels, no teacher.

The baseline of every distillation. It trains the same student on the same data with the same
schedule, so that what another method adds can be seen.

    L = -log softmax(z_S)_y

For a language model y is the next token, and the loss the mean over all tokens.

Use it to see what the student reaches by itself, or to train a teacher. Nothing is transferred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MethodConfig):
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the target spread evenly over all classes",
        json_schema_extra={"source": "off: the plain baseline", "search": ["linear", 0.0, 0.2]},
    )


@method(
    want="distill",
    paper="none: maximum likelihood",
    needs=Needs(
        models={"student": ModelNeed(Access.WEIGHTS, trains=True)},
        data={"train": DataNeed(Labels.ALL)},
        same_classes=True,
        answers="both",
    ),
    identity=(Identity("no training leaves the student as it was", "start", train={"epochs": 0}),),
)
def ce(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """The student alone, on the labels: the baseline of every distillation."""
    from torch.nn import functional as F

    from bequeath.blocks.targets import targets
    from bequeath.train.terms import mean_over

    student = given.model("student").load()

    def step(batch):
        asked = targets(student, batch)
        loss = F.cross_entropy(
            asked.rows(student(batch)),
            asked.y,
            reduction="none",
            label_smoothing=cfg.label_smoothing,
        )
        return {"ce": mean_over(loss, over=asked.over)}

    ctx.fit(student, given.data("train"), step)
    return Outcome(models={"student": student})
