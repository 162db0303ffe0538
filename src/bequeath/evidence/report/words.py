"""Numbers and names as the report and the card write them. Plain text; escaping is the page's."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from bequeath.kernel.units import show_seconds, show_size

_JOINERS = "\u200c\u200d"  # part of the spelling in some scripts


def p_value(p: float | None) -> str:
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def count(number: float) -> str:
    """4810 -> `4.81 k`; 25_600_000 -> `25.6 M`."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.3g} {unit}"
    return f"{number:g}"


def milliseconds(number: float | None) -> str:
    if number is None or number <= 0:
        return "–"
    if number < 0.1:
        return f"{1000 * number:.3g} µs"
    return f"{number:.3g} ms" if number < 1000 else show_seconds(number / 1000)


def times(ratio: float) -> str:
    """A ratio below one as a fraction of it: 0.0925 -> `1/11 of`; 2.5 -> `2.5 x`."""
    if ratio <= 0:
        return "–"
    if ratio < 0.67:
        return f"1/{1 / ratio:.2g}" if ratio > 0.01 else f"1/{1 / ratio:,.0f}"
    return f"{ratio:.2g} ×" if ratio < 10 else f"{ratio:,.0f} ×"


def flat(value: Any) -> str:
    """Nested settings on one line: `temperature 4.0, weight 0.9`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{clean(str(key))} {flat(item)}" for key, item in value.items()) or "–"
    if isinstance(value, list | tuple):
        return " ".join(flat(item) for item in value) or "–"
    return clean(str(value))


def clean(text: str, length: int = 200) -> str:
    """A name from outside without what would disturb a line: control and direction characters."""
    kept = "".join(
        " " if unicodedata.category(c) in ("Cc", "Zl", "Zp")
        else "" if unicodedata.category(c) in ("Cf", "Cs", "Co") and c not in _JOINERS
        else c
        for c in text
    )  # fmt: skip
    return kept if len(kept) <= length else kept[: length - 1] + "…"


__all__ = [
    "clean", "count", "flat", "milliseconds", "p_value", "show_seconds", "show_size", "times",
]  # fmt: skip
