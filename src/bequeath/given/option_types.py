"""References (`scheme:rest?key=value`), and the types of the settings in them. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bequeath.kernel import units


@dataclass(frozen=True)
class Ref:
    """`zoo:mlp?hidden=64` taken apart: scheme `zoo`, rest `mlp`, query {"hidden": "64"}."""

    scheme: str
    rest: str
    query: dict[str, str] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        pairs = "&".join(f"{key}={value}" for key, value in self.query.items())
        return f"{self.scheme}:{self.rest}" + (f"?{pairs}" if pairs else "")


def parse_ref(text: str) -> Ref:
    """Take a reference apart. ValueError says what would be right; schemes are not looked up.

    A `?` begins the settings; the rest is kept as written (a path may hold colons and spaces).
    """
    scheme, colon, tail = text.strip().partition(":")
    if not colon or not scheme.isidentifier():
        raise ValueError(f"`{text}` is not a reference; write scheme:name, for example zoo:resnet8")
    rest, mark, asked = tail.partition("?")
    if not rest:
        raise ValueError(f"`{text}` names nothing after `{scheme}:`")
    pairs = parse_qsl(asked, keep_blank_values=True)
    if mark and not pairs:
        raise ValueError(f"`{text}` has nothing after `?`; write ?key=value&key=value")
    query: dict[str, str] = {}
    for key, value in pairs:
        if key in query:
            raise ValueError(f"`{text}` says `{key}` twice")
        query[key] = value
    return Ref(scheme, rest, query)


def _parts(value: Any) -> Any:
    """`256,256` (as a query says it) and a single number are lists too."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, Iterable):
        return value
    return [value]


Integers = Annotated[tuple[int, ...], BeforeValidator(_parts)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_parts)]
Positive = Annotated[tuple[Annotated[float, Field(gt=0)], ...], BeforeValidator(_parts)]
Names = Annotated[tuple[str, ...], BeforeValidator(_parts)]
Words = Annotated[
    tuple[str, ...], BeforeValidator(lambda value: [str(part) for part in _parts(value)])
]
Bytes = Annotated[int, BeforeValidator(units.size)]


def typed_ref(
    ref: str | Ref,
    options: BaseModel | dict[str, Any] | None,
    schemes: Mapping[str, type[BaseModel]],
    kind: str,
) -> tuple[str, Any]:
    """(the reference as text, its settings as an object of the scheme's class in `schemes`).

    options: such an object, or a mapping, on top of which come the settings in the reference.
    kind: what is referred to, for messages. ValueError for a wrong reference or setting.
    """
    parsed = parse_ref(ref) if isinstance(ref, str) else ref
    if parsed.scheme not in schemes:
        known = ", ".join(schemes)
        raise ValueError(f"`{parsed.scheme}:` is no {kind} scheme; there are {known}")
    if not isinstance(options, BaseModel):
        options = schemes[parsed.scheme].model_validate({**(options or {}), **parsed.query})
    return str(parsed), options


class Options(BaseModel):
    """Base: unknown keys are refused, nothing changes after it is made."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


class Prompted(Options):
    """What every source takes whose texts may be answers to something."""

    prompt: str | None = Field(
        default=None,
        description="column of what comes before the text, joined to it as it is: read, not learnt",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_classes(cls, values: Any) -> Any:
        """Answers have no classes unless a column of them is named."""
        if isinstance(values, dict) and values.get("prompt") and not values.get("label"):
            return {"labels": False, **values}
        return values
