"""Numbers and names as the report and the card write them. Plain text; escaping is the page's."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from bequeath.kernel.units import show_seconds, show_size

_JOINERS = "\u200c\u200d"  # part of the spelling in some scripts
_SHARES = ("accuracy", "f1", "precision", "recall", "ece", "top", "auroc", "agreement", "fidelity")


def is_share(metric: str) -> bool:
    """Whether a metric is a share (0..1) that people read as a percentage."""
    return any(part in metric.lower() for part in _SHARES)


def value(number: float | None, metric: str, unit: bool = True) -> str:
    """0.9312 of `accuracy` -> `93.1 %`; 0.23456 of `nll` -> `0.235`."""
    if number is None:
        return "–"
    if is_share(metric):
        return f"{100 * number:.1f}" + (" %" if unit else "")
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:,.0f}"


def change(number: float | None, metric: str, unit: bool = False) -> str:
    """A signed difference: points for shares, the metric's own unit otherwise."""
    if number is None:
        return "–"
    share = is_share(metric)
    text = f"{100 * number:+.1f}" if share else f"{number:+.3g}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−") + (" points" if unit and share else "")


def interval(low: float, high: float, metric: str, signed: bool = False) -> str:
    show = change if signed else value
    if signed:
        return f"{show(low, metric)} to {show(high, metric)}"
    low, high = within(low, high, metric)
    return f"{show(low, metric, unit=False)} to {show(high, metric)}"


def within(low: float, high: float, metric: str) -> tuple[float, float]:
    """An interval of a share, cut to what a share can be (0 to 1)."""
    return (max(low, 0.0), min(high, 1.0)) if is_share(metric) else (low, high)


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


def milliseconds(number: float) -> str:
    if number <= 0:
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
        return ", ".join(f"{key} {flat(item)}" for key, item in value.items()) or "–"
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
    "change", "clean", "count", "flat", "interval", "is_share", "milliseconds", "p_value",
    "show_seconds", "show_size", "times", "value", "within",
]  # fmt: skip
