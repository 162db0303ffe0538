"""One small job of each of several kinds, made in a folder of its own, and what must be the same.

A sandbox holds what a run may write to: `out` (the job's folder), `cache` (the teachers' answers)
and `tmp`. The models that a job starts from lie beside it, in `owned`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file, save, save_file

from bequeath.blocks.diffusion.generator import walking
from bequeath.evidence.card import card
from bequeath.evidence.inputs import read_inputs
from bequeath.evidence.report.build import twin
from bequeath.given.data import data_handle
from bequeath.given.models import model_handle

RUN = ("run", "job.yaml", "--quiet")
DIGITS = "sklearn:digits?as=image&split="
TRAIN = {
    "epochs": 2, "batch_size": 16, "threads": 1, "device": "cpu", "checkpoint_every": 0.001,
}  # fmt: skip

JOBS: dict[str, dict[str, Any]] = {
    "kd": {  # one fit, and a teacher whose answers are kept
        "want": "distill",
        "method": "kd",
        "models": {"teacher": "zoo:mlp?hidden=16", "student": "zoo:mlp?hidden=8"},
        "data": {
            "train": "sklearn:digits?split=train&take=60",
            "test": "sklearn:digits?split=test&take=40",
        },
        "evaluate": {"metrics": ["accuracy", "nll"]},
        "train": {"cache": "on"},
    },
    "exssnet": {  # a stream of tasks, a fit for each, measured in between
        "want": "continual",
        "method": "exssnet",
        "protocol": {"stream": "permuted", "tasks": 3},
        "models": {"model": "zoo:mlp?hidden=16"},
        "data": {"train": f"{DIGITS}train&take=60", "test": f"{DIGITS}test&take=40"},
        "baselines": False,
    },
    "ties": {  # no fit: weights streamed from files to files
        "want": "merge",
        "method": "ties",
        "models": {name: f"file:../owned/{name}.safetensors" for name in ("base", "a", "b")},
        "baselines": False,
    },
    "acu": {  # no gradient: sums in closed form, beside a model retrained without
        "want": "unlearn",
        "method": "acu",
        "data": {
            "train": "sklearn:digits?split=train&take=120",
            "test": "sklearn:digits?split=test&take=60",
        },
        "protocol": {
            "tasks": 2,
            "requests": [{"samples": 10, "times": 2}],
            "head": {"width": 20},
            "shadows": 2,
        },
        "evaluate": {"metrics": ["gold_gap", "agreement", "accuracy"]},
    },
    "shot": {  # a source adapted without labels
        "want": "adapt",
        "method": "shot",
        "models": {"source": {"ref": "zoo:mlp?hidden=16,8", "classes": 10}},
        "protocol": {"classes": [str(k) for k in range(10)]},
        "data": {
            "target": "sklearn:digits?split=train&labels=false&take=60",
            "test": "sklearn:digits?split=test&take=40",
        },
    },
    "lemon": {  # a graph, a text encoder, and a folder that the method itself fills
        "want": "ground",
        "method": {"name": "lemon", "encoder": "tfidf", "clusters": 4, "nearest": 1},
        "graphs": {"kg": {"ref": "pykeen:nations", "text": "names"}},
        "protocol": {"model": "transe", "dim": 8, "negatives": 2},
        "train": {"epochs": 1, "batch_size": 512},
        "baselines": False,
    },
    "er": {  # old samples drawn from a memory that no checkpoint holds, beside two baselines
        "want": "continual",
        "method": {"name": "er", "memory": 20},
        "protocol": {"stream": "split", "tasks": 3},
        "models": {"model": "zoo:mlp?hidden=16"},
        "data": {"train": f"{DIGITS}train&take=60", "test": f"{DIGITS}test&take=40"},
    },
    "boot": {  # no data: batches of noise, samples drawn and judged by another model
        "want": "generate",
        "method": "boot",
        "models": {"teacher": "file:../owned/teacher", "judge": "file:../owned/judge"},
        "data": {"test": f"{DIGITS}test&take=40"},
        "protocol": {"samples": 40, "walk": 4, "steps": 2},
        "evaluate": {"metrics": ["frechet", "trajectory_error", "precision"]},
        "train": {"epochs": None, "steps": 6},
    },
}


def sandbox(home: Path, name: str, **changes: Any) -> Path:
    """A folder with `job.yaml`; -> the folder. What it starts from is in `owned`, beside it."""
    for part in ("cache", "tmp"):
        (home / part).mkdir(parents=True)
    job = {"seeds": 1, "out": "out", **JOBS[name], **changes}
    train = {**TRAIN, **job.get("train", {})}
    job["train"] = {key: value for key, value in train.items() if value is not None}
    owned = home.parent / "owned"
    with (home / "job.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(job, file)
    if name in OWNED and not owned.exists():  # by place and time such files are known
        owned.mkdir()
        OWNED[name](owned)
    return home


def _tensors(owned: Path) -> None:
    for i, model in enumerate(("base", "a", "b")):
        g = torch.Generator().manual_seed(i)
        tensors = {f"layers.{k}.w": torch.randn(40, 30, generator=g) for k in range(3)}
        save_file(tensors, owned / f"{model}.safetensors")


def _models(owned: Path) -> None:
    """A diffusion model and a classifier, of fresh weights."""
    data = data_handle("test", f"{DIGITS}test&take=40").load()
    how = {"data": data, "seed": 0, "device": torch.device("cpu")}
    teacher = model_handle("teacher", "zoo:denoiser?width=16&layers=1").load(**how)
    walking(teacher, sampler="ddim", steps=2).save(owned / "teacher")
    model_handle("judge", "zoo:lenet").load(n_classes=10, **how).save(owned / "judge")


OWNED: dict[str, Callable[[Path], None]] = {"ties": _tensors, "boot": _models}


# What two runs of one job may differ in: when they ran, how long it took, how much memory they had,
# and whether the teacher's answers were there already. Nothing else.
COST = {"latency_ms", "latency_batch_ms", "seconds_per_sample"}
CLOCK = {"seconds", "throughput", "speedup"}
FIXED = {
    "cost": {"wall_s": 1.0, "train_s": 1.0, "cpu_s": 1.0, "peak_rss_bytes": 1},
    "started": "2026-01-01T00:00:00+00:00",
}
REPORTS = {"report.html", "report.json", "MODEL_CARD.md"}
OF_ITSELF = {".bequeath", ".bequeath-lock", ".bequeath-report-lock", "teacher_cache.json"}


def result(home: Path) -> dict[str, bytes]:
    """File -> bytes of everything a job left in `out`, but for FIXED, COST and CLOCK.

    The reports are made anew from the rest, so that they are compared as far as they can be.
    """
    out = home / "timeless" / "out"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(home / "out", out)
    for path in out.rglob("record.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(_timeless(record), allow_nan=False), encoding="utf-8")
    for path in out.rglob("log.jsonl"):
        lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        kept = [{k: v for k, v in line.items() if k not in CLOCK} for line in lines]
        path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
    for path in out.rglob("gold.safetensors"):
        tensors = {k: v for k, v in load_file(path).items() if k not in CLOCK}
        path.write_bytes(save(dict(sorted(tensors.items()))))
    found = {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in OF_ITSELF
    }
    inputs = read_inputs(out)
    said = {"MODEL_CARD.md": card(inputs), "report.json": json.dumps(twin(inputs))}
    made = {name: Path(name).name for name in found if Path(name).name in REPORTS}
    anew = {name: said.get(kind, "").encode() for name, kind in made.items()}
    return found | anew


def _timeless(value: Any) -> Any:
    if isinstance(value, list):
        return [_timeless(one) for one in value]
    if not isinstance(value, dict):
        return value
    if "seconds" in (columns := value.get("columns", ())):
        at = columns.index("seconds")
        value = {**value, "rows": [[*row[:at], None, *row[at + 1 :]] for row in value["rows"]]}
    kept: dict[str, Any] = {}
    for key, one in value.items():
        if key in FIXED:
            kept[key] = FIXED[key]
        elif key in COST or key in CLOCK or "_seconds" in key:
            continue
        else:
            kept[key] = _timeless(one)
    return kept


def unlike(found: dict[str, bytes], wanted: dict[str, bytes]) -> list[str]:
    """The files in which two results differ, or that one of them lacks."""
    return sorted(n for n in {*found, *wanted} if found.get(n) != wanted.get(n))


def files(home: Path) -> Iterator[Path]:
    for part in ("out", "cache", "tmp"):
        yield from (p for p in (home / part).rglob("*") if p.is_file())


# Worth stealing, in the environment of every run.
CANARY = "canary-7f3a91-do-not-tell"
SECRETS = {
    "HF_TOKEN": CANARY,
    "HUGGING_FACE_HUB_TOKEN": CANARY,
    "WANDB_API_KEY": CANARY,
    "AWS_SECRET_ACCESS_KEY": CANARY,
    "GITHUB_TOKEN": CANARY,
    "MY_PASSWORD": CANARY,
    "HTTPS_PROXY": f"http://me:{CANARY}@proxy.example:3128",
}
