"""`csv:FILE` and `parquet:FILE`: a column of classes beside columns of numbers, or of text."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

from bequeath.given.data_schemes.parquet import (
    fits,
    parquet_file,
    parquet_names,
    parquet_table,
    unreadable,
)
from bequeath.given.data_schemes.source import (
    Found,
    Raw,
    fail,
    listed,
    local,
    missing_path,
    near,
    rows_named,
)
from bequeath.kernel.errors import JobError, Problem

LABELS = ("label", "class", "y", "target")


def find_csv(rest: str, options: Any) -> Found:
    path = local(rest)
    if problem := missing_path(path, folder=False):
        return Found(problems=[problem])
    try:
        names = _header(path, options.sep)
        _, features, text = columns(names, options)
    except JobError as error:
        return Found(problems=error.problems)
    shape = (len(features),) if features and len(features) > 1 else None
    return Found("text" if text is not None else "vector", shape=shape)


def find_parquet(rest: str, options: Any) -> Found:
    """The magic bytes at both ends; columns are looked at when the file is read."""
    path = local(rest)
    problem = missing_path(path, folder=False)
    if problem is None:
        with path.open("rb") as file:
            first = file.read(4)
            file.seek(max(0, path.stat().st_size - 4))
            if first != b"PAR1" or file.read(4) != b"PAR1":
                problem = Problem(
                    "D202",
                    f"`{path}` is not a whole Parquet file",
                    at=("ref",),
                    notes=("such a file begins and ends with PAR1",),
                    remedies=("copy or write it again",),
                )
    return Found("text" if options.text else "vector", problems=[problem] if problem else [])


def read_csv(rest: str, options: Any) -> Raw:
    import pyarrow as pa
    from pyarrow import csv as arrow

    path = local(rest)
    if problem := missing_path(path, folder=False):
        raise JobError(problem)
    label, features, text = columns(_header(path, options.sep), options)
    fits(path.stat().st_size, path, options)
    wanted = [name for name in (label, text, *(features or ())) if name is not None]
    # A text or a class name like `NA` is what it says; an empty cell has no value.
    texts = {text: pa.string()} if text is not None else {}
    try:
        table = arrow.read_csv(
            path,
            read_options=arrow.ReadOptions(block_size=min(2**31 - 1, path.stat().st_size + 1)),
            parse_options=arrow.ParseOptions(delimiter=options.sep, newlines_in_values=True),
            convert_options=arrow.ConvertOptions(
                include_columns=wanted if features or text else None,
                column_types=texts,
                null_values=["", "NA", "N/A", "NaN", "nan", "null", "NULL"],
                strings_can_be_null=False,
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        unreadable(path, error)
    return _raw(table, label, features, text, path)


def read_parquet(rest: str, options: Any) -> Raw:
    path = local(rest)
    if problems := find_parquet(rest, options).problems:
        raise JobError(problems)
    with parquet_file(path) as file:
        label, features, text = columns(parquet_names(file, path), options)
        wanted = [name for name in (label, text, *(features or ())) if name is not None]
        table = parquet_table(file, path, options, wanted if features or text else None)
    return _raw(table, label, features, text, path)


def columns(names: list[str], options: Any) -> tuple[str | None, list[str] | None, str | None]:
    """The columns of the label (None: no labels), of numbers (None: find by type) and of text.

    Raises JobError (D204) with all that are missing.
    """
    problems = []
    label = options.label
    if label is None:
        label = next((name for name in LABELS if name in names), None)
        if label is None and options.labels:
            problems.append(_no_column("label", "label", names))
    elif label not in names:
        problems.append(_no_column(label, "label", names))
    if options.text is not None and options.text not in names:
        problems.append(_no_column(options.text, "text", names))
    if options.text is not None and options.features is not None:
        message = "`text` and `features` exclude each other"
        problems.append(Problem("D204", message, at=("features",)))
    for name in options.features or ():
        if name not in names:
            problems.append(_no_column(name, "features", names))
        elif name == label:
            message = f"column `{name}` is the label; it cannot be a feature too"
            problems.append(Problem("D204", message, at=("features",)))
    if problems:
        raise JobError(problems)
    if options.text is not None:
        return label, [], options.text
    return label, list(options.features) if options.features else None, None


def _no_column(name: str, option: str, names: list[str]) -> Problem:
    remedies = [f"say `{option}: NAME`"]
    if option == "label":
        remedies.append("or `labels: false` for data without labels")
    return Problem(
        "D204",
        f"there is no column `{name}`",
        at=(option,),
        label=near(name, names),
        notes=(f"the columns are {listed(names)}",),
        remedies=tuple(remedies),
    )


def _header(path: Path, sep: str) -> list[str]:
    """Column names: the first record, which may hold quoted line breaks (at most 1 MB is read)."""
    try:
        with path.open("rb") as file:
            start = file.read(1_000_000)
        text = start.decode("utf-8-sig", "strict" if len(start) < 1_000_000 else "ignore")
        names = next(csv.reader(io.StringIO(text), delimiter=sep), [])
    except (UnicodeDecodeError, csv.Error) as error:
        fail(
            "D202",
            f"`{path}` cannot be read as a table",
            notes=(f"{error}",),
            remedies=("save it as UTF-8 text",),
        )
    if not [name for name in names if name.strip()]:
        fail("D205", f"`{path}` is empty: it has no header")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        fail("D204", f"two columns of `{path}` are called `{twice[0]}`")
    return names


def _raw(
    table: Any, label: str | None, features: list[str] | None, text: str | None, path: Path
) -> Raw:
    import pyarrow as pa

    if table.num_rows == 0:
        fail("D205", f"`{path}` is empty: a header, but no rows")
    y = table[label].to_pylist() if label is not None else None
    if y is not None and pa.types.is_decimal(table[label].type):
        y = table[label].cast(pa.float64()).to_numpy()
    if y is not None and pa.types.is_floating(table[label].type):
        y = table[label].to_numpy()
    if text is not None:
        return Raw("text", _texts(table[text], text), y)
    if features is None:
        others = [name for name in table.column_names if name != label]
        features = [name for name in others if _numeric(table[name].type)]
        for name in set(others) - set(features):
            _refuse_stray(table[name], name)
        if not features:
            fail(
                "D204",
                f"no column of `{path}` holds numbers",
                notes=(f"besides the label there are {listed(others) or 'none'}",),
                remedies=("name a column of text with `text: NAME`",),
            )
    return Raw("vector", _matrix(table, features), y)


def _matrix(table: Any, features: list[str]) -> Any:
    """float32 [N, D] of numeric columns, or of one column of equally long lists. Null is NaN."""
    import numpy as np
    import pyarrow as pa

    kind = table[features[0]].type
    if len(features) == 1 and (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)):
        if not _numeric(kind.value_type):
            message = f"column `{features[0]}` holds {kind}, not lists of numbers"
            fail("D213", message, at=("features",))
        rows = table[features[0]].to_pylist()
        wrong = [i for i, row in enumerate(rows) if row is None or len(row) != len(rows[0] or ())]
        if wrong or not rows[0]:
            message = f"the lists in column `{features[0]}` are not of one length"
            fail("D213", message, at=("features",), notes=(rows_named(wrong),))
        return np.array(rows, dtype=np.float32)
    for name in features:
        if not _numeric(table[name].type):
            message = f"column `{name}` holds {table[name].type}, not numbers"
            stray = _strays(table[name])[:3]
            fail("D213", message, at=("features",), notes=_told(stray))
    matrix = np.empty((table.num_rows, len(features)), dtype=np.float32)
    with np.errstate(over="ignore"):
        for i, name in enumerate(features):
            matrix[:, i] = table[name].cast(pa.float64(), safe=False).to_numpy()
    return matrix


def _strays(column: Any) -> list[tuple[int, str]]:
    """Rows and cells that are no number."""
    found = []
    for i, value in enumerate(column.to_pylist()):
        try:
            float(value if value is not None else "nan")
        except (TypeError, ValueError):
            found.append((i, _text(value)))
    return found


def _told(strays: list[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(f"row {i} (the first is 0): `{text[:40]}`" for i, text in strays)


def _refuse_stray(column: Any, name: str) -> None:
    """A column of numbers with a few stray words must not be passed over as if it were text."""
    import pyarrow as pa

    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)
    if not any(test(column.type) for test in texts):  # bytes: a text that is not UTF-8
        return
    strays = _strays(column)
    if len(strays) * 2 < len(column):
        fail(
            "D213",
            f"column `{name}` is numbers but for {len(strays)} cells",
            at=("features",),
            notes=_told(strays[:3]),
            remedies=("mend these cells", "or name the columns to use with `features`"),
        )


def _texts(column: Any, name: str) -> list[str]:
    texts = column.to_pylist()
    absent = [i for i, text in enumerate(texts) if text is None]
    if absent:
        message = f"column `{name}` has {len(absent)} cells without text"
        fail("D208", message, at=("text",), notes=(f"{rows_named(absent)} (the first is 0)",))
    return [_text(text) for text in texts]


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _numeric(kind: Any) -> bool:
    import pyarrow as pa

    return any(
        test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    ) or pa.types.is_decimal(kind)
