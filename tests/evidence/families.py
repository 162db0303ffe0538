"""Made-up `out/` folders of families that are no classifier, through the real writers.

Numbers are drawn from fixed seeds; those a test states exactly are set by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from bequeath.evidence.predictions import from_arrays, save_predictions
from bequeath.evidence.record import RunRecord, save_record

GB = 1_000_000_000


def record(want: str, arm: str, seed: int, **parts: Any) -> RunRecord:
    """A record of a run that measured nothing and made nothing; `parts` replace its parts."""
    raw: dict[str, Any] = {
        "run": {"arm": arm, "method": arm, "want": want, "seed": seed,
                "baseline": parts.pop("baseline", False), "config": parts.pop("config", {})},
        "cost": {"wall_s": 12.2, "cpu_s": 11.0, "peak_rss_bytes": 700_000_000},
        "provenance": {
            "bequeath": "0.1.0", "commit": "5e748fb0c1d2", "dirty": False, "job_hash": "ab" * 16,
            "started": "2026-01-02T03:04:05+00:00", "versions": {"python": "3.11.7"},
            "machine": {"cpu": "A CPU", "cores": 2, "memory_bytes": 8 * GB, "device": "cpu",
                        "os": "Linux 6.1", "threads": 2},
            "models": parts.pop("models", {}), "data": parts.pop("data", {}),
        },
    }  # fmt: skip
    return RunRecord.model_validate(raw | parts)


def add(out: Path, made: RunRecord, idx: Any = None, terms: dict[str, Any] | None = None) -> Path:
    folder = out / "runs" / made.run.arm / f"seed-{made.run.seed}"
    save_record(made, folder)
    if terms is not None:
        arrays = from_arrays(arm=made.run.arm, seed=made.run.seed, idx=idx, terms=terms)
        save_predictions(arrays, folder)
    return folder


def job(out: Path, want: str, methods: list[str], seeds: int, **more: Any) -> None:
    out.mkdir(parents=True, exist_ok=True)
    text = {"want": want, "method": methods, "seeds": seeds, "out": f"runs/{want}", **more}
    (out / "job.yaml").write_text(json.dumps(text), encoding="utf-8")


def embeddings(parameters: int) -> dict[str, Any]:
    return {"architecture": "transe", "parameters": parameters, "bytes": 4 * parameters,
            "hash": "e" * 32}  # fmt: skip


def ranking(out: Path, *, seeds: int = 3, n: int = 800) -> Path:
    """Link prediction: ranks of two arms on the same queries; hits of the tail queries alone."""
    job(out, "ground", ["lemon"], seeds)
    hard = np.random.default_rng(0).gamma(1.1, 9.0, size=n)
    for arm, ease in (("transe", 1.0), ("lemon", 0.62)):
        for seed in range(seeds):
            noise = np.random.default_rng([7, seed, len(arm)]).lognormal(0, 0.2, size=n)
            rank = 1 + np.floor(hard * ease * noise)
            tails = np.arange(n) % 2 == 1
            terms = {
                "mrr": 1 / rank,
                "hits@10": (rank <= 10).astype(float),
                "tail_hits@1": np.where(tails, rank <= 1, np.nan),
            }
            metrics = {
                "mrr": {"label": "mean reciprocal rank"},
                "hits@10": {},
                "tail_hits@1": {"n": n // 2, "counts": "tail queries"},
            }
            made = {
                name: {"value": float(np.nanmean(np.float32(terms[name]))), "direction": "higher",
                       "n": n, "counts": "queries", "terms": True, **more}
                for name, more in metrics.items()
            }  # fmt: skip
            made["amr"] = {"value": float(rank.mean() / 40), "direction": "lower", "n": n,
                           "counts": "queries", "label": "adjusted mean rank"}  # fmt: skip
            one = record(
                "ground", arm, seed, metrics=made, baseline=arm == "transe",
                cost={"wall_s": 40.0, "train_s": 30.0 + 3 * (arm == "lemon"), "cpu_s": 60.0,
                      "peak_rss_bytes": 400_000_000},
                model=embeddings(2_100_000), train={"steps": 900, "epochs": 30, "stopped": "done"},
                data={"graph": {"ref": "pykeen:umls", "hash": "f" * 32, "n": 5216}},
            )  # fmt: skip
            add(out, one, np.arange(n), terms)
    return out


def merge(out: Path, arms: tuple[str, ...] = ("linear",), size: int | None = 1_200_000_000) -> Path:
    """Two models into one, and no test data: nothing is known but size, time and hashes."""
    job(out, "merge", list(arms), 1, models={"a": {"ref": "file:a"}, "b": {"ref": "file:b"}})
    for k, arm in enumerate(arms):
        one = record(
            "merge", arm, 0, config={"weight": 0.5},
            cost={"wall_s": 12.2 + 19 * k, "train_s": 11.8 + 19 * k, "cpu_s": 11.0,
                  "peak_rss_bytes": 700_000_000},
            model={"architecture": "LlamaForCausalLM", "parameters": 600_000_000,
                   "bytes": 1_200_000_000, "hash": "a" * 32},
            models={r: {"ref": f"file:/models/{r}", "hash": r * 32, "licence": "apache-2.0",
                        "bytes": size} for r in "ab"},
        )  # fmt: skip
        folder = add(out, one)
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text("{}", encoding="utf-8")
    return out


TASKS = 5


def continual(out: Path, *, seeds: int = 3) -> Path:
    """An accuracy matrix a run: accuracy on task j after learning task i, null before."""
    job(out, "continual", ["exssnet"], seeds)
    for arm, keep in (("finetune", 0.72), ("exssnet", 1.0)):
        for seed in range(seeds):
            rng = np.random.default_rng([3, seed, len(arm)])
            fresh = 0.9 + 0.03 * rng.random(TASKS)
            matrix = [[float(fresh[j] * keep ** (i - j)) if j <= i else None
                       for j in range(TASKS)] for i in range(TASKS)]  # fmt: skip
            last = [float(v or 0.0) for v in matrix[-1]]
            moved = [last[j] - float(matrix[j][j] or 0.0) for j in range(TASKS - 1)]
            metrics = {
                "acc": {"value": float(np.mean(last)), "direction": "higher", "n": TASKS,
                        "counts": "tasks", "unit": "share", "label": "average accuracy"},
                "bwt": {"value": float(np.mean(moved)), "direction": "higher", "n": TASKS - 1,
                        "counts": "tasks", "unit": "points", "label": "backward transfer"},
            }  # fmt: skip
            table = {
                "title": "Accuracy on each task, after each task", "kind": "matrix",
                "columns": [f"task {j + 1}" for j in range(TASKS)], "rows": matrix,
                "row_names": [f"after task {i + 1}" for i in range(TASKS)], "unit": "share",
                "direction": "higher", "note": "Rows are time: what was known after each task.",
            }  # fmt: skip
            mean = [float(np.mean([v for v in row if v is not None])) for row in matrix]
            curve = {"x": list(range(1, TASKS + 1)), "y": mean, "x_label": "tasks learnt",
                     "y_label": "average accuracy", "unit": "share"}  # fmt: skip
            one = record(
                "continual", arm, seed, metrics=metrics, baseline=arm == "finetune",
                tables={"accuracy_matrix": table}, curves={"average_accuracy": curve},
                cost={"wall_s": 70.0, "train_s": 60.0, "cpu_s": 90.0, "peak_rss_bytes": GB},
                model={"architecture": "zoo:mlp", "parameters": 330_000, "bytes": 1_320_000,
                       "hash": "c" * 32, "latency_ms": 0.2},
                train={"steps": 5000, "epochs": 50, "stopped": "done"},
            )  # fmt: skip
            add(out, one)
    return out


def search(out: Path, *, seeds: int = 5, queries: int = 300) -> Path:
    """Regret after each query, and the architectures found; no model and no training at all."""
    job(out, "search", ["robot"], seeds)
    for arm, rate in (("random", 0.35), ("robot", 0.9)):
        for seed in range(seeds):
            rng = np.random.default_rng([5, seed, len(arm)])
            steps = np.arange(1, queries + 1)
            noisy = 0.3 * steps**-rate * np.exp(0.15 * rng.normal(size=queries))
            regret = np.minimum.accumulate(noisy)
            series = {"best possible": [0.0] * queries} if arm == "none" else {}
            one = record(
                "search", arm, seed, baseline=arm == "random",
                metrics={"regret": {"value": float(regret[-1]), "direction": "lower", "n": queries,
                                    "counts": "queries", "unit": "points"}},
                curves={"regret": {"x": steps.tolist(), "y": regret.tolist(),
                                   "x_label": "architectures queried", "y_label": "simple regret",
                                   "unit": "points", "x_log": True, "y_log": True,
                                   "series": series}},
                tables={"found": {"columns": ["architecture", "queries", "regret"], "rows": [
                    ["|nor_conv_3x3~0|+|skip~0|nor_conv_1x1~1|", 20, float(regret[19])],
                    ["|nor_conv_3x3~0|+|nor_conv_3x3~0|skip~1|", queries, float(regret[-1])]]}},
                cost={"wall_s": 4.0 if arm == "robot" else 0.1,
                      "train_s": 3.9 if arm == "robot" else 0.05, "cpu_s": 4.0,
                      "peak_rss_bytes": 200_000_000},
            )  # fmt: skip
            folder = add(out, one)
            (folder / "architecture.json").write_text("{}", encoding="utf-8")
    return out


__all__ = ["add", "continual", "merge", "ranking", "record", "search"]
