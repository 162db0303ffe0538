"""Distillation: a student learns from a teacher what the labels alone do not say.

The baseline is the student without a teacher; the teacher itself is measured beside the results.
"""

from __future__ import annotations

from bequeath.methods.family import Family

FAMILY = Family(
    own="a teacher (weights, logits, labels only, or its text)",
    get="a student",
    baselines=("ce",),
    reference="teacher",
    result="student",
    trial=True,
)
