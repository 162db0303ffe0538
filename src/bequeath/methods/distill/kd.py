"""Knowledge distillation: the student learns the teacher's softened class probabilities.

A teacher's probabilities say more than a label: which wrong classes are nearly right. A
temperature T > 1 brings the small ones out.

    L = a CE(z_S, y) + b T^2 KL( softmax(z_T / T) || softmax(z_S / T) )

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531.
The factor T^2 keeps the two terms' gradients in proportion when T changes (section 2 there).
With `ce: 0` no label is used, and the data may be unlabelled. Between language models, which must
share their tokens, both terms are means over all tokens, and y is the next one. Where the logits of
a batch are more than 2^24 numbers, heads and losses are computed in chunks of tokens, and no tensor
of tokens x vocabulary is made.

With `top_k: k` the teacher says only its k likeliest classes or words; all others are one more,
and the KL is that between these k + 1. It then needs `temperature: 1` (what lies in the rest cannot
be softened). Kept on disk, an answer is 2k + 1 numbers.

Use it first. It needs only the teacher's logits, so those of a model that is served or stored do.
Expect little where the teacher is hardly better than the student alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

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

    top_k: int = Field(
        0,
        ge=0,
        description="how many of the teacher's likeliest classes or words are used; 0: all",
        json_schema_extra={"source": "off: all"},
    )

    @model_validator(mode="after")
    def _can_be_softened(self) -> Config:
        if self.top_k and self.temperature != 1:
            raise ValueError("`top_k` needs `temperature: 1`: the rest cannot be softened")
        return self


def needs(cfg: Config) -> Needs:
    labels = Labels.ALL if cfg.ce > 0 else Labels.NONE
    return Needs(
        models={
            "teacher": ModelNeed(Access.TOP_K if cfg.top_k else Access.LOGITS),
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
    from torch import Tensor
    from torch.nn import functional as F

    from bequeath.blocks.next_words import NextWords, Weights, next_word_sums
    from bequeath.blocks.targets import rows_of, targets
    from bequeath.losses.divergence import Divergence
    from bequeath.losses.kl import soft_targets
    from bequeath.signals.teacher import teacher
    from bequeath.train.terms import Term, mean_over

    train = given.data("train")
    student = given.model("student").load()
    words = NextWords(student, ctx.train.batch_size)
    parts = words.in_parts
    answers = teacher(ctx, given.model("teacher"), train, top_k=cfg.top_k, in_parts=parts)
    forward, weights = Divergence("forward"), Weights(cfg.kd, cfg.ce)

    def step(batch):
        asked = targets(student, batch)
        z_s, z_t = words.said(batch, asked), rows_of(asked, answers(batch).answer)
        if parts or cfg.top_k or not isinstance(z_s, Tensor):
            y, n = asked.y if cfg.ce > 0 else None, len(z_s)
            soft, hard = next_word_sums(z_s, z_t, forward, y, weights, cfg.temperature)
            terms = {"kd": Term(soft, n, cfg.kd, asked.over)}
            return terms | ({"ce": Term(hard, n, cfg.ce, asked.over)} if cfg.ce > 0 else {})
        terms = {"kd": mean_over(soft_targets(z_s, z_t, cfg.temperature), cfg.kd, asked.over)}
        if cfg.ce > 0:
            loss = F.cross_entropy(z_s, asked.y, reduction="none")
            terms["ce"] = mean_over(loss, cfg.ce, asked.over)
        return terms

    ctx.fit(student, train, step)
    return Outcome(models={"student": student})
