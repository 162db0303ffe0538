"""What a comparison holds, as data: the twin of the report that a program can read.

Differences are `arm - versus` in the metric's own unit (an accuracy of 0.91 is 0.91, not 91);
`Pair.gain` is the same number turned so that more is better. Never imports torch.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bequeath.evidence.measure import Measure
from bequeath.evidence.record import Direction, Model, Part

Verdict = Literal["better", "worse", "equivalent", "not distinguishable"]
Over = Literal["seeds and samples", "seeds", "samples"]


class Interval(Part):
    low: float
    high: float
    level: float = Field(default=0.95, description="coverage aimed at")
    over: Over = Field(description="what was resampled")


class Spread(Part):
    """A metric of one arm over its seeds."""

    mean: float
    sd: float | None = Field(default=None, description="over seeds (n - 1); null for one seed")
    interval: Interval | None = None
    direction: Direction
    n_seeds: int
    n_samples: int
    values: dict[int, float] = Field(default_factory=dict, description="seed -> value")


class ArmCost(Part):
    """Medians over seeds."""

    wall_s: float
    train_s: float | None = None
    cpu_s: float
    peak_rss_bytes: int
    peak_device_bytes: int | None = None
    cache_hits: int = Field(default=0, description="runs that found the teacher's answers on disk")
    cache_saved_s: float = Field(default=0.0, description="seconds saved, summed over the runs")


class Arm(Part):
    arm: str
    method: str
    want: str
    baseline: bool
    seeds: list[int]
    missing: list[int] = Field(default_factory=list, description="seeds that others have")
    metrics: dict[str, Spread]
    cost: ArmCost
    trained: bool = Field(default=False, description="some run of it took optimizer steps")
    model: Model | None = Field(
        default=None, description="of the first seed; latencies are medians over seeds"
    )


class Reference(Part):
    """A model measured as it came, e.g. the teacher."""

    role: str
    metrics: dict[str, Spread]
    model: Model | None = None


class Pair(Part):
    """Two arms, or an arm and a reference, on one metric; paired by seed and by sample."""

    arm: str
    versus: str
    versus_kind: Literal["arm", "reference"] = "arm"
    metric: str
    direction: Direction
    seeds: list[int] = Field(description="seeds that both have")
    n_samples: int
    difference: float = Field(description="arm - versus, the metric's unit")
    gain: float = Field(description="the difference turned so that more is better")
    interval: Interval | None = Field(default=None, description="95 % interval of the difference")
    interval90: Interval | None = Field(default=None, description="for the equivalence test")
    sd_seeds: float | None = Field(default=None, description="of the paired differences")
    p: float | None = Field(default=None, description="two-sided, by the bootstrap")
    p_holm: float | None = Field(default=None, description="p after Holm over its list")
    p_sign_flip: float | None = Field(default=None, description="exact, two-sided, over seeds")
    p_sign_flip_least: float | None = Field(default=None, description="least p of so many seeds")
    margin: float = Field(description="a difference smaller than this does not matter")
    equivalent: bool | None = None
    verdict: Verdict
    why: str = Field(description="the verdict's reason in words")
    least_detectable: float | None = Field(
        None, description="effect seen with 80 % power at two-sided 5 %"
    )
    time_ratio: float | None = Field(default=None, description="time of the method, arm / versus")


class Flip(Part):
    """A sample whose answer changed. `frequency`: share of the seeds in which it did."""

    idx: int
    label: int
    frequency: float


class ClassFlips(Part):
    label: int
    mended: float
    broken: float


class Flips(Part):
    """Which samples were mended (wrong -> right) and broken (right -> wrong) against `versus`."""

    arm: str
    versus: str
    versus_kind: Literal["arm", "reference"]
    n_seeds: int
    n_samples: int
    mended: float = Field(description="samples, mean over seeds")
    broken: float = Field(description="samples, mean over seeds")
    mended_samples: list[Flip] = Field(description="most frequent first, at most 50")
    broken_samples: list[Flip] = Field(description="most frequent first, at most 50")
    by_class: list[ClassFlips] = Field(description="mean over seeds; classes with any change")
    p_mcnemar: float | None = Field(default=None, description="exact; for one seed only")


class ClassRow(Part):
    label: int
    name: str
    n: int
    before: float = Field(description="recall of `versus`, mean over seeds")
    after: float = Field(description="recall of the arm, mean over seeds")
    change: float


class ClassChange(Part):
    arm: str
    versus: str
    versus_kind: Literal["arm", "reference"]
    rows: list[ClassRow] = Field(description="classes in the test data, by label")


class Mistake(Part):
    label: int
    pred: int
    count: int


class Confusion(Part):
    """Counts summed over seeds. `counts[label][pred]`; null beyond 50 classes."""

    arm: str
    n_seeds: int
    counts: list[list[int]] | None
    top: list[Mistake] = Field(description="the most frequent mistakes, at most 50")


class Bin(Part):
    low: float
    high: float
    n: int
    confidence: float | None = Field(default=None, description="mean; null for an empty bin")
    accuracy: float | None = None


class Calibration(Part):
    """Reliability over equal-width bins of the confidence, seeds pooled."""

    arm: str
    ece: float = Field(description="mean |accuracy - confidence|, weighted by n")
    bins: list[Bin]


class Missing(Part):
    arm: str
    seed: int
    reason: str


class Comparison(Part):
    """All that is known of the arms of one job. Lists follow the order of `arms`."""

    schema_version: int = 1
    primary: str | None = Field(description="the metric that decides; null: nothing was measured")
    direction: Direction | None
    margin: float
    baseline: str | None
    measures: dict[str, Measure] = Field(description="metric -> how it is said")
    classes: list[str] = Field(description="of a classifier; else empty")
    n_samples: int = Field(description="how many the primary metric was measured on")
    models_given: dict[str, int | None] = Field(
        default_factory=dict, description="role -> bytes of the models that the runs began with"
    )
    arms: list[Arm]
    references: list[Reference]
    versus_baseline: list[Pair] = Field(description="primary metric; Holm within this list")
    pairs: list[Pair] = Field(description="the other arms among each other; Holm within this list")
    versus_reference: list[Pair] = Field(description="primary metric; Holm within this list")
    other_metrics: list[Pair] = Field(description="against the baseline; no Holm, descriptive")
    flips: list[Flips]
    class_change: list[ClassChange]
    confusion: list[Confusion]
    calibration: list[Calibration]
    missing: list[Missing]
    notes: list[str] = Field(description="what a reader must know of the statistics")
    sentence: str = Field(default="", description="the answer in one sentence")

    @property
    def measure(self) -> Measure | None:
        """How the primary metric is said."""
        return None if self.primary is None else self.measures[self.primary]
