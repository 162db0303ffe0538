"""Everything a report or a card is made from, read once from an `out/` folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bequeath.evidence.bench import Bench, open_bench
from bequeath.evidence.comparison import Arm, Comparison, Pair
from bequeath.evidence.record import RunRecord, find_references, find_runs, load_record
from bequeath.kernel.errors import Problem, RunError, visible_lines

# What the report itself reads from a run folder; anything else there is what the run was for.
_OWN = frozenset({"record.json", "predictions.parquet", "log.jsonl", "model"})


@dataclass(frozen=True)
class Inputs:
    """order: arms as they are shown (asked for, then baselines); headline: the arm asked for.

    logs: (arm, seed) -> lines of log.jsonl. about: what `bequeath.json` says of the headline
    model; load: the snippet that loads it; left: other files in the headline run's folder.
    """

    out: Path
    job: dict[str, Any]
    job_text: str
    comparison: Comparison
    bench: Bench
    records: dict[tuple[str, int], RunRecord]
    references: dict[str, RunRecord]
    order: list[str]
    headline: str
    model_folder: Path | None
    load: str | None
    about: dict[str, Any]
    left: list[str] = field(default_factory=list)
    logs: dict[tuple[str, int], list[dict[str, Any]]] = field(default_factory=dict)

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.comparison.arms if arm.arm == name)

    def arms(self) -> list[Arm]:
        return [self.arm(name) for name in self.order]

    def look(self, name: str) -> int:
        """The colour and mark of an arm: the baseline is grey, the headline is the first."""
        if name == self.comparison.baseline and len(self.order) > 1:
            return 7
        return self.order.index(name) % 7

    def versus_baseline(self, name: str) -> Pair | None:
        return _find(self.comparison.versus_baseline, name, self.comparison.baseline)

    def versus_reference(self, name: str, role: str) -> Pair | None:
        return _find(self.comparison.versus_reference, name, role)

    def runs_of(self, name: str) -> list[RunRecord]:
        """The records of an arm, by seed."""
        return [r for (arm, _), r in sorted(self.records.items()) if arm == name]

    @property
    def headline_rule(self) -> str:
        """How the headline was chosen."""
        rule = "the first method that the job asks for"
        if self.comparison.primary is not None:
            rule += ", never the one with the best test score"
        if self.model_folder is not None:
            rule += "; its model is the one of the first seed"
        return rule

    def any_record(self) -> RunRecord:
        return self.records[(self.headline, self.arm(self.headline).seeds[0])]


def read_inputs(out: Path) -> Inputs:
    """Read and compare the runs of `out`. RunError R564 when there is none."""
    from bequeath.evidence.compare import compare_bench

    job, job_text = _read_job(out / "job.yaml")
    records = [load_record(folder) for folder in find_runs(out)]
    if not records:
        raise RunError(
            Problem(
                "R564",
                f"`{out.name}` holds no finished run",
                label="a report needs at least one",
                remedies=("run the job first: `bequeath run JOB`",),
            )
        )
    evaluate = job.get("evaluate")
    evaluate = evaluate if isinstance(evaluate, Mapping) else {}
    order = _order(job, records)
    headline = order[0]
    bench = open_bench(out, order=order)
    comparison = compare_bench(
        bench,
        primary=_primary(evaluate, records),
        margin=float(evaluate.get("margin", 0.01)),
        expected=_expected(job, order),
    )
    first = min(r.run.seed for r in records if r.run.arm == headline)
    run = out / "runs" / headline / f"seed-{first}"
    model = run / "model"
    about = _read_json(model / "bequeath.json")
    load = about.get("load")
    return Inputs(
        out=out,
        job=job,
        job_text=visible_lines(job_text),
        comparison=comparison,
        bench=bench,
        records={(r.run.arm, r.run.seed): r for r in records},
        references={folder.name: load_record(folder) for folder in find_references(out)},
        order=order,
        headline=headline,
        model_folder=model if model.is_dir() else None,
        load=visible_lines(load) if isinstance(load, str) else None,
        about=about,
        left=sorted(f.name for f in run.iterdir() if f.name not in _OWN and f.name[0] != "."),
        logs={
            (r.run.arm, r.run.seed): _read_log(
                out / "runs" / r.run.arm / f"seed-{r.run.seed}" / "log.jsonl"
            )
            for r in records
        },
    )


def _primary(evaluate: Mapping[str, Any], records: list[RunRecord]) -> str | None:
    """The first metric the job names that was measured in all runs of an arm; None: see compare."""
    lacking: dict[str, set[str]] = {}
    for record in records:
        named = set(evaluate.get("metrics") or [])
        lacking.setdefault(record.run.arm, set()).update(named - set(record.metrics))
    for name in evaluate.get("metrics") or []:
        if any(name not in absent for absent in lacking.values()):
            return str(name)
    return None


def _asked(job: Mapping[str, Any]) -> list[str]:
    """The arms that the job names, in its order."""
    methods = job.get("method", [])
    listed = methods if isinstance(methods, list) else [methods]
    return [str(m.get("as") or m.get("name")) if isinstance(m, Mapping) else str(m) for m in listed]


def _order(job: Mapping[str, Any], records: list[RunRecord]) -> list[str]:
    """Arms as the job lists them, added baselines last; the first is the headline."""
    there = list(dict.fromkeys(r.run.arm for r in records))
    added = {r.run.arm for r in records if r.run.baseline}
    order = [name for name in _asked(job) if name in there and name not in added]
    order += [name for name in there if name not in order and name not in added]
    return order + [name for name in there if name in added]


def _expected(job: Mapping[str, Any], order: list[str]) -> dict[str, list[int]] | None:
    """arm -> the seeds it should have; None when the job does not say."""
    seeds = job.get("seeds")
    wanted = list(range(seeds)) if isinstance(seeds, int) else seeds
    if not isinstance(wanted, list) or not all(isinstance(s, int) for s in wanted):
        return None
    return dict.fromkeys([*order, *_asked(job)], wanted)


def _read_job(path: Path) -> tuple[dict[str, Any], str]:
    if not path.is_file():
        return {}, ""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        job = YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return {}, text
    return (job if isinstance(job, dict) else {}), text


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _read_log(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; a last line cut by a crash is left out."""
    if not path.is_file():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            lines.append(value)
    return lines


def _find(pairs: list[Pair], arm: str, versus: str | None) -> Pair | None:
    return next((p for p in pairs if p.arm == arm and p.versus == versus), None)


__all__ = ["Inputs", "read_inputs"]
