"""The page of a method and the list of methods, from the catalog alone."""

from __future__ import annotations

import re
from typing import Any

from docs_tables import code, resolve, table, type_of

from bequeath.methods.catalog import family_of

_PLACEHOLDER = {"teacher": "file:teacher/", "student": "timm:resnet10t"}


def method_page(one: Any) -> str:
    """Everything the decorator knows: idea, source, needs, settings, a job, exact cases."""
    parts = [
        f"# {one.name}",
        f"**{one.title}** Family: [{one.want}](../index.md#{one.want}). "
        f"Source: {paper_link(one.paper)}.",
        one.doc,
        "## What it needs",
        _needs(one),
        "## Settings",
        _settings(one.Config),
        "## In a job",
        _job(one),
        "## What holds exactly",
        "Each case is a contract test.",
        "\n".join(f"- {_identity(case)}" for case in one.identity),
    ]
    return "\n\n".join(parts)


def methods_index(methods: dict[str, Any], families: dict[str, Any], about: dict[str, str]) -> str:
    """One table a family. about: family -> what its folder's docstring says."""
    parts = ["# Methods", "`bequeath list` prints the same; `bequeath list --json` for machines."]
    for want, family in families.items():
        rows = [
            (f"[`{m.name}`]({m.key}.md)", m.title, paper_link(m.paper), _needs_short(m.needs))
            for m in methods.values()
            if m.want == want
        ]
        parts += [f"## {want}", f"You own {family.own}; you get {family.get}.", about[want]]
        if family.baselines:
            names = ", ".join(f"`{name}`" for name in family.baselines)
            parts.append(
                f"Added to every job of the family, to answer whether it was worth it: {names}."
            )
        parts.append(table(("name", "what it does", "source", "needs"), rows))
    return "\n\n".join(parts)


def paper_link(paper: str) -> str:
    """`... arXiv 1503.02531` -> the same with a link."""
    linked = re.sub(r"arXiv[: ](\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", paper)
    return linked.rstrip(".")


def _needs(one: Any) -> str:
    rows = [(f"`{what}`", said, must) for what, (said, must) in _needs_rows(one.needs).items()]
    parts = [table(("what", "what the method sees of it", "required"), rows)]
    parts.append("Whatever is not in this table is sealed: the method cannot reach it.")
    if one.needs.same_classes:
        parts.append("The models and the data must agree on the number of classes.")
    parts += _needs_at_other_settings(one)
    return "\n\n".join(parts)


def _needs_rows(needs: Any) -> dict[str, tuple[str, str]]:
    rows = {}
    for role, need in needs.models.items():
        words = f"access to {need.access.name.lower().replace('_', '-')}"
        words += "; its weights are trained" if need.trains else "; frozen"
        words += "; the input of its classifier" if need.embedding else ""
        rows[f"models.{role}"] = (words, "no" if need.optional else "yes")
    for role, need in needs.data.items():
        rows[f"data.{role}"] = (_labels(need.labels), "no" if need.optional else "yes")
    return rows | {f"graphs.{role}": ("the graph", "yes") for role in needs.graphs}


def _labels(labels: Any) -> str:
    return {"NONE": "no labels", "FEW": "a few labels", "ALL": "its labels"}[labels.name]


def _needs_at_other_settings(one: Any) -> list[str]:
    """Needs may be a function of the settings: say where one setting at its edge changes them."""
    said = []
    usual = _needs_rows(one.needs)
    for name, schema in one.Config.model_json_schema().get("properties", {}).items():
        edges = schema.get("enum") or ([schema["minimum"]] if "minimum" in schema else [])
        for value in edges:
            rows = _needs_rows(one.needs_for(one.Config(**{name: value})))
            said += [
                f"With `{name}: {value:g}`: `{what}` is needed with {words}."
                if isinstance(value, int | float)
                else f"With `{name}: {value}`: `{what}` is needed with {words}."
                for what, (words, _) in rows.items()
                if usual.get(what) != rows[what]
            ]
    return said


def _needs_short(needs: Any) -> str:
    models = [f"{role} ({need.access.name.lower()})" for role, need in needs.models.items()]
    data = [f"{role} ({_labels(need.labels)})" for role, need in needs.data.items()]
    return ", ".join([*models, *data])


def _settings(config: Any) -> str:
    schema = config.model_json_schema()
    definitions = schema.get("$defs", {})
    rows = []
    for name, value in schema.get("properties", {}).items():
        field = resolve(value, definitions)
        search = field.get("search")
        rows.append(
            (
                f"`{name}`",
                type_of(field, definitions),
                code(field.get("default")),
                field.get("description", ""),
                str(field.get("source", "")),
                f"{search[0]} {search[1:]}" if search else "",
            )
        )
    if not rows:
        return "None."
    return table(("name", "type", "default", "what it is", "default from", "search range"), rows)


def _job(one: Any) -> str:
    needs = one.needs.over(("one", "other"), ("one", "other"))
    models = {
        role: _PLACEHOLDER.get(role, f"file:{role}/")
        for role, need in needs.models.items()
        if not need.optional
    }
    data = {r: f"folder:photos/{r}" for r, need in needs.data.items() if not need.optional}
    if family_of(one.want).judge == "required":
        data["test"] = "folder:photos/test"
    graphs = dict.fromkeys(needs.graphs, "kg:triples/")
    lines = ["```yaml", f"want: {one.want}", f"method: {one.name}"]
    for section, refs in (("models", models), ("data", data), ("graphs", graphs)):
        if refs:
            lines.append(f"{section}:")
            lines += [f'  {role}: {{ref: "{ref}"}}' for role, ref in refs.items()]
    return "\n".join([*lines, "out: runs/mine", "```"])


def _identity(case: Any) -> str:
    same = "to the last bit" if not case.within else f"every weight within {case.within:g}"
    against = (
        "the weights it began with" if case.equals == "start" else f"the result of `{case.equals}`"
    )
    return f"{case.says[0].upper()}{case.says[1:]}: equal to {against}, {same}."
