"""The catalog: every method there is, found by its place, read without importing torch."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import bequeath.methods as home
from bequeath.kernel.errors import JobError, Problem
from bequeath.kernel.files import digest
from bequeath.methods.contract import Method
from bequeath.methods.family import families, family_of

ENTRY_POINTS = "bequeath.methods"


def methods_of(want: str) -> dict[str, Method]:
    """name -> method of one family: ours, then those installed packages bring by entry point."""
    return {found.name: found for found in all_methods().values() if found.want == want}


def named(name: str) -> list[Method]:
    """The methods of a name, `kd` or `distill/kd`: one a family at most."""
    return [found for key, found in all_methods().items() if name in (key, found.name)]


@cache
def all_methods() -> dict[str, Method]:
    """`family/name` -> method, in the order of families, then names.

    Two of one name in a family are a TypeError.
    """
    found: dict[str, Method] = {}
    for family in families():
        package = importlib.import_module(f"{home.__name__}.{family}")
        for entry in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
            if not entry.name.startswith("_"):
                _collect(found, importlib.import_module(f"{package.__name__}.{entry.name}"))
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda p: p.name):
        loaded = point.load()
        for one in [loaded] if isinstance(loaded, Method) else _methods_in(loaded):
            _add(found, one)
    return found


def from_file(reference: str, base: Path) -> Method:
    """`./file.py:name` -> the method in that file. The caller has made sure the user allowed it."""
    path_text, _, name = reference.rpartition(":")
    path = (base / path_text).resolve()
    if not path.is_file():
        raise JobError(Problem("J120", f"there is no file `{path_text}`", at=("method",)))
    module_name = f"bequeath_method_{digest(str(path))}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    here = {m.name: m for m in _methods_in(module)}
    if name not in here:
        known = ", ".join(sorted(here)) or "none"
        raise JobError(
            Problem(
                "J121", f"`{path_text}` has no method `{name}` (it has: {known})", at=("method",)
            )
        )
    return here[name]


def _methods_in(module: ModuleType) -> list[Method]:
    return [
        value
        for value in vars(module).values()
        if isinstance(value, Method) and value.run.__module__ == module.__name__
    ]


def _collect(found: dict[str, Method], module: ModuleType) -> None:
    for one in _methods_in(module):
        _add(found, one)


def _add(found: dict[str, Method], one: Method) -> None:
    if one.key in found:
        raise TypeError(f"two methods are called `{one.key}`: {found[one.key].file}, {one.file}")
    found[one.key] = one


__all__ = ["all_methods", "families", "family_of", "from_file", "methods_of", "named"]
