"""Jobs on a few digits, and how to look at what they leave."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bequeath.evidence.record import RunRecord, load_record
from bequeath.job.api import load_job
from bequeath.job.job import Job

SECRET = "hunter2-do-not-tell"  # the value of an environment variable during every test
METRICS = ["accuracy", "nll"]
NOTES = ("MODEL_CARD.md", "teacher_cache.json")  # of the whole job, though they lie in a part of it


def plain(**changes: Any) -> dict[str, Any]:
    """A job as a mapping: a student of 8 units beside a fresh teacher of 16."""
    train = {"epochs": 3, "batch_size": 16, "threads": 1, "device": "cpu", "cache": "on"}
    return {
        "want": "distill",
        "method": "kd",
        "models": {"teacher": "zoo:mlp?hidden=16", "student": "zoo:mlp?hidden=8"},
        "data": {
            "train": "sklearn:digits?split=train&take=120",
            "test": "sklearn:digits?split=test&take=60",
        },
        "evaluate": {"metrics": METRICS},
        "seeds": 1,
        **changes,
        "train": {**train, **changes.get("train", {})},
    }


def job(out: Path, **changes: Any) -> Job:
    return load_job(plain(**changes), [f"out={out}"])


def tree(folder: Path, *below: str) -> dict[str, tuple[int, bytes]]:
    """File -> when it was written, and its bytes; of a part, without NOTES."""
    roots = [folder / name for name in below] or [folder]
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.is_file() and not (below and path.name in NOTES)
    }


def record(out: Path, arm: str, seed: int = 0) -> RunRecord:
    return load_record(out / "runs" / arm / f"seed-{seed}")


def result(out: Path, arm: str, seed: int = 0) -> tuple[bytes, dict[str, float], str]:
    """What must not depend on how a run came about: weights, metrics, and what was logged."""
    folder = out / "runs" / arm / f"seed-{seed}"
    metrics = {name: m.value for name, m in record(out, arm, seed).metrics.items()}
    steps = len((folder / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return (folder / "model" / "model.safetensors").read_bytes(), metrics, f"{steps} lines"


def runs(out: Path) -> set[str]:
    return {"/".join(p.parts[-2:]) for p in (out / "runs").glob("*/*")}


def command(*arguments: str) -> subprocess.Popen[str]:
    """The program in a process of its own."""
    source = str(Path(__file__).parents[2] / "src")
    return subprocess.Popen(
        [sys.executable, "-m", "bequeath", *arguments],
        env={**os.environ, "PYTHONPATH": source},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
