"""`pool:FILE`: candidates with cheap metrics and an objective, a row each."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bequeath.given.data_schemes import py
from bequeath.given.data_schemes.parquet import (
    fits,
    parquet_file,
    parquet_names,
    parquet_table,
    unreadable,
)
from bequeath.given.data_schemes.source import (
    Found,
    fail,
    listed,
    local,
    memory_limit,
    missing_path,
    near,
    rows_named,
)
from bequeath.kernel.errors import JobError, Problem
from bequeath.kernel.files import digest, read_most

if TYPE_CHECKING:
    import numpy as np

    from bequeath.given.pool import PoolSamples

IDS = ("id", "name", "arch")
CODE = "py:"


def find(rest: str, options: Any) -> Found:
    """The file is there and its header has the columns; a Parquet file is looked at when read."""
    path = local(rest)
    if problem := missing_path(path, folder=False):
        return Found("pool", problems=[problem])
    problems = []
    if _computed(options):
        found = py.find(options.objective[len(CODE) :], None).problems
        problems += [replace(problem, at=("objective",)) for problem in found]
    if path.suffix != ".parquet":
        try:
            problems += column_problems(_header(path), options)
        except JobError as error:
            problems += error.problems
    return Found("pool", problems=problems)


def read(rest: str, options: Any) -> PoolSamples:
    """JobError: D202 (no table), D204 (columns), D205 (empty), D208 (gaps in the objective or the
    report), D213 (no numbers), G463 (two candidates of one name)."""
    import numpy as np

    from bequeath.given.pool import PoolSamples

    path = local(rest)
    if problems := find(rest, options).problems:
        raise JobError(problems)
    table = _table(path, options)
    if problems := column_problems(table.column_names, options):
        raise JobError(problems)
    if table.num_rows == 0:
        fail("D205", f"`{path}` is empty: a header, but no rows")
    ids = _ids(table, options)
    scale = 0.01 if options.percent else 1.0
    objective: Any
    if _computed(options):
        objective = py.callable_of(*py.target_of(options.objective[len(CODE) :]))
    else:
        objective = scale * _whole(table, _objective(options), "objective")
    metrics = [_numbers(table, name, "metrics") for name in options.metrics]
    return PoolSamples(
        ids=ids,
        names=tuple(options.metrics),
        metrics=np.stack(metrics, axis=1) if metrics else np.empty((len(ids), 0)),
        signs=np.array([-1.0 if name in options.lower else 1.0 for name in options.metrics]),
        objective=objective,
        report={name: scale * _whole(table, name, "report") for name in options.report},
        better=options.better,
        unit="share" if options.percent else None,
        space=options.space,
        code=options.objective if _computed(options) else "",
        code_hash=_code_hash(options) if _computed(options) else "",
    )


def column_problems(names: list[str], options: Any) -> list[Problem]:
    """D204 for every column that is asked for and not there, or asked for twice over."""
    problems = []
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        problems.append(Problem("D204", f"two columns are called `{twice[0]}`", at=("ref",)))
    wanted = [] if _computed(options) else [("objective", _objective(options))]
    wanted += [("id", options.id)] if options.id is not None else []
    wanted += [("metrics", name) for name in options.metrics]
    wanted += [("report", name) for name in options.report]
    for option, name in wanted:
        if name not in names:
            asked = getattr(options, option) is not None  # the default is nowhere in the job
            problems.append(_no_column(name, option, names, at=(option,) if asked else ()))
    sealed = {_objective(options), *options.report}
    for name in options.metrics:
        if name in sealed and name in names:
            message = f"`{name}` cannot be a metric: it is what the search is judged by"
            problems.append(Problem("D204", message, at=("metrics",)))
    for name in options.lower:
        if name not in options.metrics:
            label = near(name, options.metrics) or f"the metrics are {listed(options.metrics)}"
            message = f"`lower` names `{name}`, which is no metric"
            problems.append(Problem("D204", message, at=("lower",), label=label))
    return problems


def _no_column(name: str, option: str, names: list[str], at: tuple[str, ...]) -> Problem:
    return Problem(
        "D204",
        f"there is no column `{name}`",
        at=at,
        label=near(name, names) or f"say `{option}: NAME`",
        notes=(f"the columns are {listed(names)}",),
        remedies=(f"say `{option}: NAME`",),
    )


def _objective(options: Any) -> str:
    return options.objective or "objective"


def _computed(options: Any) -> bool:
    return options.objective is not None and options.objective.startswith(CODE)


def _code_hash(options: Any) -> str:
    where, _ = py.target_of(options.objective[len(CODE) :])
    return digest(where.read_bytes()) if isinstance(where, Path) else ""


def _separator(path: Path) -> str:
    return "\t" if ".tsv" in path.suffixes else ","


def _header(path: Path) -> list[str]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            text = file.read(1_000_000).decode("utf-8-sig", "ignore")
        names = next(csv.reader(io.StringIO(text), delimiter=_separator(path)), [])
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        fail("D202", f"`{path}` cannot be read as a table", notes=(str(error),))
    if not [name for name in names if name.strip()]:
        fail("D205", f"`{path}` is empty: it has no header")
    return names


def _table(path: Path, options: Any) -> Any:
    import pyarrow as pa
    from pyarrow import csv as arrow

    if path.suffix == ".parquet":
        with parquet_file(path) as file:
            parquet_names(file, path)
            return parquet_table(file, path, options, None)
    limit = memory_limit(options)
    try:
        with path.open("rb") as raw:
            unpacked: Any = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            data = read_most(unpacked, limit)
        return arrow.read_csv(
            pa.BufferReader(data),
            parse_options=arrow.ParseOptions(delimiter=_separator(path)),
            convert_options=arrow.ConvertOptions(
                null_values=["", "NA", "N/A", "NaN", "nan", "null", "NULL"]
            ),
        )
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        unreadable(path, error)
    except ValueError:
        fits(limit + 1, path, options)


def _ids(table: Any, options: Any) -> tuple[str, ...]:
    column = options.id or next((name for name in IDS if name in table.column_names), None)
    if column is None:
        return tuple(str(i) for i in range(table.num_rows))
    ids = tuple(str(value) for value in table[column].to_pylist())
    if twice := [name for name, count in Counter(ids).items() if count > 1]:
        fail(
            "G463",
            f"{len(twice)} names of candidates stand in more than one row",
            notes=(f"the first is `{twice[0]}`, in column `{column}`",),
            remedies=("keep one row a candidate", "or name another column with `id`"),
        )
    return ids


def _whole(table: Any, name: str, option: str) -> np.ndarray:
    """A column without gaps."""
    import numpy as np

    values = _numbers(table, name, option)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        fail(
            "D208",
            f"column `{name}` has no finite number for {len(bad)} of {len(values)} candidates",
            at=("ref",),
            notes=(f"{rows_named(bad.tolist())} (the first is 0)",),
            remedies=("fill the gaps or take these candidates out",),
        )
    return values


def _numbers(table: Any, name: str, option: str) -> np.ndarray:
    """float64 [N], NaN for gaps."""
    import numpy as np
    import pyarrow as pa

    column = table[name]
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    if not any(test(column.type) for test in kinds):
        fail("D213", f"column `{name}` holds {column.type}, not numbers", at=(option,))
    return column.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)
