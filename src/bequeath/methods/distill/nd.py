"""ND loss: student features as long as the teacher's, and pointing where its classes lie.

An extra term on the input of the classifier, added to `kd` (KD++) or `dkd` (DKD++). With c_k the
mean of the teacher's features of class k over the training set and e_k = c_k / |c_k|,

    L_ND = 1 - <f_S, e_y> / max(|f_S|, |f_T|)          per sample
    L    = a CE + min(1, progress / W) b L_KD + g L_ND

A student shorter than the teacher is pulled to grow along e_y; a longer one is only turned.
The class means are taken once, without augmentation, and normalised after averaging. Where the
widths differ, an adapter (BatchNorm, Dropout, Linear) stands between f_S and the term; the
student's own classifier sees the features without it, and it is dropped at the end.

Wang et al., "Improving Knowledge Distillation via Regularizing Feature Norm and Direction", 2023,
arXiv 2305.17007. The paper's ablations are `form: direction` (1 - cos), `norm` (stepwise larger
norm, no direction) and `l2` (plain imitation of f_T).

Use it on top of a distillation that works already and whose teacher you hold with its weights.
Published gains are 0.2 to 2.5 points of CIFAR-100 accuracy over `kd`, less over `dkd`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context

SOURCE = "train_cifar.sh of the paper's repository, ResNet-56 to ResNet-20"


class Config(MethodConfig):
    base: Literal["kd", "dkd"] = Field(
        "kd",
        description="the distillation it is added to: KD++ or DKD++",
        json_schema_extra={"source": "the paper's first choice"},
    )
    form: Literal["nd", "direction", "norm", "l2"] = Field(
        "nd",
        description="the feature term: norm and direction, or one of the paper's ablations",
        json_schema_extra={"source": "the paper"},
    )
    temperature: float = Field(
        4.0,
        gt=0,
        le=1000,
        description="T of the base distillation",
        json_schema_extra={"source": SOURCE, "search": ["log", 1.0, 16.0]},
    )
    ce: float = Field(
        1.0, ge=0, description="a, the weight of the labels", json_schema_extra={"source": SOURCE}
    )
    kd: float = Field(
        1.0,
        ge=0,
        description="b, the weight of the base distillation",
        json_schema_extra={"source": SOURCE, "search": ["linear", 0.5, 4.0]},
    )
    nd: float = Field(
        2.0,
        ge=0,
        description="g, the weight of the feature term (the authors use 3.5 with `base: dkd`)",
        json_schema_extra={"source": SOURCE, "search": ["linear", 0.5, 4.0]},
    )
    alpha: float = Field(
        2.5,
        ge=0,
        description="`base: dkd`: the weight of TCKD within it",
        json_schema_extra={"source": SOURCE},
    )
    beta: float = Field(
        4.0,
        ge=0,
        description="`base: dkd`: the weight of NCKD within it",
        json_schema_extra={"source": SOURCE},
    )
    warmup: float = Field(
        20 / 240,
        ge=0,
        le=1,
        description="W, the share of the run over which the base distillation rises; ND does not",
        json_schema_extra={"source": f"{SOURCE}: 20 of 240 epochs"},
    )
    norm_step: float = Field(
        1.0,
        gt=0,
        description="`form: norm`: r, by how much the norm is asked to grow at each step",
        json_schema_extra={"source": "Xu et al., ICCV 2019; unverified for this paper"},
    )
    dropout: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="dropout in the adapter between different widths",
        json_schema_extra={"source": "the paper's repository"},
    )


@method(
    want="distill",
    paper="Wang et al. 2023, arXiv 2305.17007",
    needs=Needs(
        models={
            "teacher": ModelNeed(Access.WEIGHTS, embedding=True),
            "student": ModelNeed(Access.WEIGHTS, trains=True, embedding=True),
        },
        data={"train": DataNeed(Labels.ALL)},
        same_classes=True,
    ),
    identity=(
        Identity(
            "without the feature term and the warm-up it is `kd` at the same weights",
            "kd",
            config={"nd": 0.0, "ce": 0.1, "kd": 0.9, "warmup": 0.0},
        ),
    ),
)
def nd(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Adds norm and direction of the features to `kd` or `dkd` (KD++, DKD++)."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from bequeath.blocks.projector import tap_width, width_adapter
    from bequeath.blocks.prototypes import class_means
    from bequeath.blocks.taps import Tap, Taps
    from bequeath.losses import feature_norm
    from bequeath.losses.kl import decoupled, soft_targets
    from bequeath.signals.teacher import teacher
    from bequeath.train.terms import mean_over, ramp

    train = given.data("train")
    student = given.model("student").load()
    answers = teacher(ctx, given.model("teacher"), train, features=("embedding",))
    centres = class_means(
        ((signal.features["embedding"], batch["y"]) for batch, signal in answers.over_data()),
        train.n_classes,
    )
    e = F.normalize(centres, dim=1)
    tap = Taps(student.module, {"embedding": Tap(student.facts.head or "", "input")})
    width = tap_width(student, tap, train.fetch(torch.arange(1)))
    adapter = width_adapter(width, e.shape[1], cfg.dropout).to(ctx.device)

    def feature_term(f_s, f_t, y):
        if cfg.form == "direction":
            return feature_norm.direction_only(f_s, e[y])
        if cfg.form == "norm":
            return feature_norm.stepwise_larger_norm(f_s, cfg.norm_step)
        if cfg.form == "l2":
            return feature_norm.squared_distance(f_s, f_t)
        return feature_norm.norm_and_direction(f_s, f_t, e[y])

    def step(batch):
        z_s, signal, y = student(batch), answers(batch), batch["y"]
        if cfg.base == "dkd":
            tckd, nckd = decoupled(z_s, signal.logits, y, cfg.temperature)
            soft = cfg.alpha * tckd + cfg.beta * nckd
        else:
            soft = soft_targets(z_s, signal.logits, cfg.temperature)
        f_s = adapter(tap["embedding"].flatten(1))
        return {
            "kd": mean_over(soft, ramp(ctx.now.share, cfg.warmup) * cfg.kd),
            "ce": mean_over(F.cross_entropy(z_s, y, reduction="none"), cfg.ce),
            "nd": mean_over(feature_term(f_s, signal.features["embedding"], y), cfg.nd),
        }

    with tap:
        ctx.fit(nn.ModuleDict({"student": student, "adapter": adapter}), train, step)
    return Outcome(models={"student": student})
