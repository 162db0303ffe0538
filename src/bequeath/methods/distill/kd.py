"""Knowledge distillation: the student learns the teacher's softened class probabilities.

A teacher's probabilities say more than a label: which wrong classes are nearly right. A
temperature T > 1 brings the small ones out.

    L = a CE(z_S, y) + b T^2 KL( softmax(z_T / T) || softmax(z_S / T) )

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531.
The factor T^2 keeps the two terms' gradients in proportion when T changes (section 2 there).
With `ce: 0` no label is used, and the data may be unlabelled. Between language models, which must
share their tokens, both terms are means over all tokens, and y is the next one.

Use it first. It needs only the teacher's logits, so those of a model that is served or stored do.
Expect little where the teacher is hardly better than the student alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context

SOURCE = "mdistiller's CIFAR-100 configuration (the paper fixes no value)"


class Config(MethodConfig):
    temperature: float = Field(
        4.0,
        gt=0,
        le=1000,
        description="T, by which both models' logits are divided",
        json_schema_extra={"source": SOURCE, "search": ["log", 1.0, 16.0]},
    )
    ce: float = Field(
        0.1,
        ge=0,
        description="a, the weight of the labels; 0: unlabelled data do",
        json_schema_extra={"source": SOURCE, "search": ["linear", 0.0, 1.0]},
    )
    kd: float = Field(
        0.9,
        ge=0,
        description="b, the weight of the teacher's probabilities",
        json_schema_extra={"source": SOURCE, "search": ["linear", 0.1, 4.0]},
    )


def needs(cfg: Config) -> Needs:
    labels = Labels.ALL if cfg.ce > 0 else Labels.NONE
    return Needs(
        models={
            "teacher": ModelNeed(Access.LOGITS),
            "student": ModelNeed(Access.WEIGHTS, trains=True),
        },
        data={"train": DataNeed(labels)},
        same_classes=True,
        answers="both",
    )


@method(
    want="distill",
    paper="Hinton, Vinyals, Dean 2015, arXiv 1503.02531",
    needs=needs,
    identity=(
        Identity("without the teacher's term it is `ce`", "ce", config={"ce": 1.0, "kd": 0.0}),
        Identity(
            "a student that starts as its teacher and sees no label stays it, but for the rounding "
            "of probabilities that sum to one only to 1e-7",
            "start",
            config={"ce": 0.0, "kd": 1.0},
            start={"student": "teacher"},
            train={"optimizer": {"name": "sgd", "lr": 0.1, "weight_decay": 0.0}},
            within=1e-5,
        ),
    ),
)
def kd(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """The student imitates the teacher's softened class probabilities."""
    from torch.nn import functional as F

    from bequeath.blocks.targets import targets
    from bequeath.losses.kl import soft_targets
    from bequeath.signals.teacher import teacher
    from bequeath.train.terms import mean_over

    train = given.data("train")
    student = given.model("student").load()
    answers = teacher(ctx, given.model("teacher"), train)

    def step(batch):
        asked = targets(student, batch)
        z_s, z_t = asked.rows(student(batch)), asked.rows(answers(batch).logits)
        terms = {"kd": mean_over(soft_targets(z_s, z_t, cfg.temperature), cfg.kd, asked.over)}
        if cfg.ce > 0:
            loss = F.cross_entropy(z_s, asked.y, reduction="none")
            terms["ce"] = mean_over(loss, cfg.ce, asked.over)
        return terms

    ctx.fit(student, train, step)
    return Outcome(models={"student": student})
