"""`{seed}` in the path of a model: each seed has a model of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bequeath.evidence.record import load_record
from bequeath.fleet.sweep import run_job
from bequeath.job.api import load_job
from bequeath.kernel.errors import JobError


@pytest.fixture
def job(tmp_path: Path) -> dict:
    for seed in (0, 1):
        for i, name in enumerate(("one", "other")):
            folder = tmp_path / name / f"seed-{seed}"
            folder.mkdir(parents=True)
            save_file({"w": torch.full((3,), float(10 * seed + i))}, folder / "model.safetensors")
    models = {name: f"file:{tmp_path}/{name}/seed-{{seed}}" for name in ("one", "other")}
    return {"want": "merge", "method": "linear", "models": models, "seeds": 2}


def merged(out: Path, seed: int) -> float:
    return load_file(out / f"runs/linear/seed-{seed}/model/model.safetensors")["w"][0].item()


def test_each_seed_has_its_own_models(job: dict, tmp_path: Path) -> None:
    out = run_job(load_job(job, [f"out={tmp_path / 'out'}"]), quiet=True)
    assert (merged(out, 0), merged(out, 1)) == (0.5, 10.5)
    records = [load_record(out / f"runs/linear/seed-{seed}") for seed in (0, 1)]
    sources = [record.provenance.models["one"] for record in records]
    assert sources[0].hash != sources[1].hash and sources[1].ref.endswith("one/seed-1")
    assert "{seed}" in (out / "job.yaml").read_text()


def test_another_seed_s_model_makes_only_that_run_anew(job: dict, tmp_path: Path) -> None:
    arguments = job, [f"out={tmp_path / 'out'}"]
    out = run_job(load_job(*arguments), quiet=True)
    before = (out / "runs/linear/seed-0/record.json").stat().st_mtime_ns
    save_file({"w": torch.full((3,), 100.0)}, tmp_path / "one/seed-1/model.safetensors")
    with pytest.raises(JobError):
        run_job(load_job(*arguments), quiet=True)
    assert (out / "runs/linear/seed-0/record.json").stat().st_mtime_ns == before
    assert merged(out, 1) == 10.5


def test_a_seed_without_its_model_is_found_beforehand(job: dict, tmp_path: Path) -> None:
    with pytest.raises(JobError) as caught:
        load_job({**job, "seeds": 3}, [f"out={tmp_path / 'out'}"])
    assert {p.at for p in caught.value.problems} == {("models", r, "ref") for r in ("one", "other")}
    assert all("seed-2" in p.message for p in caught.value.problems)
