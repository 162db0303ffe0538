"""`py:FILE.py:NAME` or `py:MODULE:NAME`: a callable of the user's that hands out the data.

It returns a dict of arrays (`x` or `text`, `y`, and perhaps `classes`, the names), or a torch data
set whose items are such dicts or (x, y). A parameter called `split` gets the job's split. Whether
code may run at all is decided before this is called.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bequeath.given.data_schemes.arrays import from_array
from bequeath.given.data_schemes.source import (
    Found,
    Raw,
    answering,
    fail,
    local,
    missing_path,
    near,
)
from bequeath.kernel.errors import JobError
from bequeath.kernel.files import regular
from bequeath.kernel.own_code import RAISED, UNPARSED, failed


def find(rest: str, options: Any) -> Found:
    """The file is there and defines the name; it is parsed, not run."""
    try:
        where, name = target_of(rest)
        if isinstance(where, Path):
            _defined(where, name)
    except JobError as error:
        return Found(problems=error.problems)
    return Found()


def read(rest: str, options: Any) -> Raw:
    where, name = target_of(rest)
    call = callable_of(where, name)
    takes_split = False
    try:
        takes_split = "split" in inspect.signature(call).parameters
        given = call(split=options.split) if takes_split else call()
        if not isinstance(given, Mapping):
            given = _items(rest, given)
    except JobError:
        raise
    except RAISED as error:
        raise _failed(rest, error) from error
    native = takes_split and options.split is not None
    key = next((key for key in ("x", "text") if key in given), None)
    if key is None:
        fail("D204", f"`{rest}` returned no `x` and no `text`, but {sorted(map(str, given))}")
    y = given.get("y")
    if y is None and options.labels:
        message = f"`{rest}` returned no `y`"
        fail("D204", message, at=("labels",), remedies=("return labels, or say `labels: false`",))
    names = given.get("classes")
    classes = tuple(str(n) for n in names) if names is not None else None
    if key == "x":
        kind, x = from_array(given["x"])
        return Raw(kind, x, y, classes, native)
    texts = [str(text) for text in given["text"]]
    if "prompt" not in given:
        return Raw("text", texts, y, classes, native)
    prompts = [str(prompt) for prompt in given["prompt"]]
    if len(prompts) != len(texts):
        fail("D213", f"`{rest}` returned {len(texts)} texts and {len(prompts)} prompts")
    return answering(prompts, texts, y, classes=classes, native=native)


def target_of(rest: str) -> tuple[Path | str, str]:
    where, colon, name = rest.rpartition(":")
    if not colon or not where or not name.isidentifier():
        message = f"`py:{rest}` names no function"
        fail(
            "D219", message, remedies=("write py:./file.py:function or py:package.module:function",)
        )
    if where.endswith(".py"):
        path = local(where)
        if problem := missing_path(path, folder=False):
            raise JobError(problem)
        return path, name
    return where, name


def _defined(path: Path, name: str) -> None:
    try:
        tree = ast.parse(regular(path).read_bytes(), str(path))
    except UNPARSED as error:
        fail("D219", f"`{path}` is not Python", notes=(str(error),))
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    if name not in names and "*" not in names:
        fail("D219", f"`{path}` defines no `{name}`", label=near(name, names))


def callable_of(where: Path | str, name: str) -> Any:
    try:
        if isinstance(where, Path):
            spec = importlib.util.spec_from_file_location(f"_bequeath_{where.stem}", where)
            assert spec is not None and spec.loader is not None  # the file is there, it ends in .py
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(where)
    except RAISED as error:
        raise _failed(str(where), error) from error
    if not callable(getattr(module, name, None)):
        fail("D219", f"`{where}` defines no function `{name}`", label=near(name, vars(module)))
    return getattr(module, name)


def _failed(what: str, error: BaseException) -> JobError:
    return failed("D219", f"`py:{what}` failed", error, ("ref",))


def _items(rest: str, dataset: Any) -> dict[str, Any]:
    """The items of a torch data set, stacked."""
    import numpy as np

    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        message = f"`{rest}` returned {type(dataset).__name__}, neither a dict nor a data set"
        fail("D219", message)
    items = [dataset[i] for i in range(len(dataset))]
    if not items:
        fail("D205", f"`{rest}` is empty")
    if not isinstance(items[0], Mapping):
        items = [
            dict(zip(("x", "y"), item)) if isinstance(item, tuple) else {"x": item}
            for item in items
        ]
    stacked: dict[str, Any] = {}
    for key in items[0]:
        try:
            column = [item[key] for item in items]
            words = key in ("text", "prompt")
            stacked[key] = column if words else np.stack([np.asarray(c) for c in column])
        except (KeyError, ValueError, TypeError) as error:
            notes = (f"{type(error).__name__}: {error}",)
            fail("D213", f"the items of `{rest}` differ in `{key}`", notes=notes)
    if "classes" not in stacked and hasattr(dataset, "classes"):
        stacked["classes"] = list(dataset.classes)
    return stacked
