"""One file a scheme. Each has three functions, and is found by its name:

    describe(rest, options) -> (ModelFacts, [Problem])     before torch; problems seen without it
    blueprint(rest, options, data) -> Blueprint            how to make it; JobError when it can't
    save(bound, folder) -> str                             weights and what the plain library
                                                           needs; returns how to load, as code
and, where a saved model is made again from its record,
    again(name, kwargs, folder) -> maker                   maker(n_classes) -> a fresh module
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bequeath.kernel.errors import JobError, Problem

if TYPE_CHECKING:
    from torch import nn

    from bequeath.given.preprocess import Preprocess

_EXTRAS = {"timm": "vision", "torchvision": "vision", "transformers": "hf", "datasets": "hf"}


@dataclass(frozen=True)
class Blueprint:
    """How to make a model.

    make: number of classes -> module with fresh weights; obeys torch's default device, so that the
    meta device gives its shapes for nothing. trained: the same with the library's trained weights,
    None when there are none or when `weights`, a local file, is to be loaded into `make`'s module.
    n_classes: width of the trained output. head: where the classifier is, if the library says so.
    hash: digest of what `trained` reads, where that lies in local files. made_of: of the
    configuration or code that `make` follows. per_token: a language model, `n_classes` its
    vocabulary. generates: a diffusion model, without classes. graft: of a saved model whose
    classifier was replaced, see `bequeath.given.graft`.
    """

    scheme: str
    name: str
    make: Callable[[int], nn.Module]
    preprocess: Preprocess
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    trained: Callable[[int], nn.Module] | None = None
    weights: Path | None = None
    n_classes: int | None = None
    classes: tuple[str, ...] = ()
    head: str | None = None
    licence: str | None = None
    origin: Path | None = None
    hash: str | None = None
    made_of: str | None = None
    per_token: bool = False
    generates: bool = False
    graft: Mapping[str, Any] | None = None


def scheme(name: str) -> Any:
    """The module of a scheme (`timm` -> bequeath.given.model_schemes.timm)."""
    return importlib.import_module(f"{__name__}.{name}")


def library_problem(name: str) -> Problem | None:
    """M308 when a library is not installed; looks without importing it."""
    if importlib.util.find_spec(name) is not None:
        return None
    extra = _EXTRAS[name]
    return Problem(
        "M308",
        f"this reference needs `{name}`, which is not installed",
        at=("ref",),
        remedies=(f'pip install "bequeath[{extra}]"',),
    )


def unknown_name(kind: str, name: str, names: Iterable[str], *remedies: str) -> Problem:
    """M307, with the nearest names there are."""
    near = difflib.get_close_matches(name, list(names), n=3)
    label = f"did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else ""
    return Problem(
        "M307", f"{kind} has no model `{name}`", at=("ref",), label=label, remedies=remedies
    )


def not_here(what: str, *notes: str, at: str = "pretrained") -> JobError:
    """M309: trained weights that would have to be downloaded."""
    return JobError(
        Problem(
            "M309",
            f"{what} is not on this machine",
            at=(at,),
            notes=notes,
            remedies=(
                "set BEQUEATH_DOWNLOAD=1 to let the library download it",
                "or give a local file: `weights: PATH`",
                "or begin with fresh weights: `pretrained: false`",
            ),
        )
    )


def may_download() -> bool:
    """Downloads happen only when the environment says so."""
    import os

    return os.environ.get("BEQUEATH_DOWNLOAD", "") not in ("", "0", "false", "no")
