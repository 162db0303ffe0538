"""What methods that let the student write have in common: their settings, and the tuning before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from bequeath.methods.contract import MethodConfig

if TYPE_CHECKING:
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
        description="tokens of each text that are its beginning",
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
        description="the share of the run, at its start, that is fine-tuning on the texts",
        json_schema_extra={"source": "the paper starts from a fine-tuned student; the share: ours"},
    )


def texts_term(student: Any, words: Any, batch: Any, weight: float = 1.0) -> Term:
    """The cross-entropy of the texts' own words, as `ce` has it."""
    from bequeath.blocks.next_words import Weights, next_word_sums
    from bequeath.blocks.targets import targets
    from bequeath.train.terms import Term

    asked = targets(student, batch)
    said = words.said(batch, asked)
    _, hard = next_word_sums(said, None, None, asked.y, Weights(hard=1.0))
    return Term(hard, len(asked.y), weight, asked.over)
