"""A made-up `out/` folder: arms x seeds with logs and predictions, a teacher, model folders.

The numbers are drawn from a fixed seed: every sample has a difficulty shared by all arms, so that
arms are paired as real ones are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bequeath.kernel.files import digest

QUALITY = {"ce": 0.0, "kd": 0.55, "nd": 0.85, "dkd": 0.6}
TERMS = {"ce": ["ce"], "kd": ["ce", "kd"], "nd": ["ce", "kd", "nd"], "dkd": ["ce", "tckd", "nckd"]}
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def make_out(
    out: Path,
    *,
    arms: Sequence[str] = ("ce", "kd", "nd"),
    seeds: int = 3,
    n: int = 600,
    classes: Sequence[str] = DIGITS,
    teacher: bool = True,
    steps: int = 200,
    baseline: str | None = "ce",
) -> Path:
    """Write the folder and return it."""
    rng = np.random.default_rng(7)
    k = len(classes)
    label = rng.integers(0, k, n)
    rival = (label + 1 + rng.integers(0, max(1, k - 1), n)) % k
    hard = rng.normal(size=n) + 0.25 * np.sin(label)
    job = _job(arms, seeds, baseline)
    out.mkdir(parents=True, exist_ok=True)
    (out / "job.yaml").write_text(json.dumps(job), encoding="utf-8")  # JSON is YAML
    for position, arm in enumerate(arms):
        for seed in range(seeds):
            folder = out / "runs" / arm / f"seed-{seed}"
            skill = 1.05 + QUALITY.get(arm, 0.3) + 0.05 * rng.normal()
            p = 1 / (1 + np.exp(-2.2 * (skill - hard + 0.35 * rng.normal(size=n))))
            _predictions(folder, arm, seed, classes, label, rival, p)
            record = _record(arm, seed, p, 4810, 1.1 + 0.4 * position + 0.05 * seed, n)
            record["run"]["baseline"] = arm == baseline
            _write(folder / "record.json", record)
            _log(folder / "log.jsonl", TERMS.get(arm, ["ce", "kd"]), steps, rng)
            _model(folder / "model", classes)
    if teacher:
        p = 1 / (1 + np.exp(-2.2 * (2.2 - hard)))
        folder = out / "references" / "teacher"
        _predictions(folder, "teacher", 0, classes, label, rival, p)
        record = _record("teacher", 0, p, 52_000, 0.0, n)
        record["run"] |= {"method": "reference", "baseline": False}
        record["train"] = None
        record["model"] |= {"architecture": "zoo:mlp", "latency_ms": 0.21, "bytes": 208_000}
        _write(folder / "record.json", record)
    return out


def _job(arms: Sequence[str], seeds: int, baseline: str | None) -> dict[str, Any]:
    return {
        "want": "distill",
        "method": [{"name": arm} for arm in arms if arm != baseline] or [{"name": arms[0]}],
        "models": {"teacher": {"ref": "file:teacher/"}, "student": {"ref": "zoo:mlp?hidden=48"}},
        "data": {"train": {"ref": "sklearn:digits?split=train"},
                 "test": {"ref": "sklearn:digits?split=test"}},
        "seeds": seeds,
        "evaluate": {"data": "test", "metrics": ["accuracy", "nll"], "margin": 0.01},
        "out": "runs/digits",
    }  # fmt: skip


def _record(
    arm: str, seed: int, p: np.ndarray, parameters: int, train_s: float, n: int
) -> dict[str, Any]:
    cached = arm not in ("ce", "teacher")
    return {
        "schema_version": 1,
        "run": {"arm": arm, "method": arm, "want": "distill", "seed": seed, "baseline": False,
                "config": {"temperature": 4.0, "weight": 0.9} if cached else {}},
        "metrics": {
            "accuracy": {"value": float((p >= 0.5).mean()), "direction": "higher", "n": n},
            "nll": {"value": float(-np.log(np.clip(p, 1e-6, 1)).mean()), "direction": "lower",
                    "n": n},
        },
        "cost": {"wall_s": train_s + 0.4, "train_s": train_s, "cpu_s": 1.9 * train_s,
                 "peak_rss_bytes": 512_000_000 + 1_000_000 * seed, "peak_device_bytes": None,
                 "cache": {"hit": seed > 0, "saved_s": 3.2, "bytes": 1_200_000} if cached
                 else None},
        "model": {"architecture": "zoo:mlp", "parameters": parameters, "bytes": 4 * parameters,
                  "latency_ms": 0.06, "latency_batch_ms": 0.9, "batch": 128,
                  "hash": digest(arm, str(seed))},
        "provenance": {
            "bequeath": "0.1.0", "commit": "5e748fb0c1d2", "dirty": True, "job_hash": "ab" * 16,
            "started": "2026-01-02T03:04:05+00:00",
            "versions": {"python": "3.11.7", "torch": "2.6.0", "numpy": "2.1.0"},
            "machine": {"cpu": "A CPU", "cores": 2, "memory_bytes": 8_000_000_000,
                        "device": "cpu", "os": "Linux 6.1", "threads": 2},
            "models": {"teacher": {"ref": "file:teacher/", "hash": "c" * 32, "licence": "mit"},
                       "student": {"ref": "zoo:mlp?hidden=48", "hash": "d" * 32,
                                   "licence": "apache-2.0"}},
            "data": {"train": {"ref": "sklearn:digits?split=train", "hash": "e" * 32, "n": 1257},
                     "test": {"ref": "sklearn:digits?split=test", "hash": "f" * 32, "n": n}},
        },
        "seal": {"declared": {"models": {"teacher": {"access": "logits", "trains": False},
                                         "student": {"access": "weights", "trains": True}},
                              "data": {"train": {"labels": "all"}}, "graphs": []}, "attempts": []},
        "train": {"steps": 200, "epochs": 20, "stopped": "done"},
        "notes": {"norm_ratio": 1.2},
    }  # fmt: skip


def _predictions(
    folder: Path,
    arm: str,
    seed: int,
    classes: Sequence[str],
    label: np.ndarray,
    rival: np.ndarray,
    p: np.ndarray,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pred = np.where(p >= 0.5, label, rival)
    columns: Mapping[str, Any] = {
        "idx": np.arange(len(label), dtype=np.int64),
        "label": label.astype(np.int64),
        "pred": pred.astype(np.int64),
        "confidence": np.maximum(p, 1 - p).astype(np.float32),
        "p_label": p.astype(np.float32),
        "nll": -np.log(np.clip(p, 1e-6, 1)).astype(np.float32),
        "correct": pred == label,
    }
    table = pa.table(dict(columns)).replace_schema_metadata(
        {"arm": arm, "seed": str(seed), "classes": json.dumps(list(classes))}
    )
    pq.write_table(table, folder / "predictions.parquet")


def _log(path: Path, terms: Sequence[str], steps: int, rng: np.random.Generator) -> None:
    lines = []
    for step in range(0, steps + 1, 5):
        fall = np.exp(-3 * step / max(1, steps))
        raw = [0.15 + (2.2 - 0.5 * t) * fall + 0.04 * rng.random() for t in range(len(terms))]
        weights = [r * (1 + 0.4 * t) for t, r in enumerate(raw)]
        lines.append(
            {"step": step, "epoch": step / 10, "seconds": step * 0.01, "lr": 1e-3,
             "loss": sum(raw), "throughput": 9000.0,
             "terms": {name: {"value": value, "share": weight / sum(weights)}
                       for name, value, weight in zip(terms, raw, weights)}}
        )  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _model(folder: Path, classes: Sequence[str]) -> None:
    _write(
        folder / "bequeath.json",
        {"scheme": "zoo", "name": "mlp", "kwargs": {"hidden": [48]}, "classes": list(classes),
         "kind": "vector", "licence": None,
         "load": "import torch\nfrom safetensors.torch import load_file\n"
                 "from architecture import mlp\n"
                 "model = mlp(hidden=[48])\nmodel.load_state_dict(load_file('model.safetensors'))"},
    )  # fmt: skip


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
