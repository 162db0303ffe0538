"""`MODEL_CARD.md`: what came out, from whom, how good, how sure, how to load it.

A Hugging Face model card: YAML front matter that the hub reads, then plain Markdown. A part that
has nothing to say (no test data, no model) is left out.
"""

from __future__ import annotations

import io
import re
from pathlib import Path, PurePath
from typing import Any

from bequeath.evidence.comparison import Arm
from bequeath.evidence.inputs import Inputs, read_inputs
from bequeath.evidence.measure import Measure, change, interval, measure_of, value
from bequeath.evidence.record import RunRecord
from bequeath.evidence.report import origin, words
from bequeath.kernel.files import write_text

CARD_FILE = "MODEL_CARD.md"
_LIBRARIES = {"timm": "timm", "hf": "transformers"}
_TASKS = {
    "image": "image-classification",
    "text": "text-classification",
    "vector": "tabular-classification",
}


def write_card(out: Path) -> Path:
    """Write `out/MODEL_CARD.md` and a copy in the folder of the headline model.

    The headline model is that of the first method asked for, first seed; it is never chosen by
    its test score. Returns the card's path. RunError R564 when `out` holds no finished run.
    """
    inputs = read_inputs(out)
    text = card(inputs)
    write_text(out / CARD_FILE, text)
    if inputs.model_folder is not None:
        write_text(inputs.model_folder / CARD_FILE, text)
    return out / CARD_FILE


def card(inputs: Inputs) -> str:
    """The card as text."""
    parts = [
        _front_matter(inputs),
        f"# {_text(_name(inputs))}",
        _text(inputs.comparison.sentence),
        _what(inputs),
        _results(inputs),
        _loading(inputs),
        _limits(inputs),
        _licences(inputs),
        _provenance(inputs),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _name(inputs: Inputs) -> str:
    record = _headline(inputs)
    what = record.model.architecture if record.model is not None else record.run.want
    return f"{words.clean(what, 80)}, {words.clean(inputs.headline, 60)}"


def _headline(inputs: Inputs) -> RunRecord:
    return inputs.any_record()


def _front_matter(inputs: Inputs) -> str:
    from ruamel.yaml import YAML

    record = _headline(inputs)
    scheme = str(inputs.about.get("scheme", ""))
    # The hub's tasks are named by what goes in and comes out; only classifiers say both here.
    kind = str(inputs.about.get("kind", ""))
    task = _TASKS.get(kind) if inputs.comparison.classes else None
    identifier, name = _licence(record)
    head: dict[str, Any] = {"license": identifier}
    if name:
        head["license_name"] = name
    if record.model is not None:
        head["library_name"] = _LIBRARIES.get(scheme, "pytorch")
    if task:
        head["pipeline_tag"] = task
    head["tags"] = list(dict.fromkeys(["bequeath", record.run.want, record.run.method]))
    if record.metrics:
        head["metrics"] = list(record.metrics)
        judged = _judged_on(inputs)
        if judged is not None and record.model is not None:
            head["model-index"] = [_index(inputs, task or record.run.want, *judged)]
    buffer = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 1000
    yaml.dump(head, buffer)
    return f"---\n{buffer.getvalue()}---"


def _index(inputs: Inputs, task: str, role: str, ref: str) -> dict[str, Any]:
    """One result of the hub's model index: means over the seeds on the data that was judged on."""
    arm = inputs.arm(inputs.headline)
    return {
        "name": _name(inputs),
        "results": [
            {
                "task": {"type": task},
                "dataset": {"name": f"{ref} ({role})", "type": ref},
                "metrics": [
                    {"type": name, "name": f"{name}, mean of {spread.n_seeds} seed(s)",
                     "value": round(spread.mean, 6)}
                    for name, spread in arm.metrics.items()
                ],
            }
        ],
    }  # fmt: skip


def _judged_on(inputs: Inputs) -> tuple[str, str] | None:
    """(role, reference) of the data that judged; None when the record names none such."""
    evaluate = inputs.job.get("evaluate")
    role = str(evaluate.get("data", "test") if isinstance(evaluate, dict) else "test")
    source = _headline(inputs).provenance.data.get(role)
    return None if source is None else (role, words.clean(_public(source.ref), 120))


def _licence(record: RunRecord) -> tuple[str, str | None]:
    """The hub's identifier; `other` where the models it came from do not agree."""
    found = {m.licence for m in record.provenance.models.values()}
    if found <= {None}:
        return "unknown", None
    if len(found) == 1:
        return words.clean(str(found.pop()), 60).lower(), None
    return "other", "see-the-section-licence"


def _what(inputs: Inputs) -> str:
    record = _headline(inputs)
    model = record.model
    lines = [
        f"- **Method:** {_text(record.run.method)} (`want: {_text(record.run.want)}`); "
        f"settings: {_text(words.flat(record.run.config))}"
    ]
    if model is not None:
        time = ""
        if model.latency_ms:
            time = f"{words.milliseconds(model.latency_ms)} for one sample, "
        lines.append(
            f"- **Model:** {_text(model.architecture)}, {model.parameters:,} parameters, "
            f"{words.show_size(model.bytes)}, {time}hash {_code(model.hash)}"
        )
    for role, source in sorted(record.provenance.models.items()):
        licence = source.licence or "unknown"
        lines.append(
            f"- **{_text(role)}:** {_code(_public(source.ref))}, "
            f"hash {_code(source.hash or 'unknown')}, licence {_text(licence)}"
        )
    for role, data in sorted(record.provenance.data.items()):
        size = "" if data.n is None else f", {data.n:,} samples"
        lines.append(
            f"- **Data, {_text(role)}:** {_code(_public(data.ref))}{size}, "
            f"hash {_code(data.hash or 'unknown')}"
        )
    lines.append(
        f"- **Which {'model' if model else 'run'} this is:** {inputs.headline_rule} "
        f"(seed {record.run.seed})."
    )
    return "## What it is\n\n" + "\n".join(lines)


def _results(inputs: Inputs) -> str:
    comparison = inputs.comparison
    measure = comparison.measure
    if measure is None:
        return ""
    label = _text(measure.label)
    heads = ["arm", f"{label}, mean", "95 % interval", "seeds"]
    heads += [f"against {_text(comparison.baseline)}", "verdict", "parameters", "time"]
    rows = [[_text(arm.arm), *_cells(inputs, arm, measure)] for arm in inputs.arms()]
    for reference in comparison.references:
        found, model = reference.metrics.get(measure.name), reference.model
        shown = _text(value(found.mean if found else None, measure))
        size = words.count(model.parameters) if model else "–"
        name = f"{_text(reference.role)} (as it came)"
        rows.append([name, shown, "–", "–", "–", "–", size, "–"])
    keep = [k for k in range(len(heads)) if k < 2 or any(row[k] != "–" for row in rows)]
    table = [heads, ["---"] * len(heads), *rows]
    lines = ["| " + " | ".join(row[k] for k in keep) + " |" for row in table]
    judged = _judged_on(inputs)
    counted = f"{comparison.n_samples:,} {_text(measure.counts)}"
    if comparison.classes:
        counted += f", {len(comparison.classes):,} classes"
    intro = f"Measured on {counted}."
    if judged is not None:
        intro = f"Measured on {_code(judged[1])} (`{_text(judged[0])}`, {counted})."
    if comparison.versus_baseline:
        said = "of shares are in points and paired" if measure.hundredfold else "are paired"
        intro += f" Differences {said}."
    notes = "\n".join(f"- {_text(note)}" for note in comparison.notes)
    return f"## Results\n\n{intro}\n\n" + "\n".join(lines) + (f"\n\n{notes}" if notes else "")


def _cells(inputs: Inputs, arm: Arm, measure: Measure) -> list[str]:
    spread, pair = arm.metrics.get(measure.name), inputs.versus_baseline(arm.arm)
    between = spread.interval if spread else None
    against = "–"
    if pair is not None:
        against = change(pair.difference, measure)
        if pair.interval is not None:
            low, high = pair.interval.low, pair.interval.high
            against += f" ({interval(low, high, measure, signed=True)})"
    return [
        _text(value(spread.mean if spread else None, measure)),
        _text(interval(between.low, between.high, measure)) if between else "–",
        str(spread.n_seeds) if spread else "–",
        against,
        pair.verdict if pair else "–",
        words.count(arm.model.parameters) if arm.model else "–",
        words.show_seconds(arm.cost.wall_s if arm.cost.train_s is None else arm.cost.train_s),
    ]


def _loading(inputs: Inputs) -> str:
    if inputs.load is None:
        return ""
    # A fence longer than any run of backticks in the snippet, so that it cannot end early.
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", inputs.load)), default=0))
    return (
        "## How to load it\n\nWithout bequeath, from inside the model's folder:\n\n"
        f"{fence}python\n{inputs.load.strip()}\n{fence}"
    )


def _limits(inputs: Inputs) -> str:
    comparison = inputs.comparison
    least = inputs.versus_baseline(inputs.headline)
    lines = [
        "- The figures hold for the test data named above; on other data they may be anything.",
        "- Nothing was measured about fairness, robustness or misuse.",
    ]
    if comparison.measure is None:
        lines = ["- Nothing was measured: neither what it is worth, nor fairness or robustness."]
    if comparison.measure and least is not None and least.least_detectable is not None:
        size = change(abs(least.least_detectable), comparison.measure, True).lstrip("+")
        lines.append(
            f"- A difference smaller than {_text(size)} from the baseline could not be seen."
        )
    changes = [c for c in comparison.class_change if c.arm == inputs.headline and c.rows]
    if changes:
        worst = min(changes[0].rows, key=lambda row: row.change)
        if worst.change < 0:
            shown = change(worst.change, measure_of("accuracy"), True)
            lines.append(
                f"- The class that lost most against {_text(changes[0].versus)}: "
                f"{_text(worst.name)} ({shown}, {worst.n:,} test samples)."
            )
    for gone in comparison.missing:
        lines.append(f"- Missing: {_text(gone.arm)}, seed {gone.seed}. {_text(gone.reason)}")
    return "## Limits\n\n" + "\n".join(lines)


def _licences(inputs: Inputs) -> str:
    sources = _headline(inputs).provenance.models
    if not sources:
        return ""
    said = "; ".join(f"{_text(r)}: {_text(s.licence or 'unknown')}" for r, s in sources.items())
    return (
        f"## Licence\n\n{said}. A model that learnt from another may be bound by the other's "
        "licence; bequeath states what it found and decides nothing."
    )


def _provenance(inputs: Inputs) -> str:
    lines = [f"- **{label}:** {_text(text)}" for label, text in origin.facts(inputs)]
    repeat = origin.repeat_commands(inputs)
    return (
        "## Provenance\n\n" + "\n".join(lines) + "\n\nThe record of every run, what it left and "
        f"the report lie beside this card. To run it again:\n\n```sh\n{repeat}\n```"
    )


def _text(text: str | None) -> str:
    """A name in Markdown: no markup, no table cell, no HTML begins in it."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", words.clean(text or "", 1000))


def _public(ref: str) -> str:
    """A reference without the folders of the machine it was on: the card is made to be published.

    `file:/somewhere/models/teacher` -> `file:teacher`; relative references stay as they are.
    """
    scheme, colon, rest = ref.partition(":")
    path = PurePath(rest)
    return f"{scheme}:{path.name}" if colon and path.is_absolute() else ref


def _code(text: str) -> str:
    return f"`{words.clean(text).replace('`', chr(39)).replace('|', '/')}`"


__all__ = ["CARD_FILE", "card", "write_card"]
