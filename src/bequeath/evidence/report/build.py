"""`write_report`: one self-contained page and its machine-readable twin, from an `out/` folder."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from bequeath.evidence.doctor import Finding, findings
from bequeath.evidence.inputs import Inputs, read_inputs
from bequeath.evidence.report import left, origin, pictures, tables, view
from bequeath.evidence.report.words import clean
from bequeath.kernel.files import write_json, write_text

REPORT_FILE = "report.html"
TWIN_FILE = "report.json"
_HERE = "bequeath.evidence.report"


def write_report(out: Path) -> Path:
    """Write `out/report.html` and `out/report.json`; returns the page's path.

    The same folder gives the same bytes. RunError R564 when `out` holds no finished run.
    """
    inputs = read_inputs(out)
    found = findings(inputs)
    page = render(inputs, found)
    write_json(out / TWIN_FILE, twin(inputs, found))
    write_text(out / REPORT_FILE, page)
    return out / REPORT_FILE


def twin(inputs: Inputs, found: Sequence[Finding] = ()) -> dict[str, Any]:
    """What the page says, as JSON values: the comparison, every record, the headline arm."""
    return {
        "schema_version": 1,
        "kind": "bequeath report",
        "sentence": inputs.comparison.sentence,
        "headline": {
            "arm": inputs.headline,
            "rule": inputs.headline_rule,
            "model": origin.model_path(inputs),
        },
        "comparison": inputs.comparison.model_dump(mode="json"),
        "diagnosis": [finding.model_dump(mode="json") for finding in found],
        "runs": [record.model_dump(mode="json") for _, record in sorted(inputs.records.items())],
        "references": {
            role: record.model_dump(mode="json")
            for role, record in sorted(inputs.references.items())
        },
    }


def render(inputs: Inputs, found: Sequence[Finding] = ()) -> str:
    """The page as text. Everything that comes from data is escaped by the template."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader(_HERE, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (files(_HERE) / "sort.js").read_text(encoding="utf-8")
    style = (files(_HERE) / "style.css").read_text(encoding="utf-8")
    comparison = inputs.comparison
    said: dict[str, Any] = {
        "warnings": view.warnings(comparison),
        "dirty": origin.dirty(inputs),
        "cards": view.cards(inputs),
        "arms": len(inputs.order),
        "all_cards": len(inputs.order) + len(comparison.references),
        "diagnosis": view.diagnosis(found),
        "notes": [clean(note, 500) for note in comparison.notes],
        "figures": _figures(inputs),
        "confusions": view.confusions(inputs),
        "flip_lists": view.flip_lists(inputs),
        "left": left.left_tables(inputs),
        "grids": tables.tables(inputs),
        "seal": origin.seal_rows(inputs),
        "facts": origin.facts(inputs),
        "sources": origin.sources(inputs),
        "load": inputs.load,
        "model_path": origin.model_path(inputs),
        "files": origin.left_files(inputs),
        "job_text": inputs.job_text,
        "repeat": origin.repeat_commands(inputs),
    }
    return environment.get_template("template.html.j2").render(
        title=f"{clean(inputs.headline)}: {clean(str(inputs.job.get('want', 'report')))}",
        policy=_policy(script, style),
        style=Markup(style),
        script=Markup(script),
        answer=split_answer(clean(comparison.sentence, 1000)),
        kicker=_kicker(inputs),
        sections=_sections(said),
        headline=clean(inputs.headline),
        headline_rule=inputs.headline_rule,
        version=clean(inputs.any_record().provenance.bequeath),
        brief=_brief(inputs),
        **said,
    )


def _sections(said: dict[str, Any]) -> list[tuple[str, str]]:
    """(id, words) of what the page has, for the links at its head."""
    drawn = said["figures"]
    pictures = next((k for k in ("cost", "differences", "curves", "flips") if drawn[k]), None)
    offered = [
        ("figures", "Key figures", said["cards"]),
        ("diagnosis", "What to look at", said["diagnosis"]),
        (pictures, "Pictures", pictures),
        ("left", "What the runs recorded", said["left"] or drawn["left"]),
        ("tables", "Tables", said["grids"]),
        ("seal", "Seal", said["seal"]),
        ("provenance", "Provenance", True),
        ("use", "Use the result", said["model_path"] or said["files"]),
        ("again", "Run it again", True),
    ]
    return [(str(name), words) for name, words, there in offered if there]


def split_answer(sentence: str) -> tuple[str, str]:
    """The first clause, set large as a sentence, and the rest; a `;` in brackets ends no clause."""
    depth = 0
    for place, letter in enumerate(sentence):
        depth += (letter == "(") - (letter == ")")
        if letter == ";" and depth == 0:
            return sentence[:place] + ".", sentence[place + 1 :].strip()
    return sentence, ""


def _figures(inputs: Inputs) -> dict[str, list[pictures.Picture]]:
    return {
        "cost": pictures.quality_and_cost(inputs),
        "differences": pictures.differences(inputs),
        "curves": pictures.learning_curves(inputs),
        "flips": pictures.flip_pictures(inputs),
        "classes": pictures.class_pictures(inputs),
        "left": left.left_curves(inputs),
    }


def _kicker(inputs: Inputs) -> str:
    comparison = inputs.comparison
    seeds = max(len(arm.seeds) for arm in comparison.arms)
    arms, classes, measure = len(comparison.arms), len(comparison.classes), comparison.measure
    said = [
        clean(str(inputs.job.get("want") or inputs.any_record().run.want)),
        f"{arms} arm" + ("s" if arms != 1 else ""),
        f"{seeds} seed" + ("s" if seeds != 1 else ""),
    ]
    if measure is not None:
        said.append(f"{comparison.n_samples:,} {clean(measure.counts)}")
        said += [f"{classes:,} classes"] if classes else []
        said.append(f"measured by {clean(measure.label)}")
    else:
        said.append("nothing measured")
    return " · ".join(said)


def _brief(inputs: Inputs) -> dict[str, Any]:
    """The figures that travel inside the page, for a program that has only the page."""
    comparison = inputs.comparison
    fields = {"arms", "references", "versus_baseline", "versus_reference", "primary", "margin"}
    return {
        "kind": "bequeath report (brief)",
        "sentence": comparison.sentence,
        "headline": inputs.headline,
        **comparison.model_dump(mode="json", include=fields),
    }


def _policy(script: str, style: str) -> str:
    """Nothing may be fetched; the one script and the one style sheet are known by their hashes.

    Attributes may have styles (the shade of a cell). `style-src` is for browsers that do not know
    its two parts.
    """
    return (
        f"default-src 'none'; script-src '{_known(script)}'; style-src 'unsafe-inline'; "
        f"style-src-elem '{_known(style)}'; style-src-attr 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _known(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


__all__ = ["REPORT_FILE", "TWIN_FILE", "render", "twin", "write_report"]
