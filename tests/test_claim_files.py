"""The claims and recipes in this checkout: each can be read, and says what the methods know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bequeath.evidence.claims import SCALES, Claim, load_claim, scale_jobs
from bequeath.evidence.judge import Judgement
from bequeath.fleet import evaluate, reproduce
from bequeath.job.api import load_job
from bequeath.job.document import Document, from_plain
from bequeath.job.job import Job
from bequeath.job.resolve import resolve
from bequeath.kernel.errors import JobError, RunError
from bequeath.methods.catalog import all_methods, family_of

ROOT = Path(__file__).resolve().parents[1]
CLAIMS = sorted((ROOT / "claims").glob("*.yaml"))
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
# Measured on every student beside its teacher, where both classifiers are known.
NOTES = {"feature_norm_ratio", "feature_cosine", "feature_scatter"}
NOT_THERE = {"M301", "D201"}

every_claim = pytest.mark.parametrize("path", CLAIMS, ids=lambda p: p.stem)
every_recipe = pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)


def jobs(claim: Claim, scale: str, tmp: Path) -> tuple[dict[str, Job], Job]:
    """(prepared jobs, the job) of a scale, typed; the data they need are empty files."""
    for name in claim.scales[scale].needs_data:
        path = tmp / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    made = {name: tmp / name for name in claim.scales[scale].prepare}
    first, job = scale_jobs(claim, scale, tmp / "data", made)
    return {name: typed(one) for name, one in first.items()}, typed(job)


def typed(job: dict[str, Any]) -> Job:
    return resolve(Document(from_plain(job)))


def test_there_are_claims_and_recipes():
    assert CLAIMS and RECIPES
    wanted = {m.name for m in all_methods().values() if m.name == "nd"}
    assert wanted <= {path.stem.partition("-")[2] for path in CLAIMS}


@every_claim
def test_claims_can_be_read_and_run(path, tmp_path):
    claim = load_claim(path)
    assert claim.id == path.stem and "smoke" in claim.scales
    for scale in SCALES:
        if scale not in claim.scales:
            continue
        prepared, job = jobs(claim, scale, tmp_path / scale)
        assert len(job.seeds) == claim.scales[scale].seeds
        assert all(len(one.arms) == 1 for one in prepared.values())
        assert all(len(one.seeds) in (1, len(job.seeds)) for one in prepared.values())


@every_claim
def test_statements_speak_of_what_is_measured(path, tmp_path):
    claim = load_claim(path)
    for scale in claim.scales:
        _, job = jobs(claim, scale, tmp_path / scale)
        arms = {arm.label for arm in job.arms}
        family = family_of(job.want)
        known = arms | {*job.model_refs} if family.reference else arms
        assert claim.baseline in {None, *arms}
        assert claim.primary in job.evaluate.metrics
        for statement in claim.statements:
            assert statement.arm in arms and statement.versus in {None, *known}
            if not statement.metric.startswith("notes."):
                assert statement.metric in {*job.evaluate.metrics, *family.metrics, *NOTES}


@every_claim
def test_smoke_needs_nothing_that_is_not_here(path, tmp_path):
    claim = load_claim(path)
    assert not claim.scales["smoke"].needs_data
    prepared, _ = scale_jobs(
        claim, "smoke", None, dict.fromkeys(claim.scales["smoke"].prepare, tmp_path)
    )
    for job in prepared.values():
        try:
            load_job(job, [f"out={tmp_path / 'out'}"])
        except JobError as error:  # the model of an earlier job that has not run here
            assert {problem.code for problem in error.problems} == {"M301"}


def test_a_claim_is_judged(tmp_path, monkeypatch):
    """The whole way of `bequeath reproduce nd --scale smoke`, with less training."""
    text = (ROOT / "claims" / "62-nd.yaml").read_text(encoding="utf-8")
    assert "epochs: 40" in text and "seeds: 3" in text
    (tmp_path / "claims").mkdir()
    shorter = text.replace("epochs: 40", "epochs: 2").replace("seeds: 3", "seeds: 2")
    (tmp_path / "claims" / "62-nd.yaml").write_text(shorter, encoding="utf-8")
    monkeypatch.setattr(evaluate, "LATENCY_SECONDS", 0.0)
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BEQUEATH_DATA", raising=False)
    places = {"claims": tmp_path / "claims", "evidence": tmp_path / "evidence"}
    judged = reproduce("nd", "smoke", tmp_path / "runs" / "nd", quiet=True, **places)
    assert isinstance(judged, Judgement) and judged.sentence
    kept = list((tmp_path / "evidence").rglob("*.json"))
    assert kept and all(path.stat().st_size for path in kept)
    names = {s.name for s in load_claim(tmp_path / "claims" / "62-nd.yaml").statements}
    assert all(name in kept[0].read_text(encoding="utf-8") for name in names)

    runs = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("record.json")}
    assert len(runs) == 1 + 2 * 4 + 1  # the teacher, 3 arms and `ce` twice, the reference
    again = reproduce("nd", "smoke", tmp_path / "runs" / "nd", quiet=True, **places)
    assert again.sentence == judged.sentence
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("record.json")} == runs
    places["evidence"] = kept[0] / "no folder"
    with pytest.raises(RunError) as caught:
        reproduce("nd", "smoke", tmp_path / "runs" / "nd", quiet=True, **places)
    assert caught.value.problem.code == "R522"


@every_recipe
def test_recipes_lack_nothing_but_data(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where none of the data and teachers are
    try:
        load_job(path)
    except JobError as error:
        if any("pip install" in r for problem in error.problems for r in problem.remedies):
            pytest.skip("needs a library that is not installed")
        assert {problem.code for problem in error.problems} <= NOT_THERE
        assert all(problem.place is not None for problem in error.problems)
