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

# Where some samples are of classes the model never learnt: see `metrics.open_set`.
OPEN_SET: dict[str, Direction] = {
    "h_score": "higher",
    "known_accuracy": "higher",
    "unknown_accuracy": "higher",
    "unknown_auroc": "higher",
}
