"""The record of one run: `record.json`, read and written whole. Never imports torch.

A run folder is `out/runs/<arm>/seed-<s>/`; a model measured as it came is
`out/references/<role>/`. The schema below is the contract with every reader outside bequeath:
a change that an old reader would misunderstand raises `SCHEMA_VERSION`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bequeath.kernel.errors import Problem, RunError, dotted
from bequeath.kernel.files import write_json

SCHEMA_VERSION = 1
RECORD_FILE = "record.json"

Direction = Literal["higher", "lower"]


class Part(BaseModel):
    """Base of every part of a record: unknown keys and non-finite numbers are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Run(Part):
    arm: str = Field(description="the arm's label in the comparison")
    method: str = Field(description="the method's name, or `as it came` for a reference")
    want: str = Field(description="the family, e.g. distill")
    config: dict[str, Any] = Field(default_factory=dict, description="the method's settings")
    seed: int = Field(ge=0)
    baseline: bool = Field(default=False, description="added to answer: was it worth it?")


class Metric(Part):
    value: float
    direction: Direction = Field(description="which way is better")
    n: int = Field(ge=0, description="samples measured")


class Cache(Part):
    hit: bool = Field(description="the teacher's answers were there before the run")
    saved_s: float = Field(description="seconds of teacher time saved")
    bytes: int = Field(ge=0, description="size of the cache on disk")


class Cost(Part):
    wall_s: float = Field(ge=0, description="seconds from start to stored predictions")
    train_s: float = Field(ge=0, description="seconds of the method alone")
    cpu_s: float = Field(ge=0, description="processor seconds, all threads")
    peak_rss_bytes: int = Field(ge=0)
    peak_device_bytes: int | None = Field(default=None, ge=0)
    cache: Cache | None = None


class Model(Part):
    architecture: str
    parameters: int = Field(ge=0)
    bytes: int = Field(ge=0, description="size of the weights on disk")
    latency_ms: float = Field(ge=0, description="milliseconds for one sample")
    latency_batch_ms: float = Field(ge=0, description="milliseconds for a batch of `batch`")
    batch: int = Field(ge=1)
    hash: str


class Machine(Part):
    cpu: str
    cores: int = Field(ge=1)
    memory_bytes: int = Field(ge=0)
    device: str
    os: str
    threads: int = Field(ge=1)


class ModelSource(Part):
    ref: str
    hash: str | None = None
    licence: str | None = None


class DataSource(Part):
    ref: str
    hash: str | None = None
    n: int | None = Field(default=None, ge=0)


class Provenance(Part):
    bequeath: str = Field(description="version")
    commit: str | None = Field(default=None, description="git commit; null when installed")
    dirty: bool | None = Field(default=None, description="the checkout's source had changes")
    job_hash: str
    started: str = Field(description="ISO 8601, UTC")
    versions: dict[str, str] = Field(default_factory=dict)
    machine: Machine
    models: dict[str, ModelSource] = Field(default_factory=dict)
    data: dict[str, DataSource] = Field(default_factory=dict)


class Seal(Part):
    declared: dict[str, Any] = Field(default_factory=dict, description="what it was allowed to see")
    attempts: list[str] = Field(default_factory=list, description="what it reached for beyond that")


class Training(Part):
    steps: int = Field(ge=0)
    epochs: float = Field(ge=0)
    stopped: Literal["done", "budget"]


class RunRecord(Part):
    """Everything a reader needs to know of one run."""

    schema_version: int = SCHEMA_VERSION
    run: Run
    metrics: dict[str, Metric]
    cost: Cost
    model: Model
    provenance: Provenance
    seal: Seal = Field(default_factory=Seal)
    train: Training | None = None
    notes: dict[str, Any] = Field(default_factory=dict)


def save_record(record: RunRecord, folder: Path) -> Path:
    """Write `folder/record.json`, whole or not at all."""
    path = folder / RECORD_FILE
    write_json(path, record.model_dump(mode="json"))
    return path


def load_record(folder: Path) -> RunRecord:
    """Read `folder/record.json`. RunError R561 (unreadable) or R562 (another schema version)."""
    path = folder / RECORD_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunError(_unreadable(path, str(error))) from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version != SCHEMA_VERSION:
        raise RunError(
            Problem(
                "R562",
                f"`{_short(path)}` is written in record schema {version}; "
                f"this bequeath reads schema {SCHEMA_VERSION}",
                remedies=(
                    "install the bequeath that wrote it"
                    if version > SCHEMA_VERSION
                    else "run the job again with `--fresh`",
                ),
            )
        )
    try:
        return RunRecord.model_validate(raw)
    except ValidationError as error:
        notes = tuple(f"{dotted(e['loc'])}: {e['msg']}" for e in error.errors()[:8])
        raise RunError(_unreadable(path, "it is not a run record", notes)) from error


def find_runs(out: Path) -> list[Path]:
    """The complete run folders of `out`, by arm, then seed. Unfinished folders are hidden ones."""
    found = [path.parent for path in (out / "runs").glob(f"*/seed-*/{RECORD_FILE}")]
    return sorted(
        (f for f in found if not f.name.startswith(".") and not f.parent.name.startswith(".")),
        key=lambda folder: (folder.parent.name, _seed_of(folder), folder.name),
    )


def find_references(out: Path) -> list[Path]:
    """Folders of the models measured as they came, by role."""
    found = (path.parent for path in (out / "references").glob(f"*/{RECORD_FILE}"))
    return sorted(f for f in found if not f.name.startswith("."))


def load_records(folders: Iterable[Path]) -> list[RunRecord]:
    return [load_record(folder) for folder in folders]


def record_schema() -> dict[str, Any]:
    """The JSON Schema of `record.json`."""
    schema = RunRecord.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "bequeath run record"
    return schema


def _seed_of(folder: Path) -> int:
    text = folder.name.removeprefix("seed-")
    return int(text) if text.isdigit() else -1


def _short(path: Path) -> str:
    return "/".join(path.parts[-4:])


def _unreadable(path: Path, why: str, notes: tuple[str, ...] = ()) -> Problem:
    return Problem(
        "R561",
        f"`{_short(path)}` cannot be read",
        label=why,
        notes=notes,
        remedies=("remove that run's folder and run the job again; the other runs are kept",),
    )
