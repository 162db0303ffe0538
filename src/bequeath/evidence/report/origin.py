"""Where the results come from: the seal, the provenance, how to use and how to repeat."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from bequeath.evidence.inputs import Inputs
from bequeath.evidence.record import RunRecord
from bequeath.evidence.report.words import clean, flat, show_size
from bequeath.kernel.errors import visible_lines


def seal_rows(inputs: Inputs) -> list[dict[str, Any]]:
    """What each arm declared that it must see, and what it reached for beyond."""
    rows = []
    for name in inputs.order:
        records = [r for (arm, _), r in inputs.records.items() if arm == name]
        attempts = list(dict.fromkeys(clean(a) for r in records for a in r.seal.attempts))
        rows.append(
            {
                "name": clean(name),
                "method": clean(records[0].run.method),
                "declared": _lines(records[0].seal.declared),
                "attempts": attempts,
            }
        )
    return rows if any(row["declared"] or row["attempts"] for row in rows) else []


def _lines(declared: Mapping[str, Any]) -> list[str]:
    """`{"models": {"student": {"access": "weights", ...}}}` -> `student: weights, trained`."""
    lines = []
    for group, entries in declared.items():
        if isinstance(entries, Mapping):
            lines += [f"{clean(str(role))}: {_need(need)}" for role, need in entries.items()]
        elif entries:
            lines.append(f"{clean(str(group))}: {flat(entries)}")
    return lines


def _need(need: Any) -> str:
    if not isinstance(need, Mapping):
        return flat(need)
    said = []
    for key, value in need.items():
        if key == "labels":
            said.append({"none": "no labels", "all": "all labels"}.get(value, f"{value} labels"))
        elif key == "trains":
            said += ["trained"] if value else []
        else:
            said.append(flat(value) if key == "access" else f"{key} {flat(value)}")
    return clean(", ".join(said))


def facts(inputs: Inputs) -> list[tuple[str, str]]:
    """Versions, code, machine; several values where the runs differ."""
    records = list(inputs.records.values())
    commits = _distinct(_code(r) for r in records)
    made = [
        ("bequeath", _distinct(r.provenance.bequeath for r in records)),
        ("code", commits),
        ("experiments", _distinct(r.provenance.job_hash for r in records)),
        ("started", min(r.provenance.started for r in records)),
        ("last run started", max(r.provenance.started for r in records)),
        ("machine", _distinct(_machine(r) for r in records)),
        ("versions", _distinct(_versions(r) for r in records)),
    ]
    return [(label, clean(text, 600)) for label, text in made if text]


def _distinct(values: Any) -> str:
    return "; ".join(dict.fromkeys(str(v) for v in values if v))


def _code(record: RunRecord) -> str:
    origin = record.provenance
    if origin.commit is None:
        return "an installed package (no commit known)"
    state = {True: ", with uncommitted changes", False: ", clean", None: ""}[origin.dirty]
    return f"commit {origin.commit}{state}"


def _machine(record: RunRecord) -> str:
    m = record.provenance.machine
    return (
        f"{m.cpu}, {m.cores} cores, {show_size(m.memory_bytes)}, {m.device}, "
        f"{m.threads} threads, {m.os}"
    )


def _versions(record: RunRecord) -> str:
    return ", ".join(f"{k} {v}" for k, v in sorted(record.provenance.versions.items()))


def sources(inputs: Inputs) -> list[dict[str, str]]:
    """Models and data by role with reference, hash and licence or size."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for record in [*inputs.records.values(), *inputs.references.values()]:
        origin = record.provenance
        for role, model in origin.models.items():
            rows[("model", role, model.hash or "")] = {
                "kind": "model", "role": clean(role), "ref": clean(model.ref),
                "hash": clean(model.hash or "–"),
                "about": clean(model.licence or "licence unknown"),
            }  # fmt: skip
        for role, data in origin.data.items():
            size = "–" if data.n is None else f"{data.n:,} samples"
            rows[("data", role, data.hash or "")] = {
                "kind": "data", "role": clean(role), "ref": clean(data.ref),
                "hash": clean(data.hash or "–"), "about": size,
            }  # fmt: skip
    return [rows[key] for key in sorted(rows, key=lambda k: (k[0] != "model", k[1], k[2]))]


def dirty(inputs: Inputs) -> bool:
    return any(r.provenance.dirty for r in inputs.records.values())


def repeat_commands(inputs: Inputs) -> str:
    """The lines that run this job again, from the folder that holds the report."""
    target = shlex.quote(f"{inputs.job.get('out') or 'runs/' + inputs.out.name}-again")
    lines = []
    commit = inputs.any_record().provenance.commit
    if commit:
        lines.append(f"git checkout {shlex.quote(commit)}    # in the source of bequeath")
    lines.append(f"bequeath run job.yaml --set out={target}")
    return visible_lines("\n".join(lines))


def left_files(inputs: Inputs) -> list[str]:
    """What else the headline run left, as paths below `out`."""
    seed = inputs.any_record().run.seed
    return [f"runs/{clean(inputs.headline)}/seed-{seed}/{clean(name)}" for name in inputs.left]


def model_path(inputs: Inputs) -> str | None:
    """Folder of the headline model, relative to `out`."""
    if inputs.model_folder is None:
        return None
    return inputs.model_folder.relative_to(inputs.out).as_posix()


__all__ = [
    "dirty", "facts", "left_files", "model_path", "repeat_commands", "seal_rows", "sources",
]  # fmt: skip
