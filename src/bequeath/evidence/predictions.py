"""`predictions.parquet`: what is known of every single sample. Never imports torch.

One row a sample (a query, a canary: whatever a metric is a mean over), sorted by `idx`. A column
`term_<metric>` for each metric that is such a mean; null where a sample does not count in it (the
accuracy on known classes says nothing of an unknown one). A classifier adds its answers: `label`,
`pred`, `confidence`, `p_label`, `nll`, `correct`. A run with none of these has no such file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bequeath.kernel.errors import Problem, RunError
from bequeath.kernel.files import write_whole

PREDICTIONS_FILE = "predictions.parquet"
TERM = "term_"
_ANSWERS: dict[str, Any] = {
    "label": np.int64,
    "pred": np.int64,
    "confidence": np.float32,
    "p_label": np.float32,
    "nll": np.float32,
}

# Metrics whose terms a classifier's answers hold anyway.
_SAID = {"accuracy": "correct", "nll": "nll"}


@dataclass(frozen=True)
class Answers:
    """What a classifier said of N samples: probabilities in 0..1, nll in nats."""

    classes: tuple[str, ...]
    label: np.ndarray
    pred: np.ndarray
    confidence: np.ndarray
    p_label: np.ndarray
    nll: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """bool [N]."""
        return self.label == self.pred


@dataclass(frozen=True)
class Predictions:
    """One row a sample, sorted by `idx`, int64 [N].

    terms: metric -> float32 [N] whose mean over the numbers is the metric; NaN where a sample does
    not count in it.
    """

    arm: str
    seed: int
    idx: np.ndarray
    terms: Mapping[str, np.ndarray] = field(default_factory=dict)
    answers: Answers | None = None

    def __post_init__(self) -> None:
        lengths = {"idx": len(self.idx), **{m: len(t) for m, t in self.terms.items()}}
        if self.answers is not None:
            lengths |= {name: len(getattr(self.answers, name)) for name in _ANSWERS}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns differ in length: {lengths}")
        if len(np.unique(self.idx)) != len(self.idx):
            raise ValueError("`idx` holds a sample twice")
        for metric, values in self.terms.items():
            if np.isinf(values).any() or np.isnan(values).all():
                raise ValueError(f"the terms of `{metric}` are infinite, or none is a number")

    def __len__(self) -> int:
        return len(self.idx)

    @property
    def metrics(self) -> list[str]:
        """The metrics whose terms are here."""
        return list(dict.fromkeys([*self.terms, *(_SAID if self.answers is not None else ())]))

    def term(self, metric: str) -> np.ndarray | None:
        """The terms of `metric`, [N]; a classifier's answers hold those of accuracy and nll."""
        found = self.terms.get(metric)
        if found is None and self.answers is not None and metric in _SAID:
            found = getattr(self.answers, _SAID[metric])
        return found


def from_arrays(
    *,
    arm: str,
    seed: int,
    idx: Any,
    terms: Mapping[str, Any] | None = None,
    answers: Mapping[str, Any] | None = None,
) -> Predictions:
    """Predictions from array-likes of length N in any order.

    terms: metric -> [N], NaN where a sample does not count. answers: `classes` and the columns
    `label`, `pred`, `confidence`, `p_label`, `nll` of a classifier. ValueError when lengths differ,
    a sample comes twice, or a term is infinite.
    """
    idx = np.asarray(idx, dtype=np.int64)
    order = np.argsort(idx, kind="stable")

    def column(name: str, values: Any, dtype: Any) -> np.ndarray:
        found = np.asarray(values, dtype=dtype)
        if found.shape != idx.shape:
            raise ValueError(f"`{name}` is {list(found.shape)} in length, `idx` {list(idx.shape)}")
        return found[order]

    said = None
    if answers is not None:
        columns = {n: column(n, answers[n], d) for n, d in _ANSWERS.items()}
        said = Answers(classes=tuple(answers["classes"]), **columns)
    measured = {m: column(m, t, np.float32) for m, t in (terms or {}).items()}
    return Predictions(arm=arm, seed=seed, idx=idx[order], terms=measured, answers=said)


def save_predictions(predictions: Predictions, folder: Path) -> Path | None:
    """Write `folder/predictions.parquet`, whole or not at all; None: there is nothing to write."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    answers = predictions.answers
    if answers is None and not predictions.terms:
        return None
    columns: dict[str, Any] = {"idx": predictions.idx}
    metadata = {"arm": predictions.arm, "seed": str(predictions.seed)}
    if answers is not None:
        columns |= {name: getattr(answers, name) for name in _ANSWERS}
        columns["correct"] = answers.correct
        metadata["classes"] = json.dumps(list(answers.classes), ensure_ascii=False)
    for metric, values in predictions.terms.items():
        columns[TERM + metric] = pa.array(values, mask=np.isnan(values))
    table = pa.table(columns).replace_schema_metadata(metadata)
    path = folder / PREDICTIONS_FILE
    write_whole(path, lambda part: pq.write_table(table, part, compression="zstd"))
    return path


def has_predictions(folder: Path) -> bool:
    return (folder / PREDICTIONS_FILE).exists()


def load_predictions(folder: Path) -> Predictions:
    """Read `folder/predictions.parquet`, sorted by `idx`. RunError R563 when it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / PREDICTIONS_FILE
    try:
        with path.open("rb") as source:
            table = pq.read_table(source)
        metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        names = table.column_names
        absent = [n for n in _ANSWERS if n not in names]
        if 0 < len(absent) < len(_ANSWERS):
            raise ValueError(f"columns are missing: {', '.join(absent)}")
        columns = {n: table[n].to_numpy() for n in names}
        return from_arrays(
            arm=metadata["arm"],
            seed=int(metadata["seed"]),
            idx=columns["idx"],
            terms={n.removeprefix(TERM): columns[n] for n in names if n.startswith(TERM)},
            answers=None if absent else columns | {"classes": json.loads(metadata["classes"])},
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
