"""`py:FILE.py:NAME` and `py:MODULE:NAME`: a callable(n_classes) -> torch.nn.Module."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bequeath.given.facts import DataFacts, ModelFacts, missing
from bequeath.given.model_schemes import Blueprint
from bequeath.given.options import PyModel
from bequeath.kernel.errors import JobError, Problem
from bequeath.kernel.files import digest, regular
from bequeath.kernel.own_code import RAISED, UNPARSED, failed

if TYPE_CHECKING:
    from torch import nn

    from bequeath.given.bound import BoundModel


def describe(rest: str, options: PyModel) -> tuple[ModelFacts, list[Problem]]:
    """The file is read, not run: what runs a job's code is the command line's to allow."""
    place, colon, name = rest.rpartition(":")
    facts = ModelFacts(architecture=rest, n_classes=options.classes, head=options.head)
    if not colon or not place or not name.isidentifier():
        remedy = "write py:FILE.py:NAME or py:MODULE:NAME"
        message = f"`{rest}` does not name a callable"
        return facts, [Problem("M311", message, at=("ref",), remedies=(remedy,))]
    if not place.endswith(".py"):
        return facts, []
    path = Path(place)
    if not path.is_file():
        return facts, [missing(f"`{path}` is not there", path, ("ref",))]
    try:
        tree = ast.parse(regular(path).read_bytes())
    except UNPARSED as error:
        return facts, [Problem("M311", f"`{path}` is not Python: {error}", at=("ref",))]
    return facts, _name_problems(path, name, tree)


def _name_problems(path: Path, name: str, tree: ast.Module) -> list[Problem]:
    named = {getattr(node, "name", "") for node in tree.body}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            named |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.Import | ast.ImportFrom):
            named |= {(alias.asname or alias.name) for alias in node.names}
    if name in named or "*" in named:
        return []
    near = difflib.get_close_matches(name, sorted(named), n=1)
    label = f"did you mean `{near[0]}`?" if near else ""
    return [Problem("M311", f"`{path}` defines no `{name}`", at=("ref",), label=label)]


def blueprint(rest: str, options: PyModel, data: DataFacts) -> Blueprint:
    from bequeath.given.preprocess import default_preprocess, override

    place, _, name = rest.rpartition(":")
    build = _callable(place, name)
    file = Path(place) if place.endswith(".py") else Path(inspect.getsourcefile(build) or "")
    plain = default_preprocess(data, options.preprocess)
    return Blueprint(
        scheme="py",
        name=name,
        make=_checked(build, rest),
        preprocess=override(plain, options.preprocess, trained=options.weights is not None),
        kwargs={"callable": name},
        origin=file if file.is_file() else None,
        made_of=digest(file.read_bytes()) if file.is_file() else None,
    )


def again(name: str, kwargs: Mapping[str, Any], folder: Path | None) -> Callable[[int], nn.Module]:
    """Runs architecture.py of a saved folder; only `load_model(allow_code=True)` comes here."""
    place = str((folder or Path()) / "architecture.py")
    return _checked(_callable(place, str(kwargs["callable"])), place)


def save(bound: BoundModel, folder: Path) -> str:
    from bequeath.given.bound import save_tensors
    from bequeath.given.how_to_load import save_preprocess

    save_tensors(bound.module, folder / "model.safetensors")
    name, where = bound.source.name, "YOUR_MODULE"
    if bound.source.origin is not None:
        (folder / "architecture.py").write_bytes(bound.source.origin.read_bytes())
        where = "architecture"
    return (
        "from safetensors.torch import load_file\n"
        f"from {where} import {name}\n"
        f"model = {name}({bound.facts.n_classes}).eval()\n"
        "model.load_state_dict(load_file('model.safetensors'))\n"
    ) + save_preprocess(bound.preprocess, folder)


def _callable(place: str, name: str) -> Any:
    try:
        if place.endswith(".py"):
            path = Path(place).resolve()
            label = f"_bequeath_py_{digest(str(path), path.read_bytes())}"
            if label not in sys.modules:
                spec = importlib.util.spec_from_file_location(label, path)
                assert spec is not None and spec.loader is not None
                module = importlib.util.module_from_spec(spec)
                sys.modules[label] = module
                try:
                    spec.loader.exec_module(module)
                except BaseException:
                    del sys.modules[label]
                    raise
            return getattr(sys.modules[label], name)
        return getattr(importlib.import_module(place), name)
    except RAISED as error:
        message = f"`{place}:{name}` cannot be imported"
        raise failed("M311", message, error, ("ref",)) from error


def _checked(build: Any, rest: str) -> Callable[[int], nn.Module]:
    def make(n_classes: int) -> nn.Module:
        from torch import nn

        try:
            module = build(n_classes)
        except RAISED as error:
            raise failed("M311", f"`{rest}` failed", error, ("ref",)) from error
        if not isinstance(module, nn.Module):
            made = type(module).__name__
            message = f"`{rest}` returned {made}, not a torch.nn.Module"
            raise JobError(Problem("M311", message, at=("ref",)))
        return module

    return make
