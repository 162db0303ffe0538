"""A job written out in full: every setting, defaults included, and where each came from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from bequeath.job.job import Arm, Job, Reference
from bequeath.job.yaml import scalar
from bequeath.kernel.errors import JobPath, visible

_PLAIN = re.compile(r"[A-Za-z0-9_./~^$+][A-Za-z0-9_./~^$+:=?&%,@ -]*(?<![: ])")
# what JSON leaves as it is and YAML takes for a line break, or does not allow
_AWKWARD = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_COMMENT_COLUMN = 44


def resolved(job: Job) -> dict[str, Any]:
    """The whole job as plain JSON values. `load_job` of it gives an equal job."""
    asked = [_arm(arm) for arm in job.arms if not arm.added]
    return {
        "want": job.want,
        "method": asked if any(arm.index is not None for arm in job.arms) else asked[0],
        "models": {role: _reference(ref) for role, ref in job.model_refs.items()},
        "data": {role: _reference(ref) for role, ref in job.data_refs.items()},
        "graphs": {role: _reference(ref) for role, ref in job.graph_refs.items()},
        "evaluate": _dump(job.evaluate),
        **({} if job.protocol is None else {"protocol": _dump(job.protocol)}),
        "seeds": list(job.seeds),
        "budget": _dump(job.budget),
        "train": _dump(job.train),
        "out": str(job.out),
        "baselines": job.baselines,
    }


def to_yaml(job: Job, *, origins: bool = False) -> str:
    """YAML that loads to an equal job; with `origins`, a comment on each line says from where."""
    lines: list[str] = []
    _emit(lines, resolved(job), (), 0, job if origins else None)
    if origins:
        lines += [f"# added to compare with: {arm.label}" for arm in job.arms if arm.added]
    return "\n".join(lines) + "\n"


def quoted(value: Any) -> str:
    """A scalar as YAML 1.2; text is left bare only where nothing else could be read from it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if not isinstance(value, str):
        return str(value)
    if _PLAIN.fullmatch(value) and ": " not in value and isinstance(scalar(value), str):
        return value
    text = json.dumps(value, ensure_ascii=False)
    return _AWKWARD.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def _float(value: float) -> str:
    if value != value:
        return ".nan"
    if value in (float("inf"), float("-inf")):
        return ".inf" if value > 0 else "-.inf"
    return repr(value)


def _arm(arm: Arm) -> dict[str, Any]:
    label = {} if arm.label == arm.method.name else {"as": arm.label}
    return {"name": arm.reference or arm.method.name, **label, **_dump(arm.config)}


def _reference(ref: Reference) -> dict[str, Any]:
    return {"ref": ref.ref, **_dump(ref.options)}


def _dump(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True)


def _emit(
    lines: list[str], value: Mapping[str, Any], at: JobPath, indent: int, job: Job | None
) -> None:
    pad = "  " * indent
    for key, one in value.items():
        here = (*at, key)
        name = quoted(key)
        if isinstance(one, dict) and one:
            lines.append(f"{pad}{name}:")
            _emit(lines, one, here, indent + 1, job)
        elif isinstance(one, list) and any(isinstance(x, dict) for x in one):
            lines.append(f"{pad}{name}:")
            _emit_items(lines, one, here, indent + 1, job)
        else:
            lines.append(_commented(f"{pad}{name}: {_flow(one)}", here, job))


def _emit_items(
    lines: list[str], items: list[Any], at: JobPath, indent: int, job: Job | None
) -> None:
    pad = "  " * indent
    for i, one in enumerate(items):
        start = len(lines)
        _emit(lines, one, (*at, i), indent + 1, job)
        lines[start] = f"{pad}- {lines[start].lstrip()}"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{}"
    if not isinstance(value, list):
        return quoted(value)
    return "[" + ", ".join(_item(one) for one in value) + "]"


def _item(value: Any) -> str:
    """A scalar inside a flow list, where commas and brackets have a meaning of their own."""
    if isinstance(value, list):
        return _flow(value)
    text = quoted(value)
    awkward = isinstance(value, str) and text == value and not value.isidentifier()
    return json.dumps(value) if awkward else text


def _commented(line: str, at: JobPath, job: Job | None) -> str:
    if job is None:
        return line
    origin = _origin(job, at)
    return f"{line.ljust(_COMMENT_COLUMN)}  # {visible(origin)}"


def _origin(job: Job, at: JobPath) -> str:
    """Short forms (`method: kd`, a bare reference, a query) stand where the long form would."""
    document = job.document
    short = at[-1] in ("ref", "name") and _is_text(document.plain, at[:-1])
    if short:
        return document.origin(at[:-1])
    refs = {"models": job.model_refs, "data": job.data_refs, "graphs": job.graph_refs}
    if at[0] in refs and len(at) >= 3:
        ref = refs[str(at[0])][str(at[1])]
        if at[2] in ref.query:
            bare = _is_text(document.plain, at[:2])
            return document.origin(at[:2] if bare else (*at[:2], "ref"))
    return document.origin(at)


def _is_text(value: Any, at: JobPath) -> bool:
    for part in at:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return False
    return isinstance(value, str)
