"""Distillation: a student learns from a teacher what the labels alone do not say.

The baseline is the student without a teacher; the teacher itself is measured beside the results.

Language models (`zoo:gpt`, causal ones of `hf:`) are distilled token by token, by the methods that
can; `bequeath suggest` lists them, and `uld` is for teachers with other tokens. Say
`evaluate: {metrics: [nll, perplexity]}`; with `protocol: {write: 128}` the students also write, and
the teacher says how likely that is. With `data.canaries`, secrets that were hidden in the text,
each student and the teacher are audited: `exposure_mean`, `extraction_rate`.
"""

from __future__ import annotations

from pydantic import Field

from bequeath.methods.family import Family, Settings
from bequeath.metrics.names import NAMES, Direction

LANGUAGE: dict[str, Direction] = {
    "perplexity": "lower",
    "bits_per_token": "lower",
    "exposure_mean": "lower",
    "extraction_rate": "lower",
}


class Protocol(Settings):
    write: int = Field(
        0,
        ge=0,
        le=100_000,
        description="language models: so many texts each student writes at the end, for the "
        "teacher to say how likely they are (`written_nll` and its like in the notes); 0: none",
        json_schema_extra={"source": "ours"},
    )


FAMILY = Family(
    own="a teacher (weights, logits, labels only, or its text)",
    get="a student",
    baselines=("ce",),
    reference="teacher",
    result="student",
    judge_labelled=False,
    judges=("canaries",),
    trial=True,
    metrics={**NAMES, **LANGUAGE},
    protocol=Protocol,
)
