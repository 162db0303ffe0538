"""What a teacher is asked for, by names that say where in the model it is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bequeath.blocks.taps import Tap
from bequeath.kernel.errors import JobError, Problem
from bequeath.kernel.files import digest

LOGITS, EMBEDDING = "logits", "embedding"
TOP = ("top.log_p", "top.index", "top.log_rest")  # of the k likeliest words, and of all others

Features = Sequence[str] | Mapping[str, Tap]


def taps_of(features: Features, facts: Any) -> dict[str, Tap]:
    """Where each feature is read: `embedding` before the classifier, a path behind its module.

    JobError S707 for the embedding of a model whose classifier is not known. ValueError for a
    feature called `logits`: that is what the model answers itself.
    """
    if LOGITS in features:
        raise ValueError(f"`{LOGITS}` are the model's answers; give the feature another name")
    if isinstance(features, Mapping):
        return dict(features)
    taps = {}
    for name in features:
        if name != EMBEDDING:
            taps[name] = Tap(name, "output")
        elif facts.head is None:
            raise JobError(
                Problem(
                    "S707",
                    "the teacher's classifier could not be found, so its embedding is not known",
                    at=("models", "teacher"),
                    remedies=("name the module: `head: path.of.the.classifier`",),
                )
            )
        else:
            taps[name] = Tap(facts.head, "input")
    return taps


def kept_as(taps: Mapping[str, Tap], top_k: int = 0) -> dict[str, str]:
    """Output of a Signal -> its name in a cache. Two features read at one place share it.

    top_k: 0 where all logits are asked for.
    """
    words = {name: f"{name}@{top_k}" for name in TOP} if top_k else {LOGITS: LOGITS}
    return words | {name: _name(name, tap) for name, tap in taps.items()}


def _name(feature: str, tap: Tap) -> str:
    """Readable where the path is plain; otherwise a digest keeps it apart from its likes.

    Capitals count as not plain: there are file systems that take `A` and `a` for the same.
    """
    settings = ((key, getattr(tap, key)) for key in ("index", "all", "clone"))
    more = [f"{key}={value}" for key, value in settings if value is not None and value is not False]
    # the embedding is flattened, so it is not the same as a tap at the same place
    what = EMBEDDING if feature == EMBEDDING else "tap"
    text = "=".join([f"{what}@{tap.path}.{tap.side}", *more])
    if re.fullmatch(r"[a-z0-9@._=]{1,80}", text):
        return text
    return f"{re.sub(r'[^A-Za-z0-9@._]', '_', text)[:50]}-{digest(text)[:12]}"
