"""What cannot be done is refused before anything is written: the second half of the gates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_jobs import job, plain

from bequeath.fleet import run_job
from bequeath.given.models import model_handle
from bequeath.job.api import load_job
from bequeath.kernel.codes import CODES
from bequeath.kernel.errors import JobError, Problem


def refused(out: Path, **changes: Any) -> list[Problem]:
    """The problems of a job that must not have left a trace."""
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(JobError) as caught:
        run_job(job(out, **changes), quiet=True)
    assert sorted(out.parent.rglob("*")) == before
    assert all(problem.code in CODES for problem in caught.value.problems)
    return caught.value.problems


def npz(path: Path, **arrays: Any) -> str:
    rng = np.random.default_rng(0)
    content = {"x": rng.normal(size=(40, 64)).astype("float32"), "y": np.arange(40) % 10, **arrays}
    np.savez(path, **content)
    return f"npz:{path}"


def data(train: str) -> dict[str, str]:
    return {"train": train, "test": plain()["data"]["test"]}


def models(**changes: Any) -> dict[str, Any]:
    return {**plain()["models"], **changes}


@pytest.mark.parametrize(
    ("budget", "code"),
    [({"time": 0.001}, "R506"), ({"memory": "1MB"}, "R505"), ({"disk": "1kB"}, "R504")],
    ids=["time", "memory", "disk"],
)
def test_a_budget_that_cannot_be_met(tmp_path, budget, code):
    (problem,) = refused(tmp_path / "out", budget=budget)
    assert problem.code == code and problem.at[0] == "budget" and problem.remedies


def test_all_budgets_at_once(tmp_path):
    budget = {"time": 0.001, "memory": "1MB", "disk": "1kB"}
    found = refused(tmp_path / "out", budget=budget)
    assert {p.code for p in found} == {"R504", "R505", "R506"}


def test_a_budget_that_fits_says_what_it_will_take(tmp_path):
    from bequeath.fleet import check_deep

    opened = check_deep(job(tmp_path / "out", budget={"time": "1h", "memory": "64GB"}))
    assert any("2 runs" in note and "memory" in note for note in opened.notes)
    assert not (tmp_path / "out").exists()


def broken_data(name: str, folder: Path) -> tuple[str, str]:
    """A reference to bad training data, and the code it is refused with."""
    x = np.zeros((40, 64), dtype="float32")
    if name == "NaN":
        x[7, 3] = np.nan
        return npz(folder / "d.npz", x=x), "D208"
    if name == "labels":
        return npz(folder / "d.npz", y=np.arange(40) % 12) + "?n_classes=10", "D207"
    if name == "empty":
        return npz(folder / "d.npz", x=x[:0], y=np.zeros(0, dtype=int)), "D205"
    if name == "missing":
        return f"npz:{folder / 'none.npz'}", "D201"
    for part in ("train", "test"):
        for k in range(10):
            (folder / part / str(k)).mkdir(parents=True)
            Image.new("L", (8, 8)).save(folder / part / str(k) / "a.png")
    (folder / "train" / "3" / "broken.png").write_bytes(b"\x89PNG no more")
    return f"folder:{folder / 'train'}", "D206"


@pytest.mark.parametrize("name", ["NaN", "labels", "empty", "missing", "picture"])
def test_data_that_cannot_be_used(tmp_path, name):
    reference, code = broken_data(name, tmp_path)
    given = data(reference)
    if name == "picture":
        given["test"] = f"folder:{tmp_path / 'test'}"
    (problem,) = refused(tmp_path / "out", data=given)
    assert problem.code == code and problem.at[:2] == ("data", "train")
    if name == "picture":
        assert "broken.png" in problem.message + " ".join(problem.notes)


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_models_with_other_classes(tmp_path, role):
    reference = "zoo:mlp?hidden=8&classes=7"
    (problem,) = refused(tmp_path / "out", models=models(**{role: reference}))
    assert problem.code == "G404" and problem.at == ("models", role)
    assert any("7 classes" in note for note in problem.notes)


def test_a_trained_teacher_with_other_classes(tmp_path):
    samples = load_job(plain(data=plain()["data"])).data["test"].load()
    handle = model_handle("teacher", "zoo:mlp?hidden=8&classes=4")
    handle.load(n_classes=4, data=samples).save(tmp_path / "teacher")
    (problem,) = refused(tmp_path / "out", models=models(teacher=f"file:{tmp_path / 'teacher'}"))
    assert problem.code == "G404" and problem.at == ("models", "teacher")


def test_training_and_test_data_with_other_classes(tmp_path):
    few = {**plain()["data"], "test": "sklearn:digits?split=test&classes=0-4"}
    (problem,) = refused(tmp_path / "out", data=few)
    assert problem.code == "G404" and problem.at[0] == "data"


def test_a_head_that_is_not_there(tmp_path):
    student = {"ref": "zoo:mlp?hidden=8", "head": "fc"}
    (problem,) = refused(tmp_path / "out", models=models(student=student), method="nd")
    assert problem.code == "M310" and problem.at == ("models", "student", "head")
    assert "body, out" in problem.notes[0]


@pytest.mark.parametrize("damage", ["truncated", "no safetensors", "other architecture"])
def test_weights_that_do_not_fit(tmp_path, damage):
    path = tmp_path / "weights.safetensors"
    save_file({"stem.weight": torch.zeros(4, 4)}, path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "no safetensors":
        path.write_bytes(b"PK\x03\x04 something else")
    teacher = {"ref": f"file:{path}", "arch": "zoo:mlp?hidden=8"}
    found = refused(tmp_path / "out", models=models(teacher=teacher))
    problem = found[0]
    assert problem.code.startswith("M3") and problem.at[:2] == ("models", "teacher")
    if damage == "other architecture":
        text = problem.message + " ".join(problem.notes)
        assert "stem.weight" in text and "out.weight" in text


def test_a_device_that_is_not_there(tmp_path):
    (problem,) = refused(tmp_path / "out", train={"device": "cuda:77"})
    assert problem.code == "T606" and problem.at == ("train", "device")


def test_everything_wrong_is_said_at_once(tmp_path):
    (tmp_path / "a").mkdir()
    bad = {
        "train": broken_data("NaN", tmp_path)[0],
        "test": broken_data("labels", tmp_path / "a")[0],
    }
    found = refused(tmp_path / "out", data=bad)
    assert {"D208", "D207"} <= {p.code for p in found}
    assert {p.at[:2] for p in found} == {("data", "train"), ("data", "test")}
