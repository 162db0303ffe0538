"""The contract of a method: one typed function, one decorator, everything else derived.

A method file holds a docstring (the idea, the equations, the source), a `Config` and a function

    @method(want="distill", paper="...", needs=Needs(...), identity=(...,))
    def kd(ctx: Context, given: Given, cfg: Config) -> Outcome:
        \"\"\"One line for lists.\"\"\"

and is found by its place in `methods/<family>/`. Method files are read to build schemas, help and
pages, so they import neither torch nor anything that does; the function imports what it computes
with when it runs.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bequeath.given.access import Needs
from bequeath.methods.family import Settings

if TYPE_CHECKING:
    from torch import nn


class MethodConfig(Settings):
    """Base of a method's settings. Every field has a default, bounds, a description and a source.

    Write `Field(4.0, gt=0, description="...", json_schema_extra={"source": "...", "search": ...})`.
    `source` says where the default comes from; `search` is `["log"|"linear"|"choice", low, high]`.
    """


@dataclass(frozen=True)
class Identity:
    """A case in which the result is known exactly; a contract test runs it bit for bit.

    says: the case in words. config, train: settings on top of the defaults that make it so.
    start: roles replaced by another role's model, e.g. {"student": "teacher"}.
    equals: `start` (the trained role's weights must not change) or the name of a method of the
    same family whose result must be the same.
    within: the largest change of any weight; 0 means to the last bit. Another value is for cases
    that are exact on paper and not in floating point, and `says` gives the reason.
    """

    says: str
    equals: str
    config: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    start: Mapping[str, str] = field(default_factory=dict)
    within: float = 0.0


@dataclass
class Outcome:
    """What a method hands back.

    models: role -> the model (a `BoundModel`: predicts from a batch, saves as an ordinary model).
    answer: what a family without a model hands back (ranks, a plan, a trace), in the family's own
    type; its protocol measures it. folder: a folder below `ctx.store` that becomes `model/` of the
    run. notes: facts the report should show (a count, a ratio), JSON values only.
    """

    models: dict[str, nn.Module] = field(default_factory=dict)
    answer: Any = None
    folder: Path | None = None
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A registered function with everything that is known of it before it runs.

    needs: at the default settings; `needs_for(cfg)`: at these settings.
    """

    name: str
    want: str
    paper: str
    needs: Needs
    Config: type[MethodConfig]
    run: Callable[..., Outcome]
    identity: tuple[Identity, ...]
    title: str
    doc: str
    file: str
    needs_for: Callable[[Any], Needs]

    @property
    def key(self) -> str:
        """`distill/kd`: names are unique within a family only."""
        return f"{self.want}/{self.name}"

    def __call__(self, ctx: Any, given: Any, cfg: MethodConfig) -> Outcome:
        return self.run(ctx, given, cfg)


def method(
    *,
    want: str,
    paper: str,
    needs: Needs | Callable[[Any], Needs],
    identity: tuple[Identity, ...],
) -> Callable[[Callable[..., Outcome]], Method]:
    """Make a function a method. Refuses at once what a later reader would stumble over.

    needs: what it must be given; a function of the settings where they decide (a distillation
    without a hard-label term needs no labels).
    """

    def wrap(run: Callable[..., Outcome]) -> Method:
        name = run.__name__.rstrip("_")
        where = f"method `{name}` ({inspect.getsourcefile(run)})"
        module = inspect.getmodule(run)
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise TypeError(f"{where}: a method's name is lower case letters, digits and `_`")
        if list(inspect.signature(run).parameters) != ["ctx", "given", "cfg"]:
            raise TypeError(f"{where}: its parameters are (ctx, given, cfg: Config)")
        if not (run.__doc__ or "").strip() or not (module and (module.__doc__ or "").strip()):
            raise TypeError(f"{where}: the function needs a one-line and the file a full docstring")
        if not identity:
            raise TypeError(f"{where}: declare at least one Identity, a case known exactly")
        config = _config_of(run, where)
        needs_for = needs if callable(needs) else lambda cfg: needs
        return Method(
            name=name,
            want=want,
            paper=paper,
            needs=needs_for(config()),
            needs_for=needs_for,
            Config=config,
            run=run,
            identity=identity,
            title=inspect.getdoc(run).splitlines()[0],  # type: ignore[union-attr]
            doc=inspect.getdoc(module) or "",
            file=inspect.getsourcefile(run) or "",
        )

    return wrap


def _config_of(run: Callable[..., Outcome], where: str) -> type[MethodConfig]:
    annotation = run.__annotations__.get("cfg")
    if isinstance(annotation, str):
        annotation = run.__globals__.get(annotation)
    if not (isinstance(annotation, type) and issubclass(annotation, MethodConfig)):
        raise TypeError(f"{where}: annotate `cfg` with a subclass of MethodConfig")
    for field_name, info in annotation.model_fields.items():
        if info.is_required() or not info.description:
            raise TypeError(f"{where}: setting `{field_name}` needs a default and a description")
    return annotation


__all__ = ["Identity", "Method", "MethodConfig", "Outcome", "method"]
