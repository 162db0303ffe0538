"""A job from its file to its folder: what it leaves, and what it does not do twice."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from tiny_jobs import METRICS, SECRET, job, plain, record, result, runs, tree

from bequeath import cli
from bequeath.evidence.predictions import load_predictions
from bequeath.fleet import cost, run_job
from bequeath.given.models import load_model
from bequeath.job.api import load_job
from bequeath.kernel.errors import JobError, RunError


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A copy of the finished job."""
    return shutil.copytree(made, tmp_path / "out")


def codes(error: JobError) -> list[str]:
    return [problem.code for problem in error.problems]


def test_the_folder_is_complete(made):
    assert {p.name for p in made.iterdir()} == {
        ".bequeath", ".bequeath-lock", ".bequeath-report-lock",
        "MODEL_CARD.md", "job.yaml", "references", "report.html", "report.json", "runs",
    }  # fmt: skip
    assert runs(made) == {"kd/seed-0", "ce/seed-0"}
    for arm in ("kd", "ce"):
        folder = made / "runs" / arm / "seed-0"
        assert {p.name for p in folder.iterdir()} == {
            "log.jsonl", "model", "predictions.parquet", "record.json",
        }  # fmt: skip
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines][-1] == record(made, arm).train.steps > 0
    assert {p.name for p in (made / "references").iterdir()} == {"teacher"}


def test_the_record_says_what_was_done(made):
    kd, ce = record(made, "kd"), record(made, "ce")
    assert (kd.run.method, kd.run.seed, kd.run.config["temperature"]) == ("kd", 0, 4.0)
    assert (kd.run.baseline, ce.run.baseline) == (False, True)
    assert list(kd.metrics) == METRICS and kd.metrics["accuracy"].n == 60
    assert kd.train.stopped == "done" and kd.train.epochs == 3.0
    assert kd.seal.attempts == [] and set(kd.seal.declared["models"]) == {"teacher", "student"}
    assert set(ce.seal.declared["models"]) == {"student"}
    assert kd.cost.cache is not None and ce.cost.cache is None
    assert kd.provenance.data["train"].n == 120 and len(kd.provenance.data["test"].hash) == 32
    assert kd.provenance.machine.threads == 1
    assert kd.model.parameters == 64 * 8 + 8 + 8 * 10 + 10


def test_predictions_model_and_record_agree(made):
    folder = made / "runs" / "kd" / "seed-0"
    rows = load_predictions(folder)
    said = rows.answers
    assert len(rows) == 60 and rows.idx.tolist() == list(range(60))
    accuracy = record(made, "kd").metrics["accuracy"].value
    assert accuracy == pytest.approx(said.correct.mean())
    nll = record(made, "kd").metrics["nll"].value
    assert nll == pytest.approx(said.nll.mean(), rel=1e-5)
    assert nll == pytest.approx(rows.terms["nll"].mean(), rel=1e-5)
    model = load_model(folder / "model")
    samples = load_job(plain()).data["test"].load()
    with torch.no_grad():
        again = model(samples.fetch(torch.arange(60))).argmax(1)
    assert again.tolist() == said.pred.tolist()
    assert samples.y.tolist() == said.label.tolist()


def test_the_job_in_the_folder_is_the_job(made):
    first, again = job(made), load_job(made / "job.yaml")
    assert again.to_dict() == first.to_dict()
    assert [p.code for p in cli_problems(["check", str(made / "job.yaml")])] == []


def cli_problems(arguments: list[str]) -> list:
    assert cli.run_cli(arguments) == 0
    return []


def test_the_report_is_one_file(made):
    html = (made / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](https?:)?//""", html)
    report = json.loads((made / "report.json").read_text(encoding="utf-8"))
    assert report["sentence"].split()[0] in html
    assert (made / "MODEL_CARD.md").read_text(encoding="utf-8").strip()


def test_no_value_of_the_environment_is_kept(made):
    kept = b"".join(content for _, content in tree(made).values())
    assert SECRET.encode() not in kept


def test_a_second_run_does_nothing(out):
    before = tree(out, "runs", "references")
    assert run_job(job(out), quiet=True) == out
    assert tree(out, "runs", "references") == before


def test_more_seeds_and_methods_run_only_what_is_new(out):
    before = tree(out, "runs", "references")
    run_job(job(out, seeds=2, method=["kd", {"name": "nd", "as": "nd-2"}]), quiet=True)
    assert runs(out) == {f"{arm}/seed-{s}" for arm in ("kd", "ce", "nd-2") for s in (0, 1)}
    after = tree(out, "runs", "references")
    assert {name: after[name] for name in before} == before
    assert result(out, "kd", 0)[0] != result(out, "kd", 1)[0]


def test_settings_that_change_no_result_are_no_other_job(out):
    before = tree(out, "runs")
    run_job(job(out, train={"cache": "off", "checkpoint_every": 5}), quiet=True)
    assert tree(out, "runs") == before


@pytest.mark.parametrize(
    "change",
    [
        {"train": {"epochs": 4}},
        {"method": {"name": "kd", "temperature": 2.0}},
        {"models": {"teacher": "zoo:mlp?hidden=16", "student": "zoo:mlp?hidden=9"}},
        {"data": {"train": "sklearn:digits?split=train&take=110", "test": plain()["data"]["test"]}},
        {"data": {"train": plain()["data"]["train"], "test": "sklearn:digits?split=test&take=50"}},
        {"evaluate": {"metrics": ["accuracy"]}},
        {"method": "dkd"},
    ],
    ids=["epochs", "setting", "model", "training data", "test data", "metrics", "method"],
)
def test_another_job_is_kept_out(out, change):
    before = tree(out)
    with pytest.raises(JobError) as caught:
        run_job(job(out, **change), quiet=True)
    (problem,) = caught.value.problems
    assert problem.code == "R511" and problem.at == ("out",)
    assert any("--fresh" in remedy for remedy in problem.remedies)
    assert tree(out) == before


def test_fresh_starts_over(out):
    before = result(out, "kd")
    run_job(job(out, train={"epochs": 1}), fresh=True, quiet=True)
    assert record(out, "kd").train.epochs == 1.0
    run_job(job(out), fresh=True, quiet=True)
    assert result(out, "kd") == before


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for fresh in (False, True):
        with pytest.raises(JobError) as caught:
            run_job(job(tmp_path), fresh=fresh, quiet=True)
        assert codes(caught.value) == ["R512"]
        assert "thesis.tex" in caught.value.problems[0].notes[0]
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_fresh_removes_ours_and_nothing_else(out):
    (out / "notes.txt").write_text("mine")
    run_job(job(out, train={"epochs": 1}), fresh=True, quiet=True)
    assert (out / "notes.txt").read_text() == "mine"


def test_a_damaged_record_is_made_again(out):
    expected = result(out, "kd")
    path = out / "runs" / "kd" / "seed-0" / "record.json"
    path.write_text(path.read_text()[:-40])
    run_job(job(out), quiet=True)
    assert result(out, "kd") == expected


def test_side_by_side_is_one_by_one(out, tmp_path):
    changes = {"seeds": 2, "train": {"epochs": 2}}
    run_job(job(tmp_path / "one", **changes), quiet=True)
    run_job(job(tmp_path / "two", **changes), jobs=2, quiet=True)
    for arm in ("kd", "ce"):
        for seed in (0, 1):
            assert result(tmp_path / "one", arm, seed) == result(tmp_path / "two", arm, seed)
    # an error of a worker arrives whole
    wild = {"epochs": 9, "optimizer": {"name": "sgd", "lr": 99.0}, "schedule": {"warmup": 0.0}}
    with pytest.raises(RunError) as caught:
        run_job(job(tmp_path / "three", seeds=2, train=wild), jobs=2, quiet=True)
    assert caught.value.problem.code in ("T601", "T602")
    assert not list((tmp_path / "three" / "runs").glob("*/.*"))


def test_the_time_budget_is_obeyed(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "SURE", float("inf"))
    changes = {"train": {"epochs": 1_000_000}, "budget": {"time": 4}}
    out = run_job(job(tmp_path / "out", **changes), quiet=True)
    for arm in ("kd", "ce"):
        done = record(out, arm).train
        assert done.stopped == "budget" and 0 < done.epochs < 1_000_000
    assert "budget" in (out / "report.html").read_text(encoding="utf-8")


def test_a_damaged_teacher_cache_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "cache"))
    whole = run_job(job(tmp_path / "whole", seeds=2), quiet=True)
    out = run_job(job(tmp_path / "out"), quiet=True)
    (answers,) = (tmp_path / "cache").glob("*/logits-0.npy")
    content = answers.read_bytes()
    answers.write_bytes(content[:-20] + bytes([content[-20] ^ 255]) + content[-19:])
    with pytest.warns(UserWarning, match="was damaged .*checksum"):
        run_job(job(out, seeds=2), quiet=True)
    assert result(out, "kd", 1) == result(whole, "kd", 1)
    assert answers.read_bytes() == content
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        run_job(job(out, seeds=3), quiet=True)


def test_what_a_method_reached_for_is_in_the_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("greedy.py").write_text(GREEDY, encoding="utf-8")
    changes = {"method": "./greedy.py:greedy", "baselines": False}
    loaded = load_job(plain(**changes), ["out=out"], allow_code=True)
    out = run_job(loaded, quiet=True)
    attempts = record(out, "greedy").seal.attempts
    assert any("`test`" in line for line in attempts)  # the labels that judge
    assert any("`y`" in line for line in attempts)
    assert any("weights" in line for line in attempts)


GREEDY = '''\
"""A method that tries what it did not declare, and hides that it could not."""
from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.kernel.errors import AccessDenied
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method


@method(
    want="distill",
    paper="none",
    needs=Needs(
        models={
            "teacher": ModelNeed(Access.LOGITS),
            "student": ModelNeed(Access.WEIGHTS, trains=True),
        },
        data={"train": DataNeed(Labels.NONE)},
    ),
    identity=(Identity("no training leaves the student as it was", "start", train={"epochs": 0}),),
)
def greedy(ctx, given, cfg: MethodConfig) -> Outcome:
    """Reach for everything."""
    import torch

    train = given.data("train")
    for reach in (
        lambda: given.data("test").labels,
        lambda: train.fetch(torch.arange(2))["y"],
        lambda: given.model("teacher").load(),
    ):
        try:
            reach()
        except AccessDenied:
            continue
        raise RuntimeError("it was let in")
    return Outcome(models={"student": given.model("student").load()})
'''


def test_a_frozen_model_is_one_for_all_seeds_and_the_reference(tmp_path):
    """Also one with fresh weights: what teaches is what was measured as it came."""
    from bequeath.fleet import check_deep
    from bequeath.fleet.one import measure_reference, sealed

    opened = check_deep(job(tmp_path / "out"))
    arm = opened.job.arms[0]
    needs = arm.method.needs_for(arm.config)

    def says(seed: int) -> tuple[list[float], list[int]]:
        given = sealed(opened, needs, seed)
        batch = opened.judge.fetch(torch.arange(60))
        with torch.no_grad():
            student = given.model("student").load()(batch)
        return student.flatten().tolist(), given.model("teacher").predictor()(batch).argmax(1)

    (student_0, teacher_0), (student_1, teacher_1) = says(0), says(1)
    assert student_0 != student_1 and teacher_0.tolist() == teacher_1.tolist()
    reference = load_predictions(measure_reference(opened, "teacher"))
    assert reference.answers.pred.tolist() == teacher_0.tolist()
