"""What can be done with what somebody owns; nothing is loaded to say so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bequeath.job.suggest import Suggestion, suggest
from bequeath.kernel.errors import JobError
from bequeath.methods.catalog import all_methods

MODELS = {"teacher": "zoo:mlp?hidden=32", "student": "zoo:mlp?hidden=8"}
DATA = {role: f"sklearn:digits?split={role}" for role in ("train", "test")}


def by_key(found: list[Suggestion]) -> dict[str, Suggestion]:
    return {one.method.key: one for one in found}


def test_every_method_is_answered_for() -> None:
    found = suggest({"models": MODELS, "data": DATA})
    assert by_key(found).keys() == all_methods().keys()
    applies = [one.applies for one in found]
    assert applies == sorted(applies, reverse=True)
    assert all(bool(one.cost) == one.applies for one in found)


def test_a_teacher_a_student_and_data_are_a_distillation() -> None:
    found = suggest({"models": MODELS, "data": DATA})
    assert found[0].method.want == "distill" and not found[0].unused
    kd = by_key(found)["distill/kd"]
    assert kd.applies and "300 steps of 128" in str(kd.cost)  # 30 epochs of 10 batches
    assert "a model `base`" in by_key(found)["merge/ties"].lacks


def test_what_the_job_wants_narrows_it() -> None:
    found = suggest({"want": "distill", "models": MODELS, "data": DATA})
    assert {one.method.want for one in found} == {"distill"}


def test_missing_labels_are_said(tmp_path: Path) -> None:
    data = {**DATA, "train": "sklearn:digits?split=train&labels=false"}
    found = by_key(suggest({"models": MODELS, "data": data}))
    assert found["distill/ce"].lacks == ("labels of data set `train`",)


def test_models_without_architecture_can_be_merged(tmp_path: Path) -> None:
    for name in ("base", "one"):
        save_file({"w": torch.zeros(4, 4)}, tmp_path / f"{name}.safetensors")
    models = {name: f"file:{tmp_path / name}.safetensors" for name in ("base", "one")}
    found = by_key(suggest({"want": "merge", "models": models}))
    assert found["merge/ties"].applies and "272 B" in str(found["merge/ties"].cost)
    assert found["merge/linear"].lacks == ("at least 2 models, under names of your own",)


def test_what_is_wrong_whatever_the_method_is_an_error() -> None:
    models = {**MODELS, "teacher": "file:nowhere"}
    with pytest.raises(JobError) as caught:
        suggest({"want": "distill", "models": models, "data": DATA})
    assert caught.value.problems[0].at[:2] == ("models", "teacher")


def test_on_the_command_line_without_torch(tmp_path: Path) -> None:
    job = tmp_path / "own.yaml"
    job.write_text(json.dumps({"models": MODELS, "data": DATA}))
    code = (
        "import sys; from bequeath.cli import run_cli; "
        f"code = run_cli(['suggest', {str(job)!r}, '--json']); assert code == 0; "
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)
    assert {"want", "method", "applies", "lacks", "cost", "unused", "evidence"} <= rows[0].keys()
    assert done.stderr.strip() == "False"
