"""`bequeath demo`, smaller than it is: from nothing to a report, through the command line."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

import bequeath.fleet
from bequeath import cli
from bequeath.evidence.record import find_runs, load_records
from bequeath.fleet import evaluate
from bequeath.fleet.folder import alone
from bequeath.given.models import load_model
from bequeath.job.api import load_job


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """(exit code, folder) of `bequeath demo --out FOLDER` with 2 seeds and 3 epochs."""
    real, folder = bequeath.fleet.demo, tmp_path_factory.mktemp("demo") / "demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEQUEATH_CACHE", str(folder.parent / "cache"))
        patch.setattr(evaluate, "LATENCY_SECONDS", 0.0)
        patch.setattr(bequeath.fleet, "demo", lambda out: real(out, seeds=2, epochs=3))
        return cli.run_cli(["demo", "--out", str(folder)]), folder


def test_it_ends_well_and_leaves_a_report(shown):
    code, folder = shown
    assert code == 0
    html = (folder / "students" / "report.html").read_text(encoding="utf-8")
    report = json.loads((folder / "students" / "report.json").read_text(encoding="utf-8"))
    assert report["sentence"] and "<svg" in html


def test_every_arm_has_every_seed(shown):
    records = load_records(find_runs(shown[1] / "students"))
    assert {(r.run.arm, r.run.seed) for r in records} == {
        (arm, seed) for arm in ("ce", "kd", "nd") for seed in (0, 1)
    }
    assert all({"accuracy", "nll"} <= r.metrics.keys() for r in records)


def test_the_student_has_a_tenth_of_the_teacher(shown):
    (teacher,) = load_records(find_runs(shown[1] / "teacher"))
    student = load_records(find_runs(shown[1] / "students"))[0]
    assert student.model.parameters < 0.11 * teacher.model.parameters
    (reference,) = (shown[1] / "students" / "references").iterdir()
    kept = json.loads((reference / "record.json").read_text(encoding="utf-8"))
    assert kept["model"]["hash"] == teacher.model.hash


def test_its_students_are_ordinary_models(shown):
    model = load_model(shown[1] / "students" / "runs" / "nd" / "seed-1" / "model")
    assert sum(p.numel() for p in model.module.parameters()) < 10_000


def test_its_job_files_can_be_run_again(shown, monkeypatch):
    monkeypatch.setenv("BEQUEATH_CACHE", str(shown[1].parent / "cache"))
    for name, out in (("teacher", "teacher"), ("job", "students")):
        loaded = load_job(shown[1] / f"{name}.yaml", ["train.epochs=3", f"out={shown[1] / out}"])
        before = {p: p.stat().st_mtime_ns for p in find_runs(shown[1] / out)}
        bequeath.fleet.run_job(loaded, quiet=True)  # nothing is left to do
        assert {p: p.stat().st_mtime_ns for p in find_runs(shown[1] / out)} == before


def test_a_folder_of_somebody_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "job.yaml").write_text("mine", encoding="utf-8")
    assert cli.run_cli(["demo", "--out", str(tmp_path)]) == 2
    assert "R512" in capsys.readouterr().err
    assert [(p.name, p.read_text(encoding="utf-8")) for p in tmp_path.iterdir()] == [
        ("job.yaml", "mine")
    ]


def test_no_two_show_it_in_one_folder(shown, capsys):
    with alone(shown[1]):
        assert cli.run_cli(["demo", "--out", str(shown[1])]) == 2
    assert "R510" in capsys.readouterr().err


def test_a_disk_that_does_not_take_it(tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"")
    assert cli.run_cli(["demo", "--out", str(tmp_path / "file" / "demo")]) == 1
    assert "R522" in capsys.readouterr().err
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        code = cli.run_cli(["demo", "--out", str(tmp_path / "demo")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 1 and "R522" in capsys.readouterr().err
    assert not [p for p in (tmp_path / "demo").iterdir() if not p.name.startswith(".bequeath")]
