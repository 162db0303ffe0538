"""Taps: catch what goes into or comes out of any module of a model, by its path.

    taps = Taps(student, {"embedding": Tap("fc", side="input"), "block2": "layer2"})
    logits = student(batch)
    taps["embedding"]          # [B, D], part of the graph
    taps.close()               # or: with Taps(...) as taps

A tap holds the tensor itself, not a copy. Where the next module works in place (`ReLU(inplace=
True)` after a norm), the tensor then shows what that module made of it; gradients stay right. Say
`clone=True` to have the value as it was.
"""

from __future__ import annotations

import difflib
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from bequeath.kernel.errors import JobError, Problem, RunError

_WRAPPERS = ("module.", "_orig_mod.")
_SHOWN = 20


@dataclass(frozen=True)
class Tap:
    """Where to catch.

    path: dotted, as in `named_modules`; "" is the model itself. side: its input (the first tensor
    among its arguments) or its output. index: which part of a tuple (a position) or of a mapping
    (a key); None: its first tensor. all: of a module that runs several times in one forward keep
    every tensor, in order, as a list (else the last). clone: see above.
    """

    path: str
    side: Literal["input", "output"] = "output"
    index: int | str | None = None
    all: bool = False
    clone: bool = False


class Taps:
    """Catches on `module` until `close`. `taps[name]` is the tensor of the last forward.

    Raises JobError M340 for a path that does not exist. `taps[name]` raises RunError T693 when
    the module has not run since the last `clear`. The hooks sit on the tapped modules themselves,
    so it does not matter in what the model is wrapped, and a deep copy of the model is not tapped.
    """

    def __init__(self, module: nn.Module, wanted: Mapping[str, str | Tap]):
        self.wanted = {n: Tap(t) if isinstance(t, str) else t for n, t in wanted.items()}
        problems = [p for t in self.wanted.values() if (p := check_path(module, t.path))]
        if problems:
            raise JobError(problems)
        self._caught: dict[str, Any] = {}
        self._handles = [
            _hook(_at(module, tap.path), name, tap, self._caught)
            for name, tap in self.wanted.items()
        ]

    def __getitem__(self, name: str) -> Any:
        if name in self._caught:
            return self._caught[name]
        if name not in self.wanted:
            raise KeyError(f"no tap `{name}`; there are {', '.join(self.wanted) or 'none'}")
        message = f"tap `{name}`: `{self.wanted[name].path}` has not run since `clear`"
        raise RunError(Problem("T693", message))

    def __iter__(self) -> Iterator[str]:
        return iter(self.wanted)

    def pop(self) -> dict[str, Any]:
        """All that was caught, forgotten here (so that the graph can be freed)."""
        caught = {name: self[name] for name in self.wanted}
        self.clear()
        return caught

    def clear(self) -> None:
        """Forget what was caught; with `all=True` do this before each forward."""
        self._caught.clear()

    def close(self) -> None:
        """Take the hooks off and forget."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.clear()

    def __enter__(self) -> Taps:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def paths(module: nn.Module) -> list[str]:
    """Every path that can be tapped, in the order of definition; "" is the model itself."""
    return [name for name, _ in module.named_modules()]


def check_path(module: nn.Module, path: str) -> Problem | None:
    """M340 with near matches and the paths there are, or None when `path` exists."""
    there = paths(module)
    if _plain(path) in {_plain(p) for p in there}:
        return None
    near = difflib.get_close_matches(path, there, n=3, cutoff=0.5)
    more = f", and {len(there) - 1 - _SHOWN} more" if len(there) - 1 > _SHOWN else ""
    return Problem(
        "M340",
        f"the model has no module `{path}`",
        label="did you mean " + " or ".join(f"`{p}`" for p in near) + "?" if near else "",
        notes=(f"its modules: {', '.join(there[1 : _SHOWN + 1]) or 'none'}{more}",),
        remedies=("use the path of a module as `named_modules()` gives it, or an empty text",),
    )


def _plain(path: str) -> str:
    """A path without what wrappers (data parallel, compiled) put before it."""
    while path.startswith(_WRAPPERS):
        path = path.split(".", 1)[1]
    return path


def _at(module: nn.Module, path: str) -> nn.Module:
    modules = dict(module.named_modules())
    if path in modules:
        return modules[path]
    return next(m for name, m in modules.items() if _plain(name) == _plain(path))


def _hook(module: nn.Module, name: str, tap: Tap, caught: dict[str, Any]) -> Any:
    tapped = weakref.ref(module)

    def catch(value: Any) -> None:
        tensor = _pick(value, tap, name)
        tensor = tensor.clone() if tap.clone else tensor
        if tap.all:
            caught.setdefault(name, []).append(tensor)
        else:
            caught[name] = tensor

    def before(m: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        if m is tapped():
            catch((*args, *kwargs.values()) if not isinstance(tap.index, str) else kwargs)

    def after(m: nn.Module, _args: tuple, output: Any) -> None:
        if m is tapped():
            catch(output)

    if tap.side == "input":
        return module.register_forward_pre_hook(before, with_kwargs=True)
    return module.register_forward_hook(after)


def _pick(value: Any, tap: Tap, name: str) -> Tensor:
    """The tensor that the tap means in a module's input or output."""
    found = value
    if not isinstance(value, Tensor):
        if tap.index is not None:
            found = value[tap.index]
        else:
            parts = value.values() if isinstance(value, Mapping) else value
            found = next((p for p in parts or () if isinstance(p, Tensor)), None)
    if not isinstance(found, Tensor):
        text = f"tap `{name}`: the {tap.side} of `{tap.path}` is a {type(value).__name__}"
        raise RunError(Problem("T693", f"{text} without a tensor at {tap.index!r}"))
    return found
