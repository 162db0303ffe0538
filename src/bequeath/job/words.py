"""A setting in words: what it takes, its default; and what a wrong key was probably meant to be."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import BaseModel

NOUNS = {"integer": "whole number", "string": "text", "boolean": "true or false"}
NOUNS |= {"object": "mapping", "null": "nothing", "array": "list"}
SIGNS = (("exclusiveMinimum", ">"), ("minimum", ">="), ("exclusiveMaximum", "<"), ("maximum", "<="))


@cache
def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True)


def settings(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """Key -> JSON schema of each setting, as the user spells them (aliases)."""
    return schema_of(model).get("properties", {})


def allowed(model: type[BaseModel], key: str) -> str:
    """`number > 0, default 4.0`: what a setting takes."""
    prop = settings(model)[key]
    text = kind(prop, schema_of(model).get("$defs", {}))
    return f"{text}, default {shown(prop['default'])}" if _tells(prop) else text


def kind(prop: dict[str, Any], defs: dict[str, Any]) -> str:
    """The type and bounds of a JSON schema, in words."""
    if "$ref" in prop:
        return kind(defs.get(prop["$ref"].rpartition("/")[2], {}), defs)
    if "anyOf" in prop:
        parts = [kind(one, defs) for one in prop["anyOf"] if one.get("type") != "null"]
        example = f", e.g. {prop['examples'][0]}" if prop.get("examples") else ""
        return " or ".join(dict.fromkeys(parts)) + example
    if "enum" in prop:
        return "one of " + ", ".join(shown(one) for one in prop["enum"])
    if "const" in prop:
        return shown(prop["const"])
    if prop.get("type") == "array":
        return _list(prop, defs)
    noun = NOUNS.get(prop.get("type", ""), prop.get("type", "anything"))
    bounds = [f"{sign} {shown(prop[name])}" for name, sign in SIGNS if name in prop]
    if "pattern" in prop:
        bounds.append(f"like {prop['pattern']}")
    return f"{noun} {' and '.join(bounds)}".strip()


def shown(value: Any) -> str:
    """A value as YAML would have it, short enough for one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(shown(one) for one in value) + "]"
    text = f"{value:.6g}" if isinstance(value, float) and not value.is_integer() else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def near(word: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant."""
    known = list(names)
    folded = {name.casefold(): name for name in known}
    if word.casefold() in folded:
        return folded[word.casefold()]
    found = difflib.get_close_matches(word, known, 1, 0.6)
    return found[0] if found else None


def one_of(word: str, names: Iterable[str]) -> str:
    """A label for a word that is none of `names`."""
    known = list(names)
    if (meant := near(word, known)) is not None:
        return f"did you mean `{meant}`?"
    return f"there are: {', '.join(known)}" if known else "there are none"


def inner(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation (`Optimizer`, `Optimizer | None`), if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in typing.get_args(annotation):
        if (found := inner(part)) is not None:
            return found
    return None


def below(model: type[BaseModel], key: str | int) -> type[BaseModel] | None:
    """The model of the mapping at `key`, None when there is a plain value."""
    for name, info in model.model_fields.items():
        if key in (name, info.alias):
            return inner(info.annotation)
    return None


def elsewhere(model: type[BaseModel], key: str, at: str = "") -> str | None:
    """The dotted place of a key that exists deeper: `lr` -> `optimizer.lr`."""
    for name, info in model.model_fields.items():
        deeper = inner(info.annotation)
        if deeper is None:
            continue
        if key in settings(deeper):
            return f"{at}{name}.{key}"
        if (found := elsewhere(deeper, key, f"{at}{name}.")) is not None:
            return found
    return None


def _list(prop: dict[str, Any], defs: dict[str, Any]) -> str:
    if fixed := prop.get("prefixItems"):
        return f"list of {len(fixed)} ({', '.join(kind(one, defs) for one in fixed)})"
    items = prop.get("items")
    what = f" of {_plural(kind(items, defs))}" if items else ""
    return f"list{what}"


def _plural(text: str) -> str:
    word, space, rest = text.partition(" ")
    if text.startswith("whole number"):
        return text.replace("whole number", "whole numbers", 1)
    return f"{word}s{space}{rest}" if word == "number" else text


def _tells(prop: dict[str, Any]) -> bool:
    """Whether the default is worth a word (not: nothing, or a whole section)."""
    return prop.get("default") is not None and not isinstance(prop["default"], dict)
