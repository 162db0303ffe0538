"""Distillation: a student learns from a teacher what the labels alone do not say.

The baseline is the student without a teacher; the teacher itself is measured beside the results.

Language models (`zoo:gpt`, causal ones of `hf:`) are distilled token by token, by the methods that
can; `bequeath suggest` lists them. Say `evaluate: {metrics: [nll, perplexity]}`. With
`data.canaries`, secrets that were hidden in the text, each student and the teacher are audited:
`exposure_mean`, `extraction_rate`.
"""

from __future__ import annotations

from bequeath.methods.family import Family
from bequeath.metrics.names import NAMES, Direction

LANGUAGE: dict[str, Direction] = {
    "perplexity": "lower",
    "bits_per_token": "lower",
    "exposure_mean": "lower",
    "extraction_rate": "lower",
}

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
)
