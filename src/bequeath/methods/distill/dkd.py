"""Decoupled distillation: the target class and the others, each with a weight of its own.

The classic term couples two things: how sure the teacher is of the target (TCKD), and how it
spreads the rest over the other classes (NCKD). The second carries most of the knowledge, yet is
weighted by 1 - p_T,y, which is small where the teacher is sure.

    T^2 KL(p_T || p_S) = TCKD + (1 - p_T,y) NCKD
    L = a CE(z_S, y) + min(1, progress / W) (alpha TCKD + beta NCKD)

Zhao, Cui, Song, Qiu, Liang, "Decoupled Knowledge Distillation", CVPR 2022, arXiv 2203.08679.
beta is the setting that matters: it grows with the teacher's confidence (the authors use 2 for
ResNet-56 to ResNet-20 and 8 for most other pairs).

Use it where `kd` helps and the teacher is very sure of itself. It needs labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context

SOURCE = "the authors' configuration for CIFAR-100 (mdistiller)"


class Config(MethodConfig):
    temperature: float = Field(
        4.0,
        gt=0,
        le=1000,
        description="T, by which both models' logits are divided",
        json_schema_extra={"source": SOURCE, "search": ["log", 1.0, 16.0]},
    )
    ce: float = Field(
        1.0,
        ge=0,
        description="a, the weight of the labels",
        json_schema_extra={"source": SOURCE, "search": ["linear", 0.0, 1.0]},
    )
    alpha: float = Field(
        1.0,
        ge=0,
        description="the weight of the target part (TCKD)",
        json_schema_extra={"source": SOURCE, "search": ["log", 0.2, 4.0]},
    )
    beta: float = Field(
        8.0,
        ge=0,
        description="the weight of the part between the other classes (NCKD)",
        json_schema_extra={"source": SOURCE, "search": ["log", 0.5, 12.0]},
    )
    warmup: float = Field(
        20 / 240,
        ge=0,
        le=1,
        description="W, the share of the run over which the teacher's terms rise to their weight",
        json_schema_extra={"source": f"{SOURCE}: 20 of 240 epochs"},
    )


@method(
    want="distill",
    paper="Zhao, Cui, Song, Qiu, Liang 2022, arXiv 2203.08679",
    needs=Needs(
        models={
            "teacher": ModelNeed(Access.LOGITS),
            "student": ModelNeed(Access.WEIGHTS, trains=True),
        },
        data={"train": DataNeed(Labels.ALL)},
        same_classes=True,
    ),
    identity=(
        Identity("without the teacher's terms it is `ce`", "ce", config={"alpha": 0, "beta": 0}),
        Identity(
            "a student that starts as its teacher and sees no label stays it, but for the rounding "
            "of probabilities that sum to one only to 1e-7",
            "start",
            config={"ce": 0.0},
            start={"student": "teacher"},
            train={"optimizer": {"name": "sgd", "lr": 0.1, "weight_decay": 0.0}},
            within=1e-5,
        ),
    ),
)
def dkd(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """The teacher's say on the target class and on the others, decoupled."""
    from torch.nn import functional as F

    from bequeath.losses.kl import decoupled
    from bequeath.signals.teacher import teacher
    from bequeath.train.terms import mean_over, ramp

    train = given.data("train")
    student = given.model("student").load()
    answers = teacher(ctx, given.model("teacher"), train)

    def step(batch):
        z_s, z_t, y = student(batch), answers(batch).logits, batch["y"]
        tckd, nckd = decoupled(z_s, z_t, y, cfg.temperature)
        rise = ramp(ctx.now.share, cfg.warmup)
        return {
            "ce": mean_over(F.cross_entropy(z_s, y, reduction="none"), cfg.ce),
            "tckd": mean_over(tckd, rise * cfg.alpha),
            "nckd": mean_over(nckd, rise * cfg.beta),
        }

    ctx.fit(student, train, step)
    return Outcome(models={"student": student})
