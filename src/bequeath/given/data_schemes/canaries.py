"""`canaries:digits` and `canaries:FILE.csv`: the secrets an audit looks for in a model."""

from __future__ import annotations

from typing import Any

from bequeath.given import canaries
from bequeath.given.data_schemes.source import Found, Raw
from bequeath.kernel.errors import JobError


def find(rest: str, options: Any) -> Found:
    try:
        return Found("text", len(canaries.canaries_of(rest, options)))
    except JobError as error:
        return Found(problems=error.problems)


def read(rest: str, options: Any) -> Raw:
    """Texts, and of each its `prefix`, `secret`, `alphabet` and `repeat` beside it."""
    found = canaries.canaries_of(rest, options)
    columns = {
        name: [getattr(canary, name) for canary in found]
        for name in ("prefix", "secret", "alphabet", "repeat")
    }
    return Raw("text", [canary.text for canary in found], columns=columns)
