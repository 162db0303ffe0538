"""The metrics a job may name under `evaluate.metrics`, and which way is better. No torch here."""

from __future__ import annotations

from typing import Literal

Direction = Literal["higher", "lower"]

NAMES: dict[str, Direction] = {
    "accuracy": "higher",
    "top5_accuracy": "higher",
    "balanced_accuracy": "higher",
    "macro_f1": "higher",
    "nll": "lower",
    "ece": "lower",
    "brier": "lower",
}
