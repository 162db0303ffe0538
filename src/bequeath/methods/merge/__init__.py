"""Merging: one model out of several of one architecture, by arithmetic on their weights.

    want: merge
    method: [linear, {name: ties, density: 0.3, weight: {math: 1, code: [0.2, 1]}}]
    models:
      base: {ref: "file:llama"}         # what the others were fine-tuned from
      math: {ref: "file:llama-math"}
      code: {ref: "file:llama-code"}

Models are safetensors files or Hugging Face folders, sharded or not. They are read and written in
parts, so that memory does not grow with the model. Every model that is not `base` is merged, in
the order written; average and arc leave the base out. Nothing is trained. With a labelled data set
`test` that the models can read, the merged model and each of its sources are measured on it.

A mergekit file of these methods is a job too: `bequeath run merge.yml`.

Running statistics of BatchNorm are averaged like weights; a merged network that has them usually
needs them computed anew on some data before it is worth anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bequeath.kernel.errors import Problem
from bequeath.methods.family import Family
from bequeath.metrics.names import NAMES


def problems(job: Any) -> Iterable[Problem]:
    """What headers show: models that cannot be merged, settings that fit no tensor."""
    from bequeath.methods.merge._merge import problems

    return problems(job)


FAMILY = Family(
    own="several models of one architecture",
    get="one model",
    baselines=("linear",),
    reference="*",
    result=None,
    judge="optional",
    metrics=dict(NAMES),
    seeds=1,
    problems=problems,
)
