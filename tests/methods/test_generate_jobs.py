"""The way of `generate` from a job to judged samples, and what is refused on it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from method_cases import open_plainly

from bequeath.blocks.diffusion import generator
from bequeath.fleet.gates import check_deep
from bequeath.fleet.sweep import run_job
from bequeath.given.models import load_model
from bequeath.job.api import load_job
from bequeath.kernel.errors import JobError


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A judge and a diffusion model of digits on disk, each a little trained."""
    home = tmp_path_factory.mktemp("owned")
    few = {"threads": 1, "batch_size": 64, "device": "cpu"}
    judge = {
        "want": "distill", "method": "ce", "seeds": 1,
        "models": {"student": "zoo:lenet"},
        "data": {"train": DIGITS + "train", "test": DIGITS + "test"},
        "train": {"epochs": 3, **few},
    }  # fmt: skip
    run_job(load_job(judge, [f"out={home / 'judge'}"]), quiet=True)
    judged_by = f"file:{home / 'judge/runs/ce/seed-0/model'}"
    diffusion = {
        "want": "generate", "method": "diffusion", "seeds": 1, "baselines": False,
        "models": {"model": "zoo:denoiser?width=32&layers=1", "judge": judged_by},
        "data": {"train": DIGITS + "train", "test": DIGITS + "test"},
        "protocol": {"samples": 60},
        "train": {"steps": 60, **few},
    }  # fmt: skip
    run_job(load_job(diffusion, [f"out={home / 'diffusion'}"]), quiet=True)
    return {"judge": judged_by, "teacher": f"file:{home / 'diffusion/runs/diffusion/seed-0/model'}"}


DIGITS = "sklearn:digits?as=image&split="


def job(owned: dict[str, str], **more: Any) -> dict[str, Any]:
    return {
        "want": "generate",
        "method": ["boot", {"name": "ddim", "as": "ddim-2", "steps": 2}],
        "models": {"teacher": owned["teacher"], "judge": owned["judge"]},
        "data": {"test": DIGITS + "test"},
        "protocol": {"samples": 70, "walk": 10, "steps": 5},
        "evaluate": {"metrics": ["frechet", "trajectory_error", "precision", "evaluations"]},
        "seeds": 2,
        "train": {"steps": 3, "threads": 1, "device": "cpu", "batch_size": 16},
    } | more  # fmt: skip


def test_a_job_leaves_judged_samples(owned, tmp_path):
    out = run_job(load_job(job(owned), [f"out={tmp_path / 'out'}"]), quiet=True)
    records = {
        path.parent.relative_to(out / "runs").as_posix(): json.loads(path.read_text())
        for path in out.glob("runs/*/*/record.json")
    }
    assert set(records) == {f"{arm}/seed-{s}" for arm in ("boot", "ddim-2") for s in (0, 1)}
    calls = {name: r["metrics"]["evaluations"]["value"] for name, r in records.items()}
    assert calls["boot/seed-0"] == 1 and calls["ddim-2/seed-1"] == 2
    values = {name: r["metrics"]["frechet"]["value"] for name, r in records.items()}
    assert values["ddim-2/seed-0"] == values["ddim-2/seed-1"] != values["boot/seed-0"]
    assert values["boot/seed-0"] != values["boot/seed-1"]
    assert records["boot/seed-0"]["notes"]["teacher_calls"] == 3 * 16 * 2
    assert records["boot/seed-0"]["seal"]["attempts"] == []
    for name in records:
        assert (out / "runs" / name / "samples.png").stat().st_size > 100
    reference = json.loads((out / "references/teacher/record.json").read_text())
    assert reference["metrics"]["evaluations"]["value"] == 5
    assert reference["metrics"]["trajectory_error"]["value"] > 0


def test_a_job_has_the_teacher_in_one_step_for_a_baseline(owned):
    arms = load_job(job(owned, method="boot")).arms
    assert [(arm.label, arm.added) for arm in arms] == [("boot", False), ("ddim", True)]
    assert arms[1].config.steps == 1


def test_the_walk_of_all_its_steps_ends_where_it_ends(owned, tmp_path):
    """`trajectory_error` of DDIM in as many steps as the reference walk is zero."""
    methods = [{"name": "ddim", "steps": k, "as": f"d{k}"} for k in (2, 5, 10)]
    one = job(owned, method=methods, baselines=False, seeds=1)
    out = run_job(load_job(one, [f"out={tmp_path / 'out'}"]), quiet=True)
    error = [
        json.loads((out / f"runs/d{k}/seed-0/record.json").read_text())["metrics"][
            "trajectory_error"
        ]["value"]
        for k in (2, 5, 10)
    ]
    assert error[2] == 0.0 and all(a > b for a, b in pairwise(error))


def test_a_generator_is_opened_by_plain_torch(owned, tmp_path):
    """And what `bequeath.json` says turns its samples into the pixels that were judged."""
    folder = Path(owned["teacher"].removeprefix("file:"))
    ours, plain = load_model(folder), open_plainly(folder)
    noise = generator.noises(5, plain.shape, 0)
    with torch.no_grad():
        samples = plain(noise)
        assert torch.equal(samples, ours.module(noise))
    code = (folder / "preprocess.py").read_text()
    names: dict[str, Any] = {}
    exec(code, names)
    pixels = ((samples - names["SHIFT"]) / names["SCALE"]).round().clamp(0, 255)
    judged = generator.as_data(ours, samples, (8, 8, 1), "image").x
    assert torch.equal(pixels.permute(0, 2, 3, 1).to(torch.uint8), judged)


BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "no judge": ("G470", {"models": {"judge": None}}),
    "an untrained judge": ("G471", {"models": {"judge": "zoo:lenet"}}),
    "a judge that makes samples": ("G471", {"models": {"judge": "teacher"}}),
    "a teacher that judges": ("G490", {"models": {"teacher": "judge"}}),
    "too few samples": ("G473", {"protocol": {"samples": 5}}),
    "another shape": ("G474", {"models": {"student": "zoo:denoiser?preprocess.size=4"}}),
    "an unknown metric": ("J", {"evaluate": {"metrics": ["fid"]}}),
    "an unknown setting": ("J", {"protocol": {"sample": 5}}),
    "classes of a denoiser": ("M312", {"models": {"student": "zoo:denoiser?classes=10"}}),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_jobs_are_refused_before_anything_runs(what, owned, tmp_path):
    code, changes = BAD[what]
    wrong = job(owned)
    for section, values in changes.items():
        for key, value in values.items():
            wrong[section][key] = owned.get(value, value) if isinstance(value, str) else value
            if value is None:
                del wrong[section][key]
    if what == "another shape":
        wrong["models"]["student"] = {"ref": "zoo:denoiser", "preprocess": {"size": 4}}
    with pytest.raises(JobError) as caught:
        check_deep(load_job(wrong, [f"out={tmp_path / 'out'}"]))
    assert any(p.code.startswith(code) for p in caught.value.problems), caught.value
    assert not (tmp_path / "out").exists()


def test_a_metric_without_a_teacher_is_refused(owned, tmp_path):
    wrong = job(owned, method="diffusion", baselines=False)
    wrong["models"] = {"model": "zoo:unet?width=4", "judge": owned["judge"]}
    wrong["data"]["train"] = DIGITS + "train"
    with pytest.raises(JobError, match="needs a teacher"):
        check_deep(load_job(wrong, [f"out={tmp_path / 'out'}"]))


def test_a_denoiser_is_no_student_of_a_classifier(owned, tmp_path):
    wrong = {
        "want": "distill", "method": "kd",
        "models": {"teacher": owned["judge"], "student": "zoo:unet?width=4"},
        "data": {"train": DIGITS + "train", "test": DIGITS + "test"},
    }  # fmt: skip
    with pytest.raises(JobError, match="does not answer so"):
        check_deep(load_job(wrong, [f"out={tmp_path / 'out'}"]))


def test_vectors_are_generated_too(tmp_path):
    """Of a table: scaled as it was for training, and back."""
    few = {"threads": 1, "batch_size": 32, "device": "cpu"}
    data = {"train": "sklearn:wine?split=train", "test": "sklearn:wine?split=test"}
    judge = {"want": "distill", "method": "ce", "models": {"student": "zoo:mlp?hidden=8"},
             "data": data, "train": {"epochs": 5, **few}, "seeds": 1}  # fmt: skip
    run_job(load_job(judge, [f"out={tmp_path / 'judge'}"]), quiet=True)
    one = {
        "want": "generate", "method": "diffusion", "seeds": 1, "baselines": False,
        "models": {"model": "zoo:denoiser?width=32&layers=1",
                   "judge": f"file:{tmp_path / 'judge/runs/ce/seed-0/model'}"},
        "data": data, "protocol": {"samples": 50}, "train": {"steps": 200, **few},
    }  # fmt: skip
    out = run_job(load_job(one, [f"out={tmp_path / 'out'}"]), quiet=True)
    import numpy as np

    made = np.load(out / "runs/diffusion/seed-0/samples.npz")["x"]
    assert made.shape == (50, 13)
    assert 11 < made[:, 0].mean() < 15 and 400 < made[:, 12].mean() < 1200  # alcohol, proline
