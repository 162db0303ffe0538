"""One error code."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """title: one line; why: the reason; fix: what to do."""

    title: str
    why: str
    fix: str
