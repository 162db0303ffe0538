"""The JSON Schema of a whole job, for editors that complete and check YAML as it is typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model
from pydantic.json_schema import models_json_schema

from bequeath.given.graph_options import GRAPH_OPTIONS
from bequeath.given.options import DATA_OPTIONS, MODEL_OPTIONS
from bequeath.job.sections import Top
from bequeath.methods import catalog
from bequeath.methods.contract import Method
from bequeath.methods.family import families, family_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TEMPLATE = "#/$defs/{model}"


def job_schema(want: str | None = None) -> dict[str, Any]:
    """The schema of jobs of one family, or of all (then `want` decides what `method` takes)."""
    wants = [want] if want else list(families())
    arms = {w: [_arm_model(m) for m in catalog.methods_of(w).values()] for w in wants}
    models: list[type[BaseModel]] = [Top]
    models += [arm for group in arms.values() for arm in group]
    protocols = {w: p for w in wants if (p := family_of(w).protocol) is not None}
    models += [*protocols.values()]
    schemes_of: dict[str, Any] = {
        "models": MODEL_OPTIONS,
        "data": DATA_OPTIONS,
        "graphs": GRAPH_OPTIONS,
    }
    options = {model for schemes in schemes_of.values() for model in schemes.values()}
    models += options
    unique = [(model, "validation") for model in dict.fromkeys(models)]
    refs, shared = models_json_schema(unique, by_alias=True, ref_template=TEMPLATE)  # type: ignore[arg-type]
    defs = shared["$defs"]
    name = {model: ref["$ref"].rpartition("/")[2] for (model, _), ref in refs.items()}
    job = defs.pop(name[Top])
    properties = job["properties"]
    properties["want"] = {"enum": wants, "description": properties["want"]["description"]}
    for section, schemes in schemes_of.items():
        title = f"{section}-reference"
        defs[title] = _reference({s: defs[name[model]] for s, model in schemes.items()})
        properties[section]["additionalProperties"] = {"$ref": TEMPLATE.format(model=title)}
        properties[section].pop("default", None)
    for model in options:
        defs.pop(name[model], None)
    choices = []
    for w in wants:
        defs[f"method-{w}"] = _method(w, [name[arm] for arm in arms[w]])
        metrics = {"items": {"enum": list(family_of(w).metrics)}}
        then = {
            "properties": {
                "method": {"$ref": TEMPLATE.format(model=f"method-{w}")},
                "protocol": {"$ref": TEMPLATE.format(model=name[protocols[w]])}
                if w in protocols
                else {"type": "null"},
                "evaluate": {"properties": {"metrics": metrics}},
            }
        }
        choices.append({"if": {"properties": {"want": {"const": w}}}, "then": then})
    # a job that extends another may leave out what the other says
    whole = {"if": {"not": {"required": ["extends"]}}, "then": {"required": job.pop("required")}}
    return {
        "$schema": DIALECT,
        **job,
        "title": "bequeath job",
        "description": "What you own and what you want.",
        "allOf": [whole, *choices],
        "$defs": defs,
    }


def _arm_model(method: Method) -> type[BaseModel]:
    """A method's settings with its name, which tells the union's members apart."""
    one: Any = Literal[method.name]
    return create_model(
        f"{method.want}-{method.name}",
        __base__=method.Config,
        __doc__=method.title,
        name=(one, Field(description="the method")),
        as_=Annotated[str | None, Field(None, alias="as", description="its label in the report")],
    )


def _method(want: str, arms: list[str]) -> dict[str, Any]:
    names = list(catalog.methods_of(want))
    file = {"type": "string", "pattern": r"\.py:\w+$", "description": "with --allow-code only"}
    entry = {
        "anyOf": [
            {"enum": names},
            file,
            *({"$ref": TEMPLATE.format(model=arm)} for arm in arms),
            {"type": "object", "properties": {"name": file}, "required": ["name"]},
        ]
    }
    many = {"type": "array", "items": entry, "minItems": 1, "maxItems": 50}
    return {"anyOf": [*entry["anyOf"], many]}


def _reference(schemes: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """A bare reference, or for each scheme a mapping with its own settings."""
    pattern = f"^({'|'.join(schemes)}):."
    forms: list[dict[str, Any]] = [{"type": "string", "pattern": pattern}]
    for scheme, options in schemes.items():
        ref = {"type": "string", "pattern": f"^{scheme}:.", "description": options["description"]}
        properties = {"ref": ref, **options["properties"]}
        forms.append({**options, "properties": properties, "required": ["ref"]})
    return {"anyOf": forms}
