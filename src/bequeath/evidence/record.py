"""The record of one run: `record.json`, read and written whole. Never imports torch.

Nothing in it says "classifier": a run may have no model (a selection of data), no metric (a merge
without test data), metrics of any name, and tables and curves that only its family understands.

A run folder is `out/runs/<arm>/seed-<s>/`; a model measured as it came is
`out/references/<role>/`. The schema below is the contract with every reader outside bequeath:
a change that an old reader would misunderstand raises `SCHEMA_VERSION`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bequeath.kernel.errors import Problem, RunError, dotted
from bequeath.kernel.files import write_json
from bequeath.kernel.read_json import parse_json, read_small

SCHEMA_VERSION = 1
RECORD_FILE = "record.json"
SHARE = "share"
POINTS = "points"
MOST_CELLS = 50_000

Direction = Literal["higher", "lower"]
Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f]+$")]
Words = Annotated[str, Field(max_length=200)]
Unit = Annotated[
    str | None,
    Field(
        max_length=24,
        description="`share`: 0 to 1, read in per cent; `points`: a difference of shares; other "
        "text stands behind the number; null: known by the metric's name, or none",
    ),
]


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
    n: int = Field(ge=0, description="how many were measured")
    counts: str = Field(
        default="test samples", max_length=40, description="what `n` counts, in the plural"
    )
    unit: Unit = None
    label: Words | None = Field(default=None, description="its name for readers")
    terms: bool = Field(default=False, description="predictions.parquet holds its per-sample terms")


class Cache(Part):
    hit: bool = Field(description="the teacher's answers were there before the run")
    saved_s: float = Field(description="seconds of teacher time saved")
    bytes: int = Field(ge=0, description="size of the cache on disk")


class Cost(Part):
    wall_s: float = Field(ge=0, description="seconds from start to stored predictions")
    train_s: float | None = Field(default=None, ge=0, description="seconds of the method alone")
    cpu_s: float = Field(ge=0, description="processor seconds, all threads")
    peak_rss_bytes: int = Field(ge=0)
    peak_device_bytes: int | None = Field(default=None, ge=0)
    cache: Cache | None = None


class Model(Part):
    architecture: str
    parameters: int = Field(ge=0)
    bytes: int = Field(ge=0, description="size of the weights on disk")
    hash: str
    latency_ms: float | None = Field(default=None, ge=0, description="milliseconds, one sample")
    latency_batch_ms: float | None = Field(
        default=None, ge=0, description="milliseconds for a batch of `batch`"
    )
    batch: int | None = Field(default=None, ge=1)


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
    bytes: int | None = Field(default=None, ge=0, description="size of its weights on disk")


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


class Together(Part):
    """Of a run whose seeds were trained as one batched model."""

    runs: int = Field(ge=2, description="how many seeds trained as one")
    difference: float | None = Field(
        default=None, ge=0, description="largest difference of a gradient from the seed's own"
    )
    tolerance: float | None = Field(default=None, ge=0, description="the difference allowed")
    faster: float | None = Field(
        default=None, ge=0, description="steps a second, as a multiple of one by one"
    )
    alone_s: float | None = Field(
        default=None, ge=0, description="seconds of a step of every seed, one by one, in the trial"
    )
    together_s: float | None = Field(default=None, ge=0, description="the same of a step of all")
    wall_s: float = Field(ge=0, description="its share of the time; `cost` holds it too")
    cpu_s: float = Field(ge=0, description="its share of the processor seconds; in `cost` too")
    peak_rss_bytes: int = Field(ge=0, description="of all of them; nobody had a share of it alone")
    peak_device_bytes: int | None = Field(default=None, ge=0)
    cache_s: float = Field(default=0.0, description="its share of the teacher time saved")


class Alone(Part):
    """Of a run that might have trained with other seeds as one batched model, and did not."""

    runs: int = Field(ge=2, description="how many seeds there were")
    why: str = Field(max_length=1_000)
    difference: float | None = Field(
        default=None, ge=0, description="largest difference of a gradient from the seed's own"
    )
    tolerance: float | None = Field(default=None, ge=0, description="the difference allowed")
    alone_s: float | None = Field(
        default=None, ge=0, description="seconds of a step of every seed, one by one, in the trial"
    )
    together_s: float | None = Field(default=None, ge=0, description="the same of a step of all")


class Training(Part):
    steps: int = Field(ge=0)
    epochs: float = Field(ge=0)
    stopped: Literal["done", "budget"]
    processes: int = Field(default=1, ge=1, description="that shared each step's gradient")
    step_samples: int | None = Field(
        default=None, ge=1, description="samples of a step: of all its passes and processes"
    )
    together: Together | None = Field(default=None, description="null: trained by itself")
    alone: Alone | None = Field(
        default=None, description="null: trained as one, or nothing to train with was there"
    )


class Table(Part):
    """A table that a protocol leaves for its readers: an accuracy matrix, a plan, an inventory.

    A `matrix` has numbers (or gaps) only, all in one unit; the report shades it. Cells at the same
    place are averaged over the seeds where they are numbers.
    """

    columns: list[Words] = Field(min_length=1, max_length=200)
    rows: list[list[float | Words | None]] = Field(max_length=2_000)
    row_names: list[Words] = Field(default_factory=list, description="one a row, or none")
    kind: Literal["table", "matrix"] = "table"
    title: Words = ""
    note: str = Field(default="", max_length=1_000, description="what a reader must know of it")
    unit: Unit = None
    direction: Direction | None = None

    @model_validator(mode="after")
    def _regular(self) -> Table:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError("every row has one cell a column")
        if self.row_names and len(self.row_names) != len(self.rows):
            raise ValueError("`row_names` is empty or has one name a row")
        if self.kind == "matrix" and any(isinstance(c, str) for row in self.rows for c in row):
            raise ValueError("a matrix holds numbers and nulls only")
        return self

    @property
    def cells(self) -> int:
        return len(self.rows) * len(self.columns)


class Curve(Part):
    """One quantity over another: regret over queries, accuracy over tasks.

    y: the run's own line over `x`; null is a gap. series: further lines over the same `x` within
    this run (a bound, a prediction), by name.
    """

    x: list[float] = Field(min_length=1, max_length=10_000)
    y: list[float | None]
    x_label: Words
    y_label: Words
    series: dict[Name, list[float | None]] = Field(default_factory=dict, max_length=12)
    title: Words = ""
    note: str = Field(default="", max_length=1_000, description="what a reader must know of it")
    unit: Unit = None
    x_log: bool = False
    y_log: bool = False

    @model_validator(mode="after")
    def _regular(self) -> Curve:
        if any(len(line) != len(self.x) for line in (self.y, *self.series.values())):
            raise ValueError("`y` and every series have one value for each `x`")
        return self

    @property
    def cells(self) -> int:
        return len(self.x) * (2 + len(self.series))


class RunRecord(Part):
    """Everything a reader needs to know of one run."""

    schema_version: int = SCHEMA_VERSION
    run: Run
    metrics: dict[Name, Metric] = Field(default_factory=dict, max_length=200)
    cost: Cost
    model: Model | None = Field(default=None, description="null when no model came out")
    provenance: Provenance
    seal: Seal = Field(default_factory=Seal)
    train: Training | None = None
    tables: dict[Name, Table] = Field(default_factory=dict, max_length=20)
    curves: dict[Name, Curve] = Field(default_factory=dict, max_length=50)
    notes: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _bounded(self) -> RunRecord:
        held = sum(t.cells for t in self.tables.values())
        if held + sum(c.cells for c in self.curves.values()) > MOST_CELLS:
            raise ValueError(
                f"tables and curves hold more than {MOST_CELLS:,} numbers; a record is read "
                "whole, so leave larger things as files beside it"
            )
        return self


def save_record(record: RunRecord, folder: Path) -> Path:
    """Write `folder/record.json`, whole or not at all."""
    path = folder / RECORD_FILE
    write_json(path, record.model_dump(mode="json"))
    return path


def load_record(folder: Path) -> RunRecord:
    """Read `folder/record.json`. RunError R561 (unreadable) or R562 (another schema version)."""
    path = folder / RECORD_FILE
    try:
        raw = parse_json(read_small(path))
    except (OSError, ValueError) as error:
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
