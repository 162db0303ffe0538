"""What methods that let the student write have in common: their settings, and the tuning before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from bequeath.methods.contract import MethodConfig

if TYPE_CHECKING:
    from bequeath.blocks.next_words import NextWords
    from bequeath.train.context import Context
    from bequeath.train.fit import Step
    from bequeath.train.terms import Term

OURS = "ours: no value in the paper"
STILL = {"optimizer": {"name": "sgd", "lr": 0.1, "weight_decay": 0.0}}  # nothing but the loss moves


class Writing(MethodConfig):
    sampling: float = Field(
        1.0,
        gt=0,
        le=10,
        description="the temperature at which is written",
        json_schema_extra={"source": "the paper"},
    )
    prompt: int = Field(
        8,
        ge=1,
        description="tokens of each text that are its beginning, where the data have no prompts",
        json_schema_extra={"source": OURS},
    )
    length: int = Field(
        32,
        ge=1,
        description="tokens that are written at most",
        json_schema_extra={"source": OURS},
    )
    sft: float = Field(
        0.5,
        ge=0,
        le=1,
        description="the share of the run that is fine-tuning on the texts, a fit before the other",
        json_schema_extra={"source": "the paper starts from a fine-tuned student; the share: ours"},
    )
    rate: float = Field(
        1.0,
        gt=0,
        le=1,
        description="the learning rate after that, as a share of the job's",
        json_schema_extra={
            "source": "ours; MiniLLM's code has 0.01 for GPT-2 base (5e-4, then 5e-6)",
            "search": ["log", 0.01, 1.0],
        },
    )


def in_two_fits(
    ctx: Context, student: Any, train: Any, words: NextWords, step: Step, cfg: Writing
) -> None:
    """The student is fine-tuned on the texts for the share `sft` of the run, then taught by `step`.

    Each fit has an optimizer of its own, as two runs would: Adam would divide a teacher's gradients
    by the size of the cross-entropy's, which are far larger.
    """
    from bequeath.train.fit import Until

    def tune(batch: Any) -> Any:
        return {"ce": texts_term(student, words, batch)}

    optimizer = ctx.train.optimizer
    slower = optimizer.model_copy(update={"lr": cfg.rate * optimizer.lr})
    settings = ctx.train.model_copy(update={"optimizer": slower}) if cfg.sft else ctx.train
    if cfg.sft > 0:
        ctx.fit(student, train, tune, until=Until(share=(0.0, cfg.sft)))
    if cfg.sft < 1:
        until = Until(share=(cfg.sft, 1.0))
        ctx.fit(student, train, step, until=until, name="teaching", train=settings)


def texts_term(student: Any, words: Any, batch: Any, weight: float = 1.0) -> Term:
    """The cross-entropy of the texts' own words, as `ce` has it."""
    from bequeath.blocks.next_words import Weights, next_word_sums
    from bequeath.blocks.targets import targets
    from bequeath.train.terms import Term

    asked = targets(student, batch)
    said = words.said(batch, asked)
    _, hard = next_word_sums(said, None, None, asked.y, Weights(hard=1.0))
    return Term(hard, len(asked.y), weight, asked.over)
