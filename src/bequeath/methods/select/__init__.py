"""Selection: which data, or which mixture of sources, to train on, and what it will give.

    want: select
    method: [projektor, {name: mixture_law, form: quadratic}]
    models:
      model: {ref: "zoo:mlp?hidden=64"}              # what will be trained on the selection
    data:
      web:    {ref: "folder:web/train"}              # the sources, under names of your own
      shops:  {ref: "folder:shops/train"}
      validation: {ref: "folder:own/val"}            # what the small trials are judged on
      test:   {ref: "folder:own/test"}               # what the selection is judged on
    protocol: {size: 10000, pilot: 1000, sizes: [500, 1000]}

Every method is given the same: `pilot` samples of each source (the rest is sealed), and the same
small trials on them where it asks for trials. What it hands back is a selection: the share of each
source, or the rows of one. The protocol then trains `model` on `size` samples chosen that way and
measures it on `test`, beside `uniform`, which chooses nothing.

With data `target`, the selection is judged by transfer: `model` is trained on what was kept of
`source`, then a classifier of the target's classes is trained on its features (`tune: linear`), or
all of it (`tune: full`). The target's labels are sealed from the methods and used here only.

Without `test` nothing large is trained: the selection itself is the result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from bequeath.methods.family import Family, Settings
from bequeath.metrics.names import NAMES

if TYPE_CHECKING:
    import numpy as np

    from bequeath.train.context import Context
    from bequeath.train.trials import Trials

NOTEBOOK = "the notebook of the projektor repository"
DP4TL = "configs/imagenet_transfer_to_downstream of the DP4TL repository"


class Skew(Settings):
    """A source made out of a balanced data set, to study selection where the truth is known."""

    classes: tuple[int, ...] = Field(
        default=(), description="the classes that dominate it, by number; none: all alike"
    )
    share: float = Field(
        default=0.97, gt=0, le=1, description="share of its samples that are of these classes"
    )
    noise: float = Field(default=0.0, ge=0, lt=1, description="share of its labels that are random")


class Protocol(Settings):
    """What is the same for every arm."""

    size: int | None = Field(
        default=None,
        ge=1,
        description="N, samples trained on in the end (default: all of one source; of several, as "
        "many as the smallest has)",
        json_schema_extra={"source": f"10,000 in {NOTEBOOK}"},
    )
    pilot: int | None = Field(
        default=None,
        ge=2,
        description="samples of each source that methods may see; the rest is sealed (default: "
        "all of them)",
    )
    sizes: tuple[int, int] = Field(
        default=(1000, 1500),
        description="n0 < n1, samples of a small trial",
        json_schema_extra={"source": NOTEBOOK},
    )
    step: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="step of the grid of mixtures; 1 / step is a whole number",
        json_schema_extra={"source": "the projektor repository"},
    )
    repeats: int = Field(
        default=3,
        ge=1,
        le=100,
        description="trials of each mixture; the median counts",
        json_schema_extra={"source": "the projektor repository (its file names say 5)"},
    )
    held_out: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="mixtures in which `held_source` has this share or more are not tried but "
        "predicted, to see how good predictions are (0.5 in the paper's demonstration)",
    )
    held_source: str | None = Field(
        default=None,
        description="the source of `held_out` (default: the second)",
        json_schema_extra={"source": NOTEBOOK},
    )
    check: Literal["none", "held_out", "grid"] = Field(
        default="held_out",
        description="mixtures trained at full size to check predictions: those held out, or the "
        "whole grid (also tells how far the chosen one is from the best)",
    )
    tune: Literal["linear", "full"] = Field(
        default="linear", description="with data `target`: train a classifier on features, or all"
    )
    tune_epochs: int | None = Field(
        default=None,
        ge=1,
        description="passes over the target's data (default: 50 linear, 200 full)",
        json_schema_extra={"source": DP4TL},
    )
    tune_lr: float | None = Field(
        default=None,
        gt=0,
        description="learning rate of Adam there (default: 1e-2 linear, 1e-4 full)",
        json_schema_extra={"source": DP4TL},
    )
    skew: dict[str, Skew] = Field(
        default_factory=dict,
        description="source -> how to make it unequal, in a study where all come from one data set",
    )

    @model_validator(mode="after")
    def _sensible(self) -> Protocol:
        if not 2 <= self.sizes[0] < self.sizes[1]:
            raise ValueError("`sizes` are two numbers, the smaller first, of at least 2 samples")
        if abs(round(1 / self.step) * self.step - 1) > 1e-6:
            raise ValueError("`step` divides 1 into equal parts: 0.1, 0.2, 0.25, 0.5")
        return self


@dataclass(frozen=True)
class Estimate:
    """A predicted performance with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Selection:
    """What to train on.

    shares: source -> its share of the training set; they sum to 1. rows: source -> the rows kept,
    int64 ascending; a source without rows is drawn from at random. expected: the performance that
    is promised at full size. predicted: what is promised for each mixture the protocol asked
    about, [A]. scores: class (or cluster) -> what it was ranked by.
    """

    shares: dict[str, float]
    rows: dict[str, np.ndarray] = field(default_factory=dict)
    expected: Estimate | None = None
    predicted: np.ndarray | None = None
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """What the protocol offers methods, as `given.protocol`.

    sources: their names; mixtures count in this order. size: N. sizes: n0 and n1 of the trials.
    limits [m]: the largest share a source can have at N. fit [F, m]: mixtures that may be tried.
    asked [A, m]: mixtures to predict. trials: train and measure on the pilots; None where there is
    no model, no validation data or one source only.
    """

    sources: tuple[str, ...]
    size: int
    sizes: tuple[int, int]
    limits: np.ndarray
    fit: np.ndarray
    asked: np.ndarray
    repeats: int
    trials: Trials | None = None

    def tried(self, ctx: Context, n: int) -> np.ndarray:
        """Accuracy at n of the mixtures that may be tried, [F]: medians over the repeats."""
        import numpy as np

        assert self.trials is not None, "the gate of the protocol refuses such jobs"
        return np.median(self.trials.accuracy(ctx, n, self.fit, self.repeats), axis=1)


FAMILY = Family(
    own="more data, or more sources, than you can use",
    get="what to use, and what it will give",
    baselines=("uniform",),
    result=None,
    judge="optional",
    metrics={
        "accuracy": "higher",
        **{name: way for name, way in NAMES.items() if name != "accuracy"},
        "prediction_error": "lower",
        "mae": "lower",
        "r2": "higher",
        "regret": "lower",
        "kept_share": "lower",
        "train_seconds": "lower",
    },
    protocol=Protocol,
)
