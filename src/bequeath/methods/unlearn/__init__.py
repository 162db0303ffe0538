"""Unlearning: a model without what it must forget, and the proof beside one that never learnt it.

    want: unlearn
    method: acu
    data: {train: {ref: "npz:train.npz"}, test: {ref: "npz:test.npz"}}
    protocol:
      tasks: 5                                  # learnt one after the other
      requests:
        - {samples: 50, times: 10}              # ten requests of 50 random samples each
        - {learn: 200}                          # 200 samples held back until now arrive
        - {classes: [3]}                        # a whole class
        - {task: 1}                             # what is left of a task
      head: {width: 1000, gamma: 0.1}

With a data set `forget` (samples of `train`, with or without labels) the requests are those people
sent in: each of its samples is found in `train` by its content. What was never learnt, or would be
forgotten twice, is refused before anything runs.

Every method is shown the same requests in the same order. `retrain`, the gold, does what nobody can
afford: after each request it makes the model anew from what remains. It runs first for each seed,
and the others are measured against it, request by request: the distance of the heads, the share of
equal predictions, what an attacker can tell of the forgotten samples. Close to `retrain` is good.
Low accuracy on what was forgotten is not: a sample of a class that stays should be recognised as
often as one never seen.

What is forgotten is forgotten by the head. A backbone (`models.model`) that was itself trained on
the samples still holds what it took from them; one trained on public data does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from bequeath.methods.family import Family, Settings
from bequeath.metrics.names import NAMES, Direction

SOURCE = "the analytic continual learning repository; the unlearning paper's own is unverified"


class Request(Settings):
    """One step: something to forget, or samples that arrive. Exactly one of the first five."""

    samples: int | None = Field(
        default=None,
        ge=1,
        description="forget so many random samples of those held",
        json_schema_extra={"source": "nothing: one of the five is said"},
    )
    classes: tuple[int | str, ...] = Field(
        default=(),
        description="forget all samples of these classes, by name or by number from 0",
        json_schema_extra={"source": "nothing: one of the five is said"},
    )
    task: int | None = Field(
        default=None,
        ge=0,
        description="forget all that is held of a task, numbered from 0",
        json_schema_extra={"source": "nothing: one of the five is said"},
    )
    positions: tuple[int, ...] = Field(
        default=(),
        description="forget the samples at these positions of `data.train`, from 0",
        json_schema_extra={"source": "nothing: one of the five is said"},
    )
    learn: int | None = Field(
        default=None,
        ge=1,
        description="nothing is forgotten: so many samples, held back until now, are learnt",
        json_schema_extra={"source": "nothing: one of the five is said"},
    )
    times: int = Field(
        default=1,
        ge=1,
        le=10_000,
        description="how many such requests, one after the other",
        json_schema_extra={"source": "once"},
    )

    @model_validator(mode="after")
    def _one_thing(self) -> Request:
        said = [n for n in ("samples", "classes", "task", "positions", "learn") if self._says(n)]
        if len(said) != 1:
            names = "`samples`, `classes`, `task`, `positions` or `learn`"
            raise ValueError(f"a request says exactly one of {names}, not {len(said)}")
        if self.times > 1 and said[0] not in ("samples", "learn"):
            raise ValueError(f"`{said[0]}` can be asked for once; `times` is for random samples")
        return self

    def _says(self, name: str) -> bool:
        return getattr(self, name) not in (None, ())


class Head(Settings):
    """What all arms learn and forget: a linear head by ridge regression, on frozen features."""

    width: int = Field(
        default=1000,
        ge=0,
        le=100_000,
        description="random features made of the inputs; 0: the inputs as they are",
        json_schema_extra={"source": f"8192 to 16384 at full scale: {SOURCE}"},
    )
    gamma: float = Field(
        default=0.1,
        gt=0,
        le=1e9,
        description="the ridge: weight of |W|^2 beside the squared error summed over the samples",
        json_schema_extra={"source": SOURCE, "search": ["log", 1e-3, 100.0]},
    )
    normalise: bool = Field(
        default=True,
        description="divide each input by its own root mean square, so that gamma means the same "
        "everywhere",
        json_schema_extra={"source": "ours; nothing of the data set goes into it"},
    )
    constant: bool = Field(
        default=False,
        description="a feature that is always 1, in place of a bias",
        json_schema_extra={"source": "none: the repository's head has no bias"},
    )
    standardise: bool = Field(
        default=False,
        description="without a model: centre and scale the inputs as the training data say, those "
        "to be forgotten among them (that much of them stays)",
        json_schema_extra={"source": "ours: for tables whose columns differ in scale"},
    )


class Protocol(Settings):
    tasks: int = Field(
        default=1,
        ge=1,
        le=10_000,
        description="into so many tasks of neighbouring classes the data is learnt at first",
        json_schema_extra={"source": "all at once"},
    )
    requests: tuple[Request, ...] = Field(
        default=(),
        description="what is asked for, in this order (default: five requests of 10 samples, or "
        "the data set `forget`, which otherwise comes last)",
        json_schema_extra={"source": "none: an example"},
    )
    head: Head = Field(
        default=Head(),
        description="the learner of methods that work on a head in closed form",
        json_schema_extra={"source": "see its settings"},
    )
    shadows: int = Field(
        default=0,
        ge=0,
        le=256,
        description="models that `retrain` makes on random halves of what remains, for the "
        "likelihood-ratio attack (LiRA, offline); 0: without, otherwise 2 or more",
        json_schema_extra={"source": "off, since each costs a training; 8 are few and do"},
    )

    @model_validator(mode="after")
    def _enough_shadows(self) -> Protocol:
        if self.shadows == 1:
            raise ValueError("`shadows` is 0 or at least 2: one model has no spread")
        return self


@dataclass(frozen=True)
class Step:
    """Something to learn or to forget.

    idx: int64 positions in `data.train`. name: for `ctx.stage`, as `task-0`, `request-1`,
    `learn-1`. gone: classes of which nothing is held after it.
    """

    name: str
    learns: bool
    idx: Any
    gone: tuple[int, ...] = ()


@dataclass(frozen=True)
class Requests:
    """What a method of this family finds as `given.protocol`.

    steps: in order; after each one a method calls `ctx.stage(step.name, model=..., head=...)`.
    held: after each step, the positions that are held then (what retraining may use). shadows:
    positions for the shadow models of the attack, which the gold trains first and hands over as
    `ctx.stage(f"shadow-{s}", model=...)`.
    """

    steps: tuple[Step, ...]
    held: tuple[Any, ...]
    head: Head
    shadows: tuple[Any, ...] = ()


METRICS: dict[str, Direction] = {
    "gold_gap": "lower",
    "agreement": "higher",
    "gold_divergence": "lower",
    **NAMES,
    "retain_accuracy": "higher",
    "forget_accuracy": "lower",
    "forget_accuracy_gap": "lower",
    "mia_advantage": "lower",
    "mia_auc": "lower",
    "mia_gap": "lower",
    "lira_auc": "lower",
    "lira_gap": "lower",
    "seconds_per_request": "lower",
}

FAMILY = Family(
    own="a model and what it must forget",
    get="a model without it, and the proof",
    baselines=("retrain", "neggrad", "finetune", "random_labels"),
    first="retrain",
    result="unlearned",
    metrics=METRICS,
    protocol=Protocol,
)
