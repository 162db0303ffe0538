"""`predictions.parquet`: what a model said of every test sample. Never imports torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bequeath.kernel.errors import Problem, RunError
from bequeath.kernel.files import write_whole

PREDICTIONS_FILE = "predictions.parquet"
_COLUMNS: dict[str, Any] = {
    "idx": np.int64,
    "label": np.int64,
    "pred": np.int64,
    "confidence": np.float32,
    "p_label": np.float32,
    "nll": np.float32,
    "correct": np.bool_,
}


@dataclass(frozen=True)
class Predictions:
    """One row a sample, sorted by `idx`. Arrays of length N; probabilities in 0..1, nll in nats."""

    arm: str
    seed: int
    classes: tuple[str, ...]
    idx: np.ndarray
    label: np.ndarray
    pred: np.ndarray
    confidence: np.ndarray
    p_label: np.ndarray
    nll: np.ndarray
    correct: np.ndarray

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in _COLUMNS}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns differ in length: {lengths}")
        if len(np.unique(self.idx)) != len(self.idx):
            raise ValueError("`idx` holds a sample twice")

    def __len__(self) -> int:
        return len(self.idx)


def from_arrays(
    *,
    arm: str,
    seed: int,
    classes: tuple[str, ...],
    idx: Any,
    label: Any,
    pred: Any,
    confidence: Any,
    p_label: Any,
    nll: Any,
) -> Predictions:
    """Predictions from array-likes of length N in any order; `correct` is derived."""
    label, pred = np.asarray(label), np.asarray(pred)
    given = {
        "idx": idx,
        "label": label,
        "pred": pred,
        "confidence": confidence,
        "p_label": p_label,
        "nll": nll,
        "correct": label == pred,
    }
    order = np.argsort(np.asarray(idx), kind="stable")
    columns = {n: np.asarray(given[n], dtype=dtype)[order] for n, dtype in _COLUMNS.items()}
    return Predictions(arm=arm, seed=seed, classes=tuple(classes), **columns)


def save_predictions(predictions: Predictions, folder: Path) -> Path:
    """Write `folder/predictions.parquet`, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({n: np.asarray(getattr(predictions, n), dtype=d) for n, d in _COLUMNS.items()})
    table = table.replace_schema_metadata(
        {
            "arm": predictions.arm,
            "seed": str(predictions.seed),
            "classes": json.dumps(list(predictions.classes), ensure_ascii=False),
        }
    )
    path = folder / PREDICTIONS_FILE
    write_whole(path, lambda part: pq.write_table(table, part, compression="zstd"))
    return path


def load_predictions(folder: Path) -> Predictions:
    """Read `folder/predictions.parquet`, sorted by `idx`. RunError R563 when it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / PREDICTIONS_FILE
    try:
        with path.open("rb") as source:
            table = pq.read_table(source)
        metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        absent = [name for name in _COLUMNS if name not in table.column_names]
        if absent:
            raise ValueError(f"columns are missing: {', '.join(absent)}")
        columns = {
            n: np.ascontiguousarray(table[n].to_numpy(), dtype=d) for n, d in _COLUMNS.items()
        }
        order = np.argsort(columns["idx"], kind="stable")
        return Predictions(
            arm=metadata["arm"],
            seed=int(metadata["seed"]),
            classes=tuple(json.loads(metadata["classes"])),
            **{name: column[order] for name, column in columns.items()},
        )
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise RunError(
            Problem(
                "R563",
                f"`{'/'.join(path.parts[-4:])}` cannot be read",
                label=str(error).splitlines()[0] if str(error) else type(error).__name__,
                remedies=("remove that run's folder and run the job again; the others are kept",),
            )
        ) from error
