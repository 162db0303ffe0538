"""How a metric is said: its name for readers, its unit, and numbers in that unit.

Shares (0 to 1) are read in per cent and their differences in points; everything else is a number
with the unit it was measured in. What the record says holds; a metric that says nothing is known
by its name. Never imports torch.
"""

from __future__ import annotations

import re

from pydantic import Field

from bequeath.evidence.record import POINTS, SHARE, Direction, Metric, Part

# Words in the name of a metric that is a share, as its literature reads it.
_SHARES = frozenset(
    {"accuracy", "f1", "precision", "recall", "ece", "auroc", "agreement", "fidelity", "hits"}
)


class Measure(Part):
    name: str
    label: str = Field(description="its name for readers")
    unit: str = Field(description="`share`, `points`, or what stands behind the number; may be ''")
    direction: Direction = "higher"
    counts: str = Field(default="test samples", description="what was counted, in the plural")

    @property
    def hundredfold(self) -> bool:
        """Whether numbers are written times a hundred: shares, and differences of shares."""
        return self.unit in (SHARE, POINTS)

    @property
    def axis(self) -> str:
        """The label with its unit, as an axis carries it; per cent stand at the ticks."""
        return self.label + (f", {self.unit}" if self.unit not in ("", SHARE) else "")


def measure_of(name: str, metric: Metric | None = None) -> Measure:
    """How the metric `name` is said, from a record's entry of it or from its name alone."""
    label = name.removeprefix("notes.").replace("_", " ")
    if metric is None:
        return Measure(name=name, label=label, unit=unit_of(name, None))
    return Measure(
        name=name,
        label=metric.label or label,
        unit=unit_of(name, metric.unit),
        direction=metric.direction,
        counts=metric.counts,
    )


def unit_of(name: str, unit: str | None) -> str:
    """The unit that was stated; else `share` for names that mean one, and none otherwise."""
    if unit is not None:
        return unit
    return SHARE if _SHARES & set(re.split(r"[^a-z0-9]+", name.lower())) else ""


def figure(value: float, of: Measure) -> str:
    """The bare number as sentences have it, sign kept: 0.018 of a share is `1.8`."""
    if of.unit != SHARE:
        return _plain(value, of)
    points = value * 100
    digits = 1 if abs(points) >= 0.1 or points == 0 else 2
    return f"{points:.{digits}f}".replace("-0.00", "0.00")


def amount(value: float, of: Measure) -> str:
    """The size of a difference: `1.8 points of accuracy`, `0.042 in nll`, `3 ms in latency`."""
    digits = figure(abs(value), of)
    if of.hundredfold:
        return f"{digits} point{'' if digits in ('1', '1.0') else 's'} of {of.label}"
    return f"{digits} {of.unit} in {of.label}".replace("  ", " ")


def level(value: float, of: Measure) -> str:
    """A value as sentences have it: `93.1 %`, `−2.1 points`, `0.042`, `3 ms`."""
    digits = figure(value, of).replace("-", "−")
    return f"{digits} {suffix(of)}".rstrip()


def value(number: float | None, of: Measure, unit: bool = True) -> str:
    """0.9312 of a share -> `93.1 %`; 0.23456 without a unit -> `0.235`."""
    if number is None:
        return "–"
    digits = f"{100 * number:.1f}" if of.unit == SHARE else _plain(number, of)
    return (digits.replace("-", "−") + (f" {suffix(of)}" if unit else "")).rstrip()


def change(number: float | None, of: Measure, unit: bool = False) -> str:
    """A signed difference: points for shares, the metric's own unit otherwise."""
    if number is None:
        return "–"
    text = f"{100 * number:+.1f}" if of.unit == SHARE else _plain(number, of, "+")
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("+-")
    behind = POINTS if of.hundredfold else of.unit
    return (text.replace("-", "−") + (f" {behind}" if unit else "")).rstrip()


def interval(low: float, high: float, of: Measure, signed: bool = False) -> str:
    """`90.1 to 92.0 %`; signed: of a difference, without its unit."""
    if signed:
        return f"{change(low, of)} to {change(high, of)}"
    low, high = within(low, high, of)
    return f"{value(low, of, unit=False)} to {value(high, of)}"


def spread(sd: float, of: Measure) -> str:
    """A standard deviation, without its unit."""
    return f"{100 * sd:.1f}" if of.unit == SHARE else f"{100 * sd if of.unit == POINTS else sd:.2g}"


def within(low: float, high: float, of: Measure) -> tuple[float, float]:
    """An interval of a share, cut to what a share can be (0 to 1)."""
    return (max(low, 0.0), min(high, 1.0)) if of.unit == SHARE else (low, high)


def suffix(of: Measure) -> str:
    """What stands behind a value: `%`, `points`, `ms`, or nothing."""
    return "%" if of.unit == SHARE else of.unit


def _plain(value: float, of: Measure, sign: str = "") -> str:
    """Three digits that count; a regret of 0.0013 is worth saying, an accuracy so fine is not."""
    value = 100 * value if of.unit == POINTS else value
    return f"{value:{sign},.0f}" if abs(value) >= 1000 else f"{value:{sign}.3g}"


__all__ = [
    "Measure", "amount", "change", "figure", "interval", "level", "measure_of", "spread", "suffix",
    "unit_of",
    "value", "within",
]  # fmt: skip
