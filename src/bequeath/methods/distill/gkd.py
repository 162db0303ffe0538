"""On-policy distillation: the student learns on what it writes itself, and not on data alone.

A student that only ever sees good text has never seen its own mistakes, and makes more of them the
longer it writes. Here a share of the steps lets it go on with the beginnings of the texts, and the
teacher says of each word so written what should have come.

    at each step, with probability `on_policy`:  y ~ student(. | beginning), else y from the data
    L = mean over the words of y of  T^2 D( softmax(z_T / T), softmax(z_S / T) )

D is the generalised Jensen-Shannon divergence of the paper, or a forward, reverse or skew KL; no
gradient goes through the drawing of y. Before that, for the share `sft` of the run, the student is
fine-tuned on the texts as `ce` does: the paper starts from such a student.

Agarwal, Vieillard, Zhou, Stanczyk, Ramos, Geist, Bachem, "On-Policy Distillation of Language
Models: Learning from Self-Generated Mistakes", 2023, arXiv 2306.13649, algorithm 1. The skew
divergences are of Ko et al., "DistiLLM", 2024, arXiv 2402.03898, without its replay of texts.

Use it for a student that will write. It costs the writing: one pass of the student for each word
(models of transformers keep what they have read). A beginning is the prompt where the data have
prompts, else the first `prompt` tokens of a text. All words a batch's loss is about come after
those. The teacher answers live where the student writes, so its answers are not kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, Outcome, method
from bequeath.methods.distill._writing import STILL, Writing, in_two_fits

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context

PAPER = "the paper"


class Config(Writing):
    divergence: Literal["jsd", "forward", "reverse", "skew", "skew_reverse"] = Field(
        "jsd", description="D", json_schema_extra={"source": PAPER}
    )
    beta: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="`jsd`: the share of the teacher in the mixture",
        json_schema_extra={
            "source": "TRL; the paper has 0.1, 0.5, 0.9",
            "search": ["linear", 0.1, 0.9],
        },
    )
    skew: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="`skew`, `skew_reverse`: how much of the one is mixed into the other",
        json_schema_extra={"source": "DistiLLM", "search": ["linear", 0.0, 0.5]},
    )
    on_policy: float = Field(
        0.5,
        ge=0,
        le=1,
        description="the share of steps on what the student writes (the paper's lambda)",
        json_schema_extra={
            "source": "TRL; the paper has 0, 0.5, 1",
            "search": ["linear", 0.0, 1.0],
        },
    )
    temperature: float = Field(
        1.0,
        gt=0,
        le=1000,
        description="T, by which both models' logits are divided",
        json_schema_extra={"source": PAPER, "search": ["log", 0.5, 4.0]},
    )


def needs(cfg: Config) -> Needs:
    return Needs(
        models={
            "teacher": ModelNeed(Access.LOGITS, asked_anew=cfg.on_policy > 0),
            "student": ModelNeed(Access.WEIGHTS, trains=True),
        },
        data={"train": DataNeed(Labels.ALL)},
        same_classes=True,
        answers="tokens",
    )


@method(
    want="distill",
    paper="Agarwal et al. 2023, arXiv 2306.13649",
    needs=needs,
    identity=(
        Identity("when all is fine-tuning it is `ce`", "ce", config={"sft": 1.0}),
        Identity(
            "a student that starts as its teacher stays it, whatever it writes",
            "start",
            config={"sft": 0.0, "on_policy": 1.0},
            start={"student": "teacher"},
            train=STILL,
        ),
        Identity(
            "the same on data, by a reverse KL",
            "start",
            config={"sft": 0.0, "on_policy": 0.0, "divergence": "reverse"},
            start={"student": "teacher"},
            train=STILL,
        ),
    ),
)
def gkd(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """A language model learns from its teacher on texts it writes itself, and on data."""
    import torch

    from bequeath.blocks.next_words import NextWords, Weights, next_word_sums
    from bequeath.blocks.targets import rows_of, targets
    from bequeath.blocks.writing import beginnings, go_on
    from bequeath.losses.divergence import Divergence
    from bequeath.signals.teacher import live_teacher, teacher
    from bequeath.train.terms import Term

    train = given.data("train")
    student = given.model("student").load()
    words = NextWords(student, ctx.train.batch_size)
    open_teacher = live_teacher if cfg.on_policy > 0 else teacher
    answers = open_teacher(ctx, given.model("teacher"), train, in_parts=words.in_parts)
    amount = {"jsd": cfg.beta}.get(cfg.divergence, cfg.skew if "skew" in cfg.divergence else 0.0)
    measure = Divergence(cfg.divergence, amount)

    def step(batch):
        rng = ctx.rng("gkd", ctx.now.step, int(batch["idx"][0]))
        start = beginnings(student, batch, cfg.prompt)
        if float(torch.rand((), generator=rng)) < cfg.on_policy:
            batch = go_on(student, start, cfg.length, rng, temperature=cfg.sampling).batch
        asked = targets(student, batch, skip=start.length - 1)
        said, told = words.said(batch, asked), rows_of(asked, answers(batch).answer)
        soft, _ = next_word_sums(said, told, measure, None, Weights(soft=1.0), cfg.temperature)
        return {"gkd": Term(soft, len(said), over=asked.over)}

    in_two_fits(ctx, student, train, words, step, cfg)
    return Outcome(models={"student": student})
