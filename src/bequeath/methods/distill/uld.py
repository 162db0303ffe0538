"""Distillation between language models with different tokens: what is likely, whatever its name.

Where teacher and student cut texts into other tokens, the teacher's probability of word 17 says
nothing of the student's word 17. How the probabilities are spread does: whether one word is nearly
certain or many are possible. Both vectors are sorted, the shorter is padded with zeros, and their
distance is the Wasserstein distance of the two spreads at a uniform cost:

    L = a CE(z_S, y) + b mean over t of  sum over i of | p_(i)(t) - q_(i)(t) |

p, q: the teacher's and the student's probabilities at temperature T, sorted downwards. CE is the
mean over all of the student's tokens.

Which positions belong together: `position` takes token t of the one with token t of the other, up
to the length of the shorter, as the paper does; texts that are cut differently soon say different
things there. `prefix` (ours) takes the positions at which both have read exactly the same
characters, and needs tokenizers that know where in the text their tokens are.

Boizard, El Haddad, Hudelot, Colombo, "Towards Cross-Tokenizer Distillation: the Universal Logit
Distillation Loss for LLMs", 2024, arXiv 2402.12030. The loss sees no word's name, so it cannot
say which word should be likely: that comes from the labels alone.

Use it when the tokens differ; with the same tokens `kd` and `gkd` know more. Perplexities per token
of models with different tokens cannot be compared with each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MethodConfig):
    uld: float = Field(
        1.5,
        ge=0,
        description="b, the weight of the distance",
        json_schema_extra={
            "source": "the paper's code (distil_factor)",
            "search": ["log", 0.1, 4.0],
        },
    )
    ce: float = Field(
        1.0,
        ge=0,
        description="a, the weight of the labels",
        json_schema_extra={"source": "the paper", "search": ["linear", 0.0, 2.0]},
    )
    temperature: float = Field(
        1.0,
        gt=0,
        le=1000,
        description="T, by which both models' logits are divided",
        json_schema_extra={"source": "the paper's code"},
    )
    align: Literal["position", "prefix"] = Field(
        "position",
        description="which positions of the two belong together",
        json_schema_extra={"source": "the paper; `prefix` is ours"},
    )


def needs(cfg: Config) -> Needs:
    return Needs(
        models={
            "teacher": ModelNeed(Access.LOGITS),
            "student": ModelNeed(Access.WEIGHTS, trains=True),
        },
        data={"train": DataNeed(Labels.ALL)},
        answers="tokens",
    )


@method(
    want="distill",
    paper="Boizard, El Haddad, Hudelot, Colombo 2024, arXiv 2402.12030",
    needs=needs,
    identity=(
        Identity("without the distance it is `ce`", "ce", config={"uld": 0.0}),
        Identity(
            "a student that starts as its teacher and sees no label stays it",
            "start",
            config={"ce": 0.0},
            start={"student": "teacher"},
            train={"optimizer": {"name": "sgd", "lr": 0.1, "weight_decay": 0.0}},
        ),
    ),
)
def uld(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """A language model learns from a teacher with other tokens, by sorted probabilities."""
    from bequeath.blocks.aligned import Aligned, aligned
    from bequeath.blocks.next_words import NextWords, Weights, next_word_sums
    from bequeath.blocks.targets import reader, rows_of, targets
    from bequeath.losses.divergence import Divergence
    from bequeath.signals.teacher import teacher
    from bequeath.train.terms import Term

    train = given.data("train")
    student = given.model("student").load()
    theirs = reader(given.model("teacher").facts)
    words = NextWords(student, ctx.train.batch_size)
    answers = teacher(ctx, given.model("teacher"), train, in_parts=words.in_parts)
    measure = Divergence("uld")

    def step(batch):
        asked, other = targets(student, batch), targets(theirs, batch)
        pairs = aligned(student, asked, theirs, other, batch["text"], cfg.align)
        told = Aligned(rows_of(other, answers(batch).answer), pairs)
        n, m = len(asked.y), int((pairs >= 0).sum())
        share, squared = (pairs >= 0).float(), cfg.temperature**2
        weights = Weights(cfg.uld / (max(1, m) * squared), cfg.ce / n, soft_rows=share)
        said = words.said(batch, asked)
        soft, hard = next_word_sums(said, told, measure, asked.y, weights, cfg.temperature)
        terms = {}
        if cfg.uld > 0:
            terms["uld"] = Term(soft / squared, m, cfg.uld, "aligned tokens")
        if cfg.ce > 0:
            terms["ce"] = Term(hard, n, cfg.ce, asked.over)
        return terms

    ctx.fit(student, train, step)
    return Outcome(models={"student": student})
