"""`csv:`, `jsonl:` and `parquet:FILE`: a column of classes beside columns of numbers or text."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

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
    answering,
    fail,
    listed,
    local,
    missing_path,
    near,
    rows_named,
)
from bequeath.kernel.errors import JobError, Problem

LABELS = ("label", "class", "y", "target")
ABSENT = ["", "NA", "N/A", "NaN", "nan", "null", "NULL"]  # in columns of numbers


class Columns(NamedTuple):
    """What is read of a table. label: None without labels. features: of numbers; None: found by
    type. text: instead of features; prompt: what comes before it."""

    label: str | None
    features: list[str] | None
    text: str | None = None
    prompt: str | None = None

    @property
    def texts(self) -> list[str]:
        return [name for name in (self.text, self.prompt) if name is not None]

    @property
    def wanted(self) -> list[str] | None:
        """All that are read; None where it takes reading to know."""
        if self.features is None:
            return None
        label = [] if self.label is None else [self.label]
        return list(dict.fromkeys([*label, *self.texts, *self.features]))


def find_csv(rest: str, options: Any) -> Found:
    path = local(rest)
    if problem := missing_path(path, folder=False):
        return Found(problems=[problem])
    try:
        return _found(columns(_header(path, options.sep), options))
    except JobError as error:
        return Found(problems=error.problems)


def find_jsonl(rest: str, options: Any) -> Found:
    """By the first line; other lines may have more."""
    path = local(rest)
    if problem := missing_path(path, folder=False):
        return Found(problems=[problem])
    try:
        return _found(columns(_first_keys(path), options))
    except JobError as error:
        return Found(problems=error.problems)


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
    chosen = columns(_header(path, options.sep), options)
    fits(path.stat().st_size, path, options)
    try:
        table = arrow.read_csv(
            path,
            read_options=arrow.ReadOptions(block_size=min(2**31 - 1, path.stat().st_size + 1)),
            parse_options=arrow.ParseOptions(delimiter=options.sep, newlines_in_values=True),
            convert_options=arrow.ConvertOptions(
                include_columns=chosen.wanted,
                # A text or a class name like `NA` is what it says; an empty cell has no value.
                column_types=dict.fromkeys(chosen.texts, pa.string()),
                null_values=ABSENT,
                strings_can_be_null=False,
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        unreadable(path, error)
    return _raw(table, chosen, path)


def read_jsonl(rest: str, options: Any) -> Raw:
    import pyarrow as pa
    from pyarrow import json as arrow

    path = local(rest)
    if problem := missing_path(path, folder=False):
        raise JobError(problem)
    chosen = columns(_first_keys(path), options)
    size = path.stat().st_size
    fits(size, path, options)
    try:
        whole = arrow.ReadOptions(block_size=min(2**31 - 1, size + 1))
        table = arrow.read_json(path, read_options=whole)
        table.validate(full=True)  # texts that are no UTF-8
        _ = table.column_names  # nor names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        unreadable(path, error)
    return _raw(table, chosen, path)


def read_parquet(rest: str, options: Any) -> Raw:
    path = local(rest)
    if problems := find_parquet(rest, options).problems:
        raise JobError(problems)
    with parquet_file(path) as file:
        chosen = columns(parquet_names(file, path), options)
        table = parquet_table(file, path, options, chosen.wanted)
    return _raw(table, chosen, path)


def columns(names: list[str], options: Any) -> Columns:
    """What the options choose. Raises JobError (D204) with all that are missing."""
    problems = []
    label = options.label
    if label is None:
        label = next((name for name in LABELS if name in names), None)
        if label is None and options.labels:
            problems.append(_no_column("label", "label", names))
    elif label not in names:
        problems.append(_no_column(label, "label", names))
    for option in ("text", "prompt"):
        name = getattr(options, option)
        if name is not None and name not in names:
            problems.append(_no_column(name, option, names))
    if options.prompt is not None and options.text is None:
        message = "`prompt` comes before a text, and no `text` is named"
        remedies = ("say `text: NAME`, the column of the answers",)
        problems.append(Problem("D204", message, at=("prompt",), remedies=remedies))
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
        return Columns(label, [], options.text, options.prompt)
    return Columns(label, list(options.features) if options.features else None)


def _found(chosen: Columns) -> Found:
    many = chosen.features is not None and len(chosen.features) > 1
    shape = (len(chosen.features or ()),) if many else None
    return Found("text" if chosen.text is not None else "vector", shape=shape)


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


def _first_keys(path: Path) -> list[str]:
    """The keys of the first object, which may take 16 MB."""
    with path.open("rb") as file:
        lines = iter(lambda: file.readline(2**24), b"")
        line = next((line for line in lines if line.strip()), b"")
    if not line:
        fail("D205", f"`{path}` is empty")
    try:
        first = json.loads(line)
    except (ValueError, RecursionError) as error:
        notes = (f"its first line: {error}",)
        fail("D202", f"`{path}` is not JSON lines", notes=notes)
    if not isinstance(first, dict):
        message = f"`{path}` is not JSON lines: its first is no object"
        fail("D202", message, remedies=("write an object of named values on each line",))
    return list(first)


def _raw(table: Any, chosen: Columns, path: Path) -> Raw:
    import pyarrow as pa

    label, features, text, prompt = chosen
    absent = [name for name in chosen.wanted or () if name not in table.column_names]
    if absent:
        fail("D204", f"there is no column `{absent[0]}` in `{path}`")
    if table.num_rows == 0:
        fail("D205", f"`{path}` is empty: a header, but no rows")
    y = table[label].to_pylist() if label is not None else None
    if y is not None and pa.types.is_decimal(table[label].type):
        y = table[label].cast(pa.float64()).to_numpy()
    if y is not None and pa.types.is_floating(table[label].type):
        y = table[label].to_numpy()
    if text is not None and prompt is not None:
        answers, prompts = _texts(table[text], text), _texts(table[prompt], prompt, "prompt")
        return answering(prompts, answers, y)
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


def _texts(column: Any, name: str, option: str = "text") -> list[str]:
    texts = column.to_pylist()
    absent = [i for i, text in enumerate(texts) if text is None]
    if absent:
        message = f"column `{name}` has {len(absent)} cells without text"
        fail("D208", message, at=(option,), notes=(f"{rows_named(absent)} (the first is 0)",))
    return [_text(text) for text in texts]


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _numeric(kind: Any) -> bool:
    import pyarrow as pa

    return any(
        test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    ) or pa.types.is_decimal(kind)
