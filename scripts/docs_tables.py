"""Markdown tables out of JSON schemas."""

from __future__ import annotations

import json
from typing import Any

MARK = "<!-- Made by scripts/generate_docs.py: change the code, then run scripts/docs --pages. -->"
_BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table; bars and line ends inside cells are escaped."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def flatten(
    path: str, schema: dict, definitions: dict, *, required: bool = False
) -> list[tuple[str, str, str, str]]:
    """(dotted path, type, default, description) of a key and, below it, of the keys it holds."""
    schema = resolve(schema, definitions)
    default = "required" if required else code(schema["default"]) if "default" in schema else ""
    inner = next(iter(objects(schema, definitions)), None)
    if inner and "default" in schema:
        default = ""  # said key by key below
    rows = [(f"`{path}`", type_of(schema, definitions), default, schema.get("description", ""))]
    if inner and path != "method":
        for key, value in inner["properties"].items():
            needed = key in inner.get("required", ())
            rows += flatten(f"{path}.{key}", value, definitions, required=needed)
    return rows


def objects(schema: dict, definitions: dict) -> list[dict]:
    """The object schemas with named keys among a schema and its alternatives."""
    options = [resolve(s, definitions) for s in (schema, *schema.get("anyOf", ()))]
    return [option for option in options if option.get("properties")]


def resolve(schema: dict, definitions: dict) -> dict:
    """Follow `$ref` (what stands beside it wins)."""
    while "$ref" in schema:
        target = definitions[schema["$ref"].rsplit("/", 1)[-1]]
        schema = {**target, **{k: v for k, v in schema.items() if k != "$ref"}}
    return schema


def type_of(schema: dict, definitions: dict) -> str:
    """The type in words with its bounds: `number > 0`, `one of "sgd", "adam"`."""
    schema = resolve(schema, definitions)
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        words = [type_of(option, definitions) for option in options]
        return " or ".join(dict.fromkeys(words))
    if "enum" in schema:
        return "one of " + ", ".join(code(value) for value in schema["enum"])
    if "const" in schema:
        return code(schema["const"])
    kind = schema.get("type", "")
    if kind == "array":
        items = schema.get("items")
        of = type_of(items, definitions) if items else ""
        return f"list of {of}" if of else "list"
    words = {"string": "text", "object": "mapping", "null": "nothing", "boolean": "true or false"}
    bounds = [f"{sign} {number(schema[key])}" for key, sign in _BOUNDS.items() if key in schema]
    return " ".join([words.get(kind, kind), " and ".join(bounds)]).strip()


def code(value: Any) -> str:
    """A value as the job file would have it: `"sgd"`, `0.1`, `[0.5, 0.75]`; None is `none`."""
    if isinstance(value, float):
        exact = repr(value)
        return f"`{exact if len(exact) <= 8 else number(value)}`"
    return f"`{json.dumps(value, ensure_ascii=False)}`" if value is not None else "none"


def number(value: float) -> str:
    """Four digits are enough to read; whole numbers are written out."""
    return str(int(value)) if value == int(value) else f"{value:.4g}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
