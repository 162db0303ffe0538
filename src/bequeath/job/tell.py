"""What there is to be known of methods, settings and codes, as plain values for any output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from bequeath.given.access import Labels, Needs
from bequeath.job import words
from bequeath.job.sections import Top
from bequeath.kernel.codes import CODES, Code
from bequeath.methods import catalog
from bequeath.methods.contract import Method


@dataclass(frozen=True)
class Setting:
    """One setting: dotted name, what it takes, its default, what it means, whence the default."""

    name: str
    takes: str
    default: Any
    means: str
    source: str = ""


Topic = tuple[str, Code] | Method | Setting


def method_facts(method: Method) -> dict[str, Any]:
    """One method as JSON values: the machine-readable twin of the list."""
    return {
        "name": method.name,
        "want": method.want,
        "title": method.title,
        "paper": method.paper,
        "needs": needs_facts(method.needs),
        "settings": {
            one.name: {
                "takes": one.takes,
                "default": one.default,
                "means": one.means,
                "source": one.source,
            }
            for one in settings_of(method.Config)
        },
    }


def needs_facts(needs: Needs) -> dict[str, Any]:
    return {
        "models": {
            role: {
                "access": one.access.name.lower(),
                "trains": one.trains,
                "optional": one.optional,
            }
            for role, one in needs.models.items()
        },
        "data": {
            role: {"labels": one.labels.name.lower(), "optional": one.optional}
            for role, one in needs.data.items()
        },
        "graphs": list(needs.graphs),
    }


def needs_in_words(needs: Needs) -> str:
    """`teacher (logits), student (trained), train (labelled)`."""
    parts = []
    for role, model in needs.models.items():
        depth = "trained" if model.trains else model.access.name.lower().replace("_", "-")
        parts.append(f"{role} ({depth}{', optional' if model.optional else ''})")
    said = {Labels.NONE: "no labels", Labels.FEW: "few labels", Labels.ALL: "labelled"}
    for role, data in needs.data.items():
        parts.append(f"{role} ({said[data.labels]}{', optional' if data.optional else ''})")
    return ", ".join([*parts, *needs.graphs])


def settings_of(model: type[BaseModel], prefix: str = "") -> list[Setting]:
    """All settings of a model, nested ones by their dotted names, in the order declared."""
    found = []
    for name, info in model.model_fields.items():
        key = info.alias or name
        deeper = words.inner(info.annotation)
        if deeper is not None:
            found += settings_of(deeper, f"{prefix}{key}.")
            continue
        prop = words.settings(model)[key]
        takes = words.allowed(model, key).partition(", default")[0]
        source = str(prop.get("source", ""))
        means = prop.get("description", "")
        found.append(Setting(prefix + key, takes, prop.get("default"), means, source))
    return found


def topic(name: str) -> Topic:
    """A code, a method (`kd`, `distill/kd`), or a setting (`kd.temperature`, `train.epochs`).

    LookupError with a did-you-mean when there is nothing of that name, or more than one method.
    """
    if name.upper() in CODES:
        return name.upper(), CODES[name.upper()]
    if found := catalog.named(name):
        return _only(found)
    settings = {one.name: one for one in settings_of(Top)}
    if name in settings:
        return settings[name]
    head = name.partition(".")[0]
    if found := catalog.named(head):
        settings = {one.name: one for one in settings_of(_only(found).Config, f"{head}.")}
        if name in settings:
            return settings[name]
    methods = {one.name: one for one in catalog.all_methods().values()}
    label = words.one_of(name, [*settings] if "." in name else [*methods, *CODES, *settings])
    raise LookupError(f"nothing is called `{name}`; {label}")


def _only(found: list[Method]) -> Method:
    if len(found) > 1:
        keys = " or ".join(f"`{one.key}`" for one in found)
        raise LookupError(f"several families have a method `{found[0].name}`; say {keys}")
    return found[0]
