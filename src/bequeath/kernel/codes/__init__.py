"""Every error code: what it means, why it is an error, how to mend it. `bequeath explain CODE`.

One file for each letter; a code's first letter says where the fault lies.
"""

from __future__ import annotations

from bequeath.kernel.codes import (
    data,
    given,
    job,
    models,
    resources,
    signals,
    training,
    weights,
)
from bequeath.kernel.codes.code import Code

_FILES = (data, given, job, models, resources, signals, training, weights)
CODES: dict[str, Code] = dict(sorted(entry for file in _FILES for entry in file.CODES.items()))

__all__ = ["CODES", "Code"]
