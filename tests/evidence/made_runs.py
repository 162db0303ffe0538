"""Run folders made from a matrix of right and wrong answers, through the real writers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bequeath.evidence.predictions import from_arrays, save_predictions
from bequeath.evidence.record import RunRecord, save_record

CLASSES = ("cat", "dog", "owl")


def labels(n: int) -> np.ndarray:
    return np.arange(n) % len(CLASSES)


def record(arm: str, seed: int, accuracy: float, n: int, **changes: Any) -> RunRecord:
    """A whole record; `metrics`, `notes`, `train_s`, `baseline` may be changed."""
    metrics = {"accuracy": {"value": accuracy, "direction": "higher", "n": n}}
    metrics |= changes.get("metrics", {})
    return RunRecord.model_validate(
        {
            "run": {"arm": arm, "method": arm, "want": "distill", "seed": seed, "config": {},
                    "baseline": changes.get("baseline", False)},
            "metrics": metrics,
            "cost": {"wall_s": 3.0, "train_s": changes.get("train_s", 2.0), "cpu_s": 2.5,
                     "peak_rss_bytes": 10**8, "cache": changes.get("cache")},
            "model": {"architecture": "zoo:mlp", "parameters": changes.get("parameters", 1000),
                      "bytes": 4000, "latency_ms": 0.1, "latency_batch_ms": 1.0, "batch": 64,
                      "hash": "00"},
            "provenance": {"bequeath": "0.1.0", "commit": "abc", "dirty": False, "job_hash": "jj",
                           "started": "2026-01-01T00:00:00+00:00", "versions": {"python": "3.11"},
                           "machine": {"cpu": "a cpu", "cores": 2, "memory_bytes": 8,
                                       "device": "cpu", "os": "Linux", "threads": 1}},
            "notes": changes.get("notes", {}),
        }
    )  # fmt: skip


def add_run(folder: Path, arm: str, seed: int, correct: np.ndarray, **changes: Any) -> Path:
    n = len(correct)
    label = labels(n)
    p = np.where(correct, 0.9, 0.2)
    save_record(record(arm, seed, float(correct.mean()), n, **changes), folder)
    save_predictions(
        from_arrays(
            arm=arm,
            seed=seed,
            idx=np.arange(n) * 2 + 5,
            answers={
                "classes": CLASSES,
                "label": label,
                "pred": np.where(correct, label, (label + 1) % 3),
                "confidence": np.where(correct, 0.9, 0.8),
                "p_label": p,
                "nll": -np.log(p),
            },
        ),
        folder,
    )
    return folder


def add_arm(out: Path, arm: str, correct: np.ndarray, **changes: Any) -> None:
    """`correct`: bool [S, N]; seeds are 0..S-1."""
    for seed, row in enumerate(correct):
        add_run(out / "runs" / arm / f"seed-{seed}", arm, seed, row, **changes)


def answers(rate: float, seeds: int, n: int, *, stream: int, spread: float = 0.0) -> np.ndarray:
    """bool [S, N]: samples share a difficulty over arms and seeds; `rate` are right on average."""
    hard = np.random.default_rng(0).uniform(size=n)
    rng = np.random.default_rng(stream)
    level = rate + spread * rng.normal(size=(seeds, 1))
    return hard[None, :] + 0.03 * rng.normal(size=(seeds, n)) < level
