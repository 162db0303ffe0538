"""Generation: diffusion models trained, sampled, and distilled into generators of few steps.

    want: generate
    method: [boot, {name: ddim, as: ddim-10, steps: 10}]
    models: {teacher: {ref: "file:diffusion"}, judge: {ref: "file:classifier"}}
    data: {test: {ref: ...}}

A teacher comes from `diffusion`, which trains `zoo:unet` (images) or `zoo:denoiser` (vectors, very
small images) on your data. What is handed back is a generator: noise in, samples out, in plain
torch.

Each arm makes the same number of samples from the same noise. They are turned into data again
(pixels, rounded) and shown to `models.judge`, a classifier of yours that no method sees; real
samples pass through the same eyes. What the judge's classifier reads of both is compared: Frechet
distance, precision and recall, density and coverage; and its answers: are all classes there, how
sure is it. `trajectory_error` is how far a sample lies from where the teacher's own deterministic
walk of many steps ends from the same noise. A sheet of samples lies in each run's folder. The
teacher, sampled as it says itself, is measured beside the results.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from bequeath.kernel.errors import Problem
from bequeath.methods.family import Family, Settings

_OWN = "a choice of this project; no paper's"


class Protocol(Settings):
    """What is drawn and how it is looked at, the same for every method."""

    samples: int = Field(
        1000,
        ge=2,
        le=100_000,
        description="N, how many samples each arm makes",
        json_schema_extra={"source": f"{_OWN} (50 000 in papers on images)"},
    )
    steps: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="steps in which the teacher as it came is sampled (default: as it says itself)",
        json_schema_extra={"source": _OWN},
    )
    noise: int = Field(
        0,
        ge=0,
        lt=2**62,
        description="which noise; the same for all arms and seeds",
        json_schema_extra={"source": _OWN},
    )
    neighbours: int = Field(
        5,
        ge=1,
        le=1000,
        description="k of precision, recall, density and coverage",
        json_schema_extra={"source": "Naeem et al. 2020, section 4.1"},
    )
    walk: int = Field(
        100,
        ge=1,
        le=10_000,
        description="steps of the teacher's walk that `trajectory_error` is measured against",
        json_schema_extra={"source": "card's DDIM-100"},
    )


def problems(job: Any) -> Iterable[Problem]:
    """G470: nobody judges."""
    if "judge" not in job.models:
        yield Problem(
            "G470",
            "samples are judged by a classifier, and the job has none",
            ("models",),
            remedies=(
                "add `judge:` under `models:`, a classifier trained on such data",
                "train one: `want: distill`, `method: ce`",
            ),
        )


FAMILY = Family(
    own="a diffusion model, or data to train one on",
    get="a generator of one or few steps",
    baselines=("ddim",),
    reference="teacher",
    judge_labelled=False,
    judges=("judge",),
    metrics={
        "frechet": "lower",
        "precision": "higher",
        "recall": "higher",
        "density": "higher",
        "coverage": "higher",
        "class_entropy": "higher",
        "class_gap": "lower",
        "confidence": "higher",
        "trajectory_error": "lower",
        "evaluations": "lower",
        "seconds_per_sample": "lower",
    },
    protocol=Protocol,
    problems=problems,
)
