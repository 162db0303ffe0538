"""Merges as jobs: what comes out, and what is refused before anything is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bequeath.evidence.record import load_record
from bequeath.fleet.sweep import run_job
from bequeath.given.models import load_model
from bequeath.job.api import load_job
from bequeath.kernel.errors import JobError, RunError

TIES = """\
merge_method: ties
base_model: {home}/base.safetensors
models:
  - model: {home}/math.safetensors
    parameters: {{weight: 0.5, density: 0.4}}
  - model: {home}/code.safetensors
    parameters: {{weight: [0.2, 1]}}
parameters: {{normalize: true}}
dtype: float32
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for i, name in enumerate(("base", "math", "code")):
        g = torch.Generator().manual_seed(i)
        layers = {f"layers.{k}.w": torch.randn(8, 5, generator=g) for k in range(3)}
        save_file(
            {**layers, "head.w": torch.randn(3, 8, generator=g)}, tmp_path / f"{name}.safetensors"
        )
    return tmp_path


def refs(home: Path, *names: str) -> dict[str, str]:
    return {name: f"file:{home / name}.safetensors" for name in names}


def merged(home: Path, **job: object) -> dict[str, torch.Tensor]:
    given = {"want": "merge", "models": refs(home, "base", "math", "code"), "baselines": False}
    out = home / "out"
    run_job(load_job({**given, **job}, [f"out={out}"]), quiet=True)
    (folder,) = out.glob("runs/*/seed-0")
    assert load_record(folder).model is not None
    return load_file(folder / "model" / "model.safetensors")


def refused(home: Path, **job: object) -> list:
    given = {"want": "merge", "models": refs(home, "base", "math", "code")}
    with pytest.raises(JobError) as caught:
        load_job({**given, **job}, [f"out={home / 'out'}"])
    assert not (home / "out").exists()
    return caught.value.problems


def test_each_model_may_have_its_own_setting(home: Path) -> None:
    weight = {"math": 0.25, "code": [{"filter": "head", "value": 2.0}, {"value": 0.5}]}
    found = merged(home, method={"name": "task_arithmetic", "weight": weight})
    base, math, code = (load_file(home / f"{n}.safetensors") for n in ("base", "math", "code"))
    for name, tensor in found.items():
        own = 2.0 if name == "head.w" else 0.5
        by_hand = base[name] + 0.25 * (math[name] - base[name]) + own * (code[name] - base[name])
        torch.testing.assert_close(tensor, by_hand, rtol=1e-6, atol=1e-6)


def test_the_average_leaves_the_base_out(home: Path) -> None:
    found = merged(home, method="linear")
    math, code = (load_file(home / f"{n}.safetensors") for n in ("math", "code"))
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, (math[name] + code[name]) / 2)


def test_a_mergekit_file_is_a_job(home: Path) -> None:
    path = home / "merge.yml"
    path.write_text(TIES.format(home=home))
    run_job(load_job(path, [f"out={home / 'theirs'}"]), quiet=True)
    theirs = load_file(home / "theirs/runs/ties/seed-0/model/model.safetensors")
    ours = merged(
        home,
        method={
            "name": "ties",
            "weight": {"math": 0.5, "code": [0.2, 1]},
            "density": {"math": 0.4, "code": 1.0},
            "dtype": "float32",
        },
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("old", "new", "code", "pointed"),
    [
        ("0.4", "1.4", "W823", "1.4"),
        ("density", "densty", "W822", "densty"),
        ("ties", "model_stock", "W821", "model_stock"),
        ("dtype: float32", "dtypo: float32", "W830", "dtypo"),
    ],
)
def test_mistakes_in_a_mergekit_file_are_pointed_at(
    home: Path, old: str, new: str, code: str, pointed: str
) -> None:
    path = home / "merge.yml"
    path.write_text(TIES.format(home=home).replace(old, new))
    with pytest.raises(JobError) as caught:
        load_job(path)
    (problem,) = caught.value.problems
    place = problem.place
    assert problem.code == code and place is not None
    assert place.text[place.column - 1 :].startswith(pointed)


def test_a_merged_classifier_is_measured_beside_its_sources(tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "other")):
        job = {
            "want": "distill",
            "method": "ce",
            "models": {"student": "zoo:mlp?hidden=8"},
            "data": {r: f"sklearn:digits?split={r}" for r in ("train", "test")},
            "seeds": [seed],
            "train": {"epochs": 1, "threads": 1},
        }
        run_job(load_job(job, [f"out={tmp_path / name}"]), quiet=True)
    models = {
        name: f"file:{tmp_path / name}/runs/ce/seed-{seed}/model"
        for seed, name in enumerate(("one", "other"))
    }
    data = {"test": "sklearn:digits?split=test"}
    job = {"want": "merge", "method": {"name": "linear", "weight": {"one": 1, "other": 0}}}
    out = run_job(
        load_job({**job, "models": models, "data": data}, [f"out={tmp_path / 'm'}"]), quiet=True
    )
    found = load_record(out / "runs/linear/seed-0").metrics["accuracy"].value
    assert found == load_record(out / "references/one").metrics["accuracy"].value
    assert (out / "references/other/record.json").exists()
    assert load_model(out / "runs/linear/seed-0/model").facts.n_classes == 10


def test_tensors_that_do_not_fit_are_named(home: Path) -> None:
    save_file({"layers.0.w": torch.zeros(8, 4)}, home / "code.safetensors")
    found = refused(home, method=["ties", "dare"])
    assert {p.at for p in found} == {("models", "code", "ref")}
    assert any("layers.1.w" in " ".join((p.message, p.label, *p.notes)) for p in found)


def test_roles_and_files_that_are_not_there(home: Path) -> None:
    (problem,) = refused(home, method={"name": "ties", "weight": {"maths": 1}}, baselines=False)
    assert problem.code == "W822" and problem.at == ("method", "weight", "maths")
    models = {**refs(home, "base", "math", "code"), "gone": f"file:{home}/gone.safetensors"}
    assert any(
        p.at == ("models", "gone", "ref") for p in refused(home, method="ties", models=models)
    )
    models = {**refs(home, "base", "math"), "new": "zoo:mlp"}
    (problem,) = refused(home, method="ties", models=models, baselines=False)
    assert problem.code == "W803" and problem.at == ("models", "new", "ref")


def test_one_model_is_no_average(home: Path) -> None:
    (problem,) = refused(home, method="linear", models=refs(home, "math"))
    assert problem.code == "G401" and "at least 2" in problem.message


def test_a_missing_shard_is_found_before_anything_runs(home: Path) -> None:
    folder = home / "sharded"
    folder.mkdir()
    index = {"metadata": {}, "weight_map": {"layers.0.w": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    models = {**refs(home, "base", "math"), "code": f"file:{folder}"}
    found = refused(home, method="task_arithmetic", models=models, baselines=False)
    assert any("model-00001-of-00002" in p.message for p in found)
    assert {p.at for p in found} == {("models", "code", "ref")}


def test_nan_in_a_checkpoint_leaves_nothing(home: Path) -> None:
    tensors = load_file(home / "code.safetensors")
    tensors["layers.1.w"][2, 3] = float("nan")
    save_file(tensors, home / "code.safetensors")
    with pytest.raises(RunError) as caught:
        merged(home, method="linear")
    assert "layers.1.w" in str(caught.value)
    assert not list((home / "out").glob("runs/*/seed-0"))
