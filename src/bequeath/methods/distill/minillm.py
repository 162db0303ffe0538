"""MiniLLM: the reverse KL of whole texts, by a policy gradient on what the student writes.

The forward KL makes a small student spread itself over all that its teacher might say. The reverse
KL of texts, KL( q(y) || p(y) ), lets it keep to what the teacher finds likely. Its gradient is an
expectation over texts of the student's own, split into what the next word does at once, which is
exact, and what it does for the words after it:

    y ~ p~ = a p + (1 - a) q, word by word, after a beginning from the data     (teacher-mixed)
    r_t = log p(y_t) - log q(y_t),   w_t = q(y_t) / p~(y_t)
    L   = mean over t of  w_t [ KL( q(. | y_<t) || p(. | y_<t) ) - R_{t+1} log q(y_t) ]
        + lm * mean over the words of the data of CE
    R_{t+1} = mean of r_t' over t' > t                                          (length-normalised)

p is the teacher, q the student; r, w and R have no gradient. Before that, for the share `sft` of
the run, the student is fine-tuned on the texts as `ce` does.

Gu, Dong, Wei, Huang, "MiniLLM: Knowledge Distillation of Large Language Models", 2023,
arXiv 2306.08543 (also "On-Policy Distillation ..."), section 2.2. There: single-step decomposition,
teacher-mixed sampling, length normalisation, the pre-training loss (here on the same texts), the
clip of rewards that its code has. Not there: PPO's several updates on one set of texts and the
clipped ratio that goes with them (each text is used once, so the ratio is 1), and what its code
adds to the paper, whitened advantages and rewards times 0.5. Writing at a `sampling` other than 1
biases the gradient.

Use it for a student much smaller than its teacher, when likely texts count more than all of them.
The gradient is noisy; a batch too small learns little. It costs the writing, and the teacher's
reading of it at each step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, Outcome, method
from bequeath.methods.distill._writing import STILL, Writing, in_two_fits, texts_term

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context

PAPER = "the paper"


class Config(Writing):
    teacher_share: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="a, the teacher's share in the writing",
        json_schema_extra={"source": PAPER, "search": ["linear", 0.0, 0.5]},
    )
    normalise: bool = Field(
        True,
        description="R is a mean over the words that follow, not their sum",
        json_schema_extra={"source": PAPER},
    )
    clip: float = Field(
        100.0, gt=0, description="the largest |r_t|", json_schema_extra={"source": "its code"}
    )
    long: float = Field(
        1.0,
        ge=0,
        description="the weight of what a word does for those after it; 0: single steps alone",
        json_schema_extra={"source": PAPER},
    )
    lm: float = Field(
        1.0,
        ge=0,
        description="the weight of the texts' own words",
        json_schema_extra={"source": PAPER, "search": ["linear", 0.0, 2.0]},
    )


def needs(cfg: Config) -> Needs:
    return Needs(
        models={
            "teacher": ModelNeed(Access.LOGITS, asked_anew=True),
            "student": ModelNeed(Access.WEIGHTS, trains=True),
        },
        data={"train": DataNeed(Labels.ALL)},
        same_classes=True,
        answers="tokens",
    )


@method(
    want="distill",
    paper="Gu et al. 2023, arXiv 2306.08543",
    needs=needs,
    identity=(
        Identity("when all is fine-tuning it is `ce`", "ce", config={"sft": 1.0}),
        Identity(
            "a student that starts as its teacher and sees no text of others stays it",
            "start",
            config={"sft": 0.0, "lm": 0.0},
            start={"student": "teacher"},
            train=STILL,
        ),
    ),
)
def minillm(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """A language model learns by the reverse KL of whole texts, with a policy gradient."""

    from bequeath.blocks.next_words import NextWords, Weights, next_word_sums
    from bequeath.blocks.targets import rows_of, targets
    from bequeath.blocks.writing import beginnings, go_on
    from bequeath.losses.divergence import Divergence
    from bequeath.losses.policy import later, mixed_weight
    from bequeath.losses.vocabulary import log_prob
    from bequeath.signals.teacher import live_teacher
    from bequeath.train.terms import Term

    train = given.data("train")
    student = given.model("student").load()
    words = NextWords(student, ctx.train.batch_size)
    answers = live_teacher(ctx, given.model("teacher"), train, in_parts=words.in_parts)
    reverse = Divergence("reverse")

    def own(batch, rng):
        """The term of what student and teacher write."""
        start = beginnings(student, batch, cfg.prompt)
        said = go_on(
            student,
            start,
            cfg.length,
            rng,
            temperature=cfg.sampling,
            other=answers.speaker if cfg.teacher_share else None,
            share=cfg.teacher_share,
        )
        asked = targets(student, said.batch, skip=said.start - 1)
        z_s, z_t = words.said(said.batch, asked), rows_of(asked, answers(said.batch).answer)
        log_p, log_q = log_prob(z_t, asked.y), log_prob(z_s, asked.y)
        reward = asked.grid((log_p - log_q).clamp(-cfg.clip, cfg.clip))
        gain = cfg.long * asked.of_grid(later(reward, asked.there, mean=cfg.normalise))
        w = mixed_weight(log_p, log_q, cfg.teacher_share)
        weights = Weights(1.0, 1.0 if cfg.long else 0.0, w, w * gain)
        soft, hard = next_word_sums(z_s, z_t, reverse, asked.y, weights)
        return Term(soft + hard, len(asked.y), over="written tokens")

    def step(batch):
        rng = ctx.rng("minillm", ctx.now.step, int(batch["idx"][0]))
        terms = {"minillm": own(batch, rng)}
        if cfg.lm > 0:
            terms["ce"] = texts_term(student, words, batch, cfg.lm)
        return terms

    in_two_fits(ctx, student, train, words, step, cfg)
    return Outcome(models={"student": student})
