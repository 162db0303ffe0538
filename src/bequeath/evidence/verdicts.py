"""Committed judgements, `evidence/<claim id>/<scale>.json`, and the table made of them."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from bequeath.evidence.claims import SCALES
from bequeath.evidence.judge import Judgement, StatementResult
from bequeath.evidence.measure import figure, measure_of, suffix
from bequeath.evidence.record import POINTS
from bequeath.kernel.errors import Problem, RunError, dotted
from bequeath.kernel.files import write_json
from bequeath.kernel.units import show_seconds


def save_judgement(judgement: Judgement, folder: Path) -> Path:
    """Write `folder/<claim id>/<scale>.json`, whole or not at all."""
    path = folder / judgement.claim / f"{judgement.scale}.json"
    write_json(path, judgement.model_dump(mode="json"))
    return path


def load_judgements(folder: Path) -> list[Judgement]:
    """Every committed judgement, by card, then scale. RunError R568 for one that cannot be read."""
    found = []
    for scale in SCALES:
        for path in sorted(folder.glob(f"*/{scale}.json")):
            try:
                found.append(Judgement.model_validate(json.loads(path.read_text("utf-8"))))
            except (OSError, ValueError) as error:
                notes: tuple[str, ...] = ()
                if isinstance(error, ValidationError):
                    notes = tuple(f"{dotted(e['loc'])}: {e['msg']}" for e in error.errors()[:8])
                raise RunError(
                    Problem(
                        "R568",
                        f"the judgement `{path.parent.name}/{path.name}` cannot be read",
                        label="" if notes else str(error).splitlines()[0],
                        notes=notes,
                        remedies=("judge the claim again: `bequeath reproduce NAME`",),
                    )
                ) from error
    return sorted(found, key=lambda j: (j.card, j.claim, SCALES.index(j.scale)))


def evidence_folder() -> Path | None:
    """The judgements of this checkout, or of the folder one works in; None without any."""
    checkout = Path(__file__).resolve().parents[3] / "evidence"
    return next((f for f in (Path("evidence"), checkout) if any(f.glob("*/*.json"))), None)


def past_verdicts(folder: Path) -> dict[str, list[str]]:
    """method -> `small: supported (15 runs, 12 m)`, for each judged claim that bears its name."""
    found: dict[str, list[str]] = {}
    for j in load_judgements(folder):
        cost = f"{j.provenance.runs} runs, {show_seconds(j.provenance.wall_s)}"
        name = j.claim.partition("-")[2]
        found.setdefault(name, []).append(f"{j.scale}: {j.verdict} ({cost})")
    return found


def verdict_table(folder: Path) -> str:
    """A Markdown table of the judgements under `folder`, or a line that says there are none."""
    judgements = load_judgements(folder)
    if not judgements:
        return "No claim has been judged yet.\n"
    lines = [
        "| claim | scale | verdict | what was seen | runs | cost | code |",
        "|---|---|---|---|---|---|---|",
    ]
    for j in judgements:
        seen = "<br>".join(statement_line(s) for s in j.statements)
        source = j.provenance
        code = f"{source.bequeath} {(source.commit or 'installed')[:9]}"
        cells = [
            f"{j.claim}: {j.title}",
            j.scale,
            f"**{j.verdict}**",
            seen,
            str(source.runs),
            f"{show_seconds(source.wall_s)}, {source.machine.device}",
            code + (" with changes" if source.dirty else ""),
        ]
        lines.append(
            "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"
        )
    return "\n".join(lines) + "\n"


def statement_line(result: StatementResult) -> str:
    """`ND beats KD: nd - kd accuracy +0.6 points [-0.2, 1.4], 5 seeds: inconclusive`."""
    s = result.statement
    what = f"{s.arm} - {s.versus}" if s.versus else s.arm
    if result.difference is None:
        return f"{s.name}: {result.verdict} ({result.why})"
    measure = measure_of(s.metric).model_copy(update={"unit": result.unit})
    shown = figure(result.difference, measure)
    if s.versus and result.difference > 0:
        shown = f"+{shown}"
    unit = POINTS if measure.hundredfold and s.versus else suffix(measure)
    bounds = ""
    if result.low is not None and result.high is not None:
        bounds = f" [{figure(result.low, measure)}, {figure(result.high, measure)}]"
    n = len(result.seeds)
    told = "" if result.decides else " (reported, does not decide)"
    return (
        f"{s.name}: {what}, {s.metric} {f'{shown} {unit}'.rstrip()}{bounds}, "
        f"{n} seed{'' if n == 1 else 's'}: {result.verdict}{told}"
    )
