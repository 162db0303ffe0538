"""Jobs of a second whose data attack: what their protocols tell of them is what a report shows.

Names of classes, texts, prefixes and addresses are hostile before a run, so each family's own
protocol carries them into its records; `hostile.of_family` attacks what else is text afterwards.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bequeath.blocks.diffusion.generator import walking
from bequeath.evidence.report import build
from bequeath.fleet import evaluate, run_job
from bequeath.given.data import data_handle
from bequeath.given.models import model_handle
from bequeath.job.api import load_job

EACH = 10  # samples of a class
TRAIN = {"epochs": 1, "batch_size": 32, "threads": 1, "device": "cpu"}


def table(path: Path, classes: Sequence[str]) -> str:
    """Four numbers and a class of each sample; -> how a job refers to a part of it."""
    rng = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["a", "b", "c", "d", "label"])
        for i in range(EACH * len(classes)):
            k = i % len(classes)
            lines.writerow([*(rng.normal(size=4) + np.sin([k, 2 * k, 3 * k, 4 * k])), classes[k]])
    return f"csv:{path}?split="


def ran(out: Path, **job: Any) -> Path:
    """The folder of the job, done; its report, which will be made anew, without pictures."""
    pictures = ("cost", "differences", "curves", "flips", "classes", "left")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "LATENCY_SECONDS", 0.0)
        patch.setattr(build, "_figures", lambda inputs: {name: [] for name in pictures})
        return run_job(load_job({"seeds": 1, **job, "train": TRAIN}, [f"out={out}"]), quiet=True)


def adapt(out: Path, attacks: Sequence[str]) -> Path:
    data = table(out.parent / "<b>t.csv", attacks)
    source = [attack.replace("${", "$") for attack in sorted(attacks)]  # a variable, in a job
    return ran(
        out,
        want="adapt",
        method="shot",
        models={"source": {"ref": "zoo:mlp?hidden=8,4", "classes": len(attacks)}},
        protocol={"classes": [*source[1:], "</td><script>window.hit=11</script>"]},
        data={"target": f"{data}train&labels=false", "test": f"{data}test"},
    )


def unlearn(out: Path, attacks: Sequence[str]) -> Path:
    data = table(out.parent / "<b>t.csv", attacks)
    return ran(
        out,
        want="unlearn",
        method=["acu", "retrain"],
        baselines=False,
        data={"train": f"{data}train", "test": f"{data}test"},
        protocol={
            "tasks": 2,
            "requests": [{"samples": 5}, {"classes": [sorted(attacks)[1]]}],
            "head": {"width": 8},
            "shadows": 2,
        },
        evaluate={"metrics": ["gold_gap", "accuracy"]},
    )


def select(out: Path, attacks: Sequence[str]) -> Path:
    data = table(out.parent / "<b>t.csv", attacks).replace("?", "?val_size=0.2&")
    return ran(
        out,
        want="select",
        method="mixture_law",
        models={"model": "zoo:mlp?hidden=4"},
        data={"low": f"{data}train", "high": f"{data}train", "validation": f"{data}val",
              "test": f"{data}test"},
        protocol={"size": 20, "pilot": 20, "sizes": [8, 16], "step": 0.25, "repeats": 1,
                  "held_out": 0.8, "skew": {"low": {"classes": [*range(8)]},
                                            "high": {"classes": [*range(8, len(attacks))]}}},
    )  # fmt: skip


def generate(out: Path, attacks: Sequence[str]) -> Path:
    data = table(out.parent / "<b>t.csv", attacks)
    owned = out.parent / "owned"
    samples = data_handle("test", f"{data}train").load()
    how = {"data": samples, "seed": 0, "device": torch.device("cpu")}
    walking(
        model_handle("teacher", "zoo:denoiser?width=8&layers=1").load(**how),
        sampler="ddim",
        steps=2,
    ).save(owned / "teacher")
    judge = model_handle("judge", "zoo:mlp?hidden=8").load(n_classes=len(attacks), **how)
    judge.save(owned / "judge")
    return ran(
        out,
        want="generate",
        method="boot",
        models={"teacher": f"file:{owned / 'teacher'}", "judge": f"file:{owned / 'judge'}"},
        data={"test": f"{data}test"},
        protocol={"samples": 20, "walk": 2, "steps": 2},
        evaluate={"metrics": ["frechet", "precision"]},
    )


def audit(out: Path, attacks: Sequence[str]) -> Path:
    """A fresh model is asked about canaries with hostile prefixes."""
    home = out.parent
    home.mkdir(parents=True, exist_ok=True)
    with (home / "canaries.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["prefix", "secret", "repeat"])
        lines.writerows(
            [f"{attack[:20]} ", f"{10 + i}", 1 + i % 3] for i, attack in enumerate(attacks)
        )
    (home / "text.txt").write_text("\n\n".join(a.replace("\n", " ") for a in attacks), "utf-8")
    (home / "other.txt").write_text("\n\n".join(a[::-1].strip() for a in attacks), "utf-8")
    hidden = {"canaries": f"canaries:{home / 'canaries.csv'}"}
    texts = data_handle("train", f"text:{home / 'text.txt'}", hidden).load()
    model = model_handle("m", "zoo:gpt?layers=1&width=8&heads=1&context=32").load(data=texts)
    model.save(home / "gpt")
    return ran(
        out,
        want="audit",
        method=[{"name": "exposure", "as": "one", "model": "one"}],
        models={"one": f"file:{home / 'gpt'}"},
        data={
            **hidden,
            "members": f"text:{home / 'text.txt'}?take=6",
            "nonmembers": f"text:{home / 'other.txt'}",
        },
    )


MADE: dict[str, Callable[[Path, Sequence[str]], Path]] = {
    "adapt": adapt, "unlearn": unlearn, "select": select, "generate": generate, "audit": audit,
}  # fmt: skip
