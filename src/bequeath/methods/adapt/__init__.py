"""Adaptation: a model goes on working in a domain it was not trained for, without its old data.

A trained model (`models.source`) and unlabelled samples of the new domain (`data.target`) are all
there is. `data.test` judges: labelled samples of the new domain, which no method sees. Classes go
by their names, and four settings follow from them:

    closed         source and target have the same classes
    partial        the target lacks some of the source's
    open           the target has some the source never saw: "unknown"
    open-partial   both

Where there are unknown classes an answer counts as "unknown" when its entropy over log C is above
`protocol.threshold`, for every arm alike; judge by `h_score`. In the other two nothing is rejected
and `accuracy` is plain. In all of them `accuracy` and the metrics of classification are about the
samples of known classes and the largest logit. The last step is measured: nothing is chosen with
target labels. `source_only` (nothing is done) and `shot` (a closed-set method) are added to
compare.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bequeath.methods.family import Family, Settings
from bequeath.metrics.names import NAMES, OPEN_SET


class Protocol(Settings):
    threshold: float = Field(
        0.55,
        ge=0,
        le=1,
        description="w0: an answer whose entropy over log C is above it means `unknown`",
        json_schema_extra={"source": "Qu et al. 2023: w0 of the target's evaluation"},
    )
    setting: Literal["auto", "closed", "partial", "open", "open-partial"] = Field(
        "auto",
        description="which classes source and target share; auto: by their names. Another than the "
        "names show is refused",
        json_schema_extra={"source": "the class-split protocols of universal adaptation"},
    )
    classes: tuple[str, ...] | None = Field(
        None,
        description="names of the source's outputs, in order, where its file does not hold them",
        json_schema_extra={"source": "none: what the user knows"},
    )


FAMILY = Family(
    own="a source model, unlabelled target data",
    get="a model for the target",
    baselines=("source_only", "shot"),
    result="model",
    metrics={**NAMES, **OPEN_SET},
    protocol=Protocol,
)
