"""Every error code: what it means, why it is an error, how to mend it. `bequeath explain CODE`."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """title: one line; why: the reason; fix: what to do."""

    title: str
    why: str
    fix: str


CODES: dict[str, Code] = {}
