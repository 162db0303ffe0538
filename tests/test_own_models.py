"""Jobs with a user's own models and data, and what they leave, opened with plain libraries."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from own_things import OWN, WORDS, bert, grey, photos, reviews, vit
from PIL import Image
from safetensors.torch import load_file, save_file

from bequeath.fleet import check_deep, run_job
from bequeath.given.bound import hash_tensors
from bequeath.given.data import data_handle
from bequeath.given.facts import weights_format
from bequeath.given.models import model_handle
from bequeath.job.api import load_job
from bequeath.job.job import Job
from bequeath.kernel.errors import JobError

TRAIN = {"steps": 3, "batch_size": 8, "threads": 1, "device": "cpu", "cache": "off"}


def do(out: Path, **changes: Any) -> Path:
    """Run a job of one seed; -> its folder."""
    train = {**TRAIN, **changes.pop("train", {})}
    plain = {"want": "distill", "method": "ce", "seeds": 1, "train": train, **changes}
    return run_job(load_job(plain, [f"out={out}"], allow_code=True), quiet=True)


def codes(plain: dict[str, Any]) -> list[str]:
    """What the deep gate says of a job."""
    try:
        check_deep(job_of(plain))
    except JobError as error:
        return [problem.code for problem in error.problems]
    return []


def job_of(plain: dict[str, Any]) -> Job:
    return load_job({"want": "distill", "seeds": 1, "train": TRAIN, **plain})


def folder_of(out: Path, arm: str = "ce") -> Path:
    return out / "runs" / arm / "seed-0"


def told(out: Path, arm: str = "ce") -> tuple[list[int], torch.Tensor]:
    """Predicted classes of the test samples, in their order, and the confidence in each."""
    table = pq.read_table(folder_of(out, arm) / "predictions.parquet").to_pydict()
    assert table["idx"] == list(range(len(table["idx"])))
    return table["pred"], torch.tensor(table["confidence"], dtype=torch.float32)


def snippet(out: Path, arm: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the model card's code from inside the model's folder, as the card says; -> its names."""
    model = folder_of(out, arm) / "model"
    card = (model / "MODEL_CARD.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)\n```", card, re.DOTALL)
    assert code is not None and "bequeath" not in code[1]
    assert code[1].strip() == json.loads((model / "bequeath.json").read_text())["load"].strip()
    monkeypatch.chdir(model)
    monkeypatch.syspath_prepend(str(model))
    for name in ("architecture", "preprocess"):
        sys.modules.pop(name, None)
    names: dict[str, Any] = {}
    with torch.inference_mode():
        exec(code[1], names)
    for name in ("architecture", "preprocess"):
        sys.modules.pop(name, None)
    return names


def same(logits: torch.Tensor, out: Path, arm: str = "ce", tolerance: float = 1e-5) -> None:
    pred, confidence = told(out, arm)
    p = logits.softmax(1)
    torch.testing.assert_close(p.max(1).values, confidence, rtol=0, atol=tolerance)
    torch.testing.assert_close(p[torch.arange(len(pred)), pred], confidence, rtol=0, atol=tolerance)


def raw(ref: str, **options: Any) -> torch.Tensor:
    samples = data_handle("test", ref, options).load()
    return samples.fetch(torch.arange(len(samples)))["x"]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# --- images -------------------------------------------------------------------------------------


def test_a_folder_of_photos_from_a_transformers_teacher_to_timm(tmp_path, monkeypatch):
    """Other sizes, means and libraries on each side; everything that `train:` can be told."""
    timm = pytest.importorskip("timm")
    root = photos(tmp_path / "photos")
    (root / "train/cat/broken.jpg").write_bytes(b"not an image")
    data = {
        "train": {"ref": f"folder:{root}/train", "size": 40},
        "test": {"ref": f"folder:{root}/test", "size": 40},
    }
    student = {"preprocess": {"size": 40, "mean": [0.1, 0.2, 0.3], "std": [0.2] * 3}}
    models = {
        "teacher": f"hf:{vit(tmp_path / 'vit')}",
        "student": {"ref": "timm:mobilenetv3_small_050", **student},
    }
    assert codes({"method": "kd", "models": models, "data": data}) == ["D206"]
    data["train"]["skip_bad"] = True
    out = do(
        tmp_path / "out",
        method=["kd", "nd"],
        baselines=False,
        models=models,
        data=data,
        evaluate={"metrics": ["accuracy", "top5_accuracy", "balanced_accuracy", "macro_f1", "nll",
                              "ece", "brier"]},
        train={"precision": "bf16", "accumulate": 2, "clip": 1.0, "ema": 0.5, "cache": "on",
               "schedule": {"name": "multistep", "warmup": 0.2},
               "augment": {"crop": 4, "flip": True, "cutout": 8, "views": 2}},
    )  # fmt: skip
    sources = json.loads((folder_of(out, "kd") / "record.json").read_text())["provenance"]
    weights = load_file(tmp_path / "vit" / "model.safetensors")
    assert sources["models"]["teacher"]["hash"] == hash_tensors(weights)
    model = snippet(out, "kd", monkeypatch)["model"]
    x = raw(f"folder:{root}/test", size=40)
    eyes = timm.data.resolve_data_config(model=model)
    transform = timm.data.create_transform(**eyes)
    assert eyes["input_size"] == (3, 40, 40) and tuple(eyes["mean"]) == (0.1, 0.2, 0.3)
    with torch.no_grad():
        same(model(torch.stack([transform(Image.fromarray(i.numpy())) for i in x])), out, "kd")


@pytest.mark.parametrize("size", [40, 20])
def test_torchvision_student_and_what_it_sees(size, tmp_path, monkeypatch):
    pytest.importorskip("torchvision")
    data = grey(tmp_path / "grey.npz")
    eyes = {"preprocess": {"size": size}}
    out = do(
        tmp_path / "out",
        method="ce",
        models={"student": {"ref": "torchvision:mobilenet_v3_small", **eyes}},
        data={"train": f"npz:{data}?split=train", "test": f"npz:{data}?split=test"},
        train={"steps": 1},
    )
    names = snippet(out, "ce", monkeypatch)
    x = raw(f"npz:{data}?split=test")
    assert x.shape[1:] == (28, 28, 1)
    with torch.no_grad():
        same(names["model"](names["transform"](x)), out)


def test_transformers_image_student(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    root = photos(tmp_path / "photos")
    out = do(
        tmp_path / "out",
        method="nd",
        models={"teacher": {"ref": f"hf:{vit(tmp_path / 'vit')}"},
                "student": {"ref": f"hf:{vit(tmp_path / 'small', size=24)}", "pretrained": False}},
        data={"train": {"ref": f"folder:{root}/train", "size": 24},
              "test": {"ref": f"folder:{root}/test", "size": 24}},
    )  # fmt: skip
    names = snippet(out, "nd", monkeypatch)
    x = [Image.fromarray(i.numpy()) for i in raw(f"folder:{root}/test", size=24)]
    with torch.no_grad():
        same(names["model"](**names["processor"](x, return_tensors="pt")).logits, out, "nd")
    assert names["model"].config.id2label == {0: "cat", 1: "dog", 2: "red bird"}


def test_a_teacher_replaced_in_its_folder_is_another_experiment(tmp_path):
    root = photos(tmp_path / "photos")
    job = {
        "method": "kd",
        "baselines": False,
        "models": {"teacher": f"hf:{vit(tmp_path / 'vit')}", "student": "zoo:lenet"},
        "data": {"train": {"ref": f"folder:{root}/train", "size": 28},
                 "test": {"ref": f"folder:{root}/test", "size": 28}},
    }  # fmt: skip

    out = tmp_path / "out"
    record = folder_of(do(out, **job), "kd") / "record.json"
    first = record.read_bytes()
    do(out, **job)
    assert record.read_bytes() == first
    config = tmp_path / "vit" / "preprocessor_config.json"
    said = config.read_text()
    config.write_text(said.replace("0.4", "0.5"))
    with pytest.raises(JobError, match="R511"):
        do(out, **job)
    config.write_text(said)
    do(out, **job)
    vit(tmp_path / "vit", seed=1)
    with pytest.raises(JobError, match="R511"):
        do(out, **job)
    assert record.read_bytes() == first


# --- text ---------------------------------------------------------------------------------------


def test_text_by_name_and_by_the_order_of_classes(tmp_path, monkeypatch):
    """A teacher that learnt from a table, data that number the same classes the other way."""
    datasets = pytest.importorskip("datasets")
    big, small = bert(tmp_path / "big", 16, 0), bert(tmp_path / "small", 8, 1)
    table = f"csv:{reviews(tmp_path / 'reviews.csv')}"
    named = {"ref": table, "text": "review", "label": "feeling"}
    teacher = do(
        tmp_path / "teacher",
        models={"student": {"ref": f"hf:{big}", "pretrained": False}},
        data={"train": {**named, "split": "train"}, "test": {**named, "split": "test"}},
        train={"steps": 30, "optimizer": {"lr": 0.01}},
    )
    assert (
        json.loads((folder_of(teacher) / "record.json").read_text())["metrics"]["accuracy"]["value"]
        > 0.8
    )
    with (tmp_path / "reviews.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kinds = datasets.Features(
        text=datasets.Value("string"), label=datasets.ClassLabel(names=["good", "bad"])
    )
    columns = {"text": [r["review"] for r in rows], "label": [r["feeling"] for r in rows]}
    other = datasets.Dataset.from_dict(columns, features=kinds)
    other.train_test_split(0.3, seed=0).save_to_disk(tmp_path / "other")
    job = {
        "method": ["kd", "nd"],
        "models": {"teacher": f"file:{folder_of(teacher)}/model",
                   "student": {"ref": f"hf:{small}", "pretrained": False}},
        "data": {"train": {"ref": f"hf:{tmp_path}/other", "split": "train"},
                 "test": {"ref": f"hf:{tmp_path}/other", "split": "test"}},
    }  # fmt: skip
    assert codes(job) == ["G411"]
    for data in job["data"].values():
        data["classes"] = ["bad", "good"]
    out = do(tmp_path / "out", **job)
    report = json.loads((out / "references/teacher/record.json").read_text())
    assert report["metrics"]["accuracy"]["value"] > 0.8

    classify = snippet(out, "kd", monkeypatch)["classify"]
    test = data_handle("test", job["data"]["test"]["ref"], {"split": "test"}).load()
    answers = classify(test.fetch(torch.arange(len(test)))["text"], truncation=True)
    pred, confidence = told(out, "kd")
    assert [a["label"] for a in answers] == [("bad", "good")[p] for p in pred]
    torch.testing.assert_close(
        torch.tensor([a["score"] for a in answers]), confidence, rtol=0, atol=1e-5
    )
    assert classify("great film " * 100, truncation=True)[0]["label"] in WORDS


def test_unlabelled_text_needs_no_labels_but_of_the_judge(tmp_path, capfd):
    teacher = bert(tmp_path / "big", 16, 0, num_labels=2)
    table = {"ref": f"csv:{reviews(tmp_path / 'reviews.csv')}", "text": "review"}
    job = {
        "method": {"name": "kd", "ce": 0, "kd": 1},
        "models": {"teacher": f"hf:{teacher}",
                   "student": {"ref": f"hf:{bert(tmp_path / 'small', 8, 1)}", "pretrained": False}},
        "data": {"train": {**table, "split": "train", "labels": False, "n_classes": 2},
                 "test": {**table, "split": "test", "label": "feeling"}},
    }  # fmt: skip
    with pytest.raises(JobError, match="baselines: false") as refused:
        check_deep(job_of(job))
    assert [p.code for p in refused.value.problems] == ["G410"]  # the baseline learns from labels
    capfd.readouterr()
    out = do(tmp_path / "out", baselines=False, **job)
    declared = json.loads((folder_of(out, "kd") / "record.json").read_text())["seal"]["declared"]
    assert declared["data"]["train"]["labels"] == "none"
    assert "Loading weights" not in (told_so := capfd.readouterr()).err + told_so.out
    assert "Writing model" not in told_so.err + told_so.out


# --- arrays, tables, code, bare weights ---------------------------------------------------------


def test_grey_arrays_and_a_bare_checkpoint_with_a_prefix(tmp_path, monkeypatch):
    data = grey(tmp_path / "grey.npz")
    parts = {"train": f"npz:{data}?split=train", "test": f"npz:{data}?split=test"}
    out = do(tmp_path / "teacher", models={"student": "zoo:wrn-16-2"}, data=parts)
    whole = model_handle("m", f"file:{folder_of(out)}/model").load()
    state = {f"module.{name}": t for name, t in whole.module.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "teacher.pth")
    bare = {"ref": f"file:{tmp_path}/teacher.pth", "arch": "zoo:wrn-16-2"}
    job = {"models": {"teacher": bare, "student": "zoo:lenet"}, "data": parts}
    job["method"] = [{"name": "nd", "base": "dkd"}, {"name": "kd"}]
    out2 = do(tmp_path / "out", **job)
    of_teacher = pq.read_table(out2 / "references/teacher/predictions.parquet").to_pydict()
    assert of_teacher["pred"] == told(out)[0]
    names = snippet(out2, "nd", monkeypatch)
    with torch.no_grad():
        same(names["model"](names["transform"](raw(parts["test"]))), out2, "nd")


def test_a_safetensors_header_of_any_length_is_no_pickle(tmp_path):
    """Every 32nd length begins with the byte that a pickle begins with."""
    path, first = tmp_path / "weights.safetensors", set[int]()
    for more in range(0, 256, 8):
        save_file({"w": torch.zeros(2)}, path, metadata={"note": "x" * more})
        first.add(path.read_bytes()[0])
        assert weights_format(path) == "safetensors"
    assert 0x80 in first
    torch.save({"w": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
    assert path.read_bytes()[0] == 0x80 and weights_format(path) == "torch"


def test_a_table_carries_its_scaling_along(tmp_path, monkeypatch):
    parts = {"train": "sklearn:wine?split=train", "test": "sklearn:wine?split=test"}
    out = do(tmp_path / "out", models={"student": "zoo:mlp?hidden=8"}, data=parts)
    names = snippet(out, "ce", monkeypatch)
    with torch.no_grad():
        same(names["model"](names["transform"](raw(parts["test"]))), out)


def test_own_code_for_model_and_data(tmp_path, monkeypatch):
    own = tmp_path / "own.py"
    own.write_text(OWN)
    parts = {"train": f"py:{own}:train", "test": f"py:{own}:test"}
    out = do(tmp_path / "out", models={"student": f"py:{own}:net"}, data=parts)
    names = snippet(out, "ce", monkeypatch)
    with torch.no_grad():
        same(names["model"](names["transform"](raw(parts["test"]))), out)


def test_what_show_prints_is_the_same_job(tmp_path, monkeypatch, capsys):
    from bequeath.cli import run_cli

    monkeypatch.chdir(tmp_path)
    grey(tmp_path / "grey.npz")
    (tmp_path / "base.yaml").write_text(
        "want: distill\nvars: {data: grey.npz}\nmethod: [kd, {name: nd, form: norm}]\n"
        "models: {teacher: 'zoo:wrn-16-2?dropout=0.1', student: {ref: zoo:lenet}}\n"
        "data: {train: 'npz:${data}?split=train', test: 'npz:${data}?split=test'}\n"
        "seeds: 1\ntrain: {steps: 2, threads: 1}\nout: a\n"
    )
    (tmp_path / "job.yaml").write_text("extends: base.yaml\ntrain: {batch_size: 8}\n")
    change = ["--set", "models.student.preprocess.size=32"]
    assert run_cli(["show", "job.yaml", *change]) == 0
    (tmp_path / "shown.yaml").write_text(capsys.readouterr().out)
    assert run_cli(["run", "job.yaml", "--quiet", *change]) == 0
    kept = {p: p.stat().st_mtime_ns for p in Path("a/runs").rglob("record.json")}
    assert len(kept) == 3
    assert run_cli(["run", "shown.yaml", "--quiet"]) == 0
    assert {p: p.stat().st_mtime_ns for p in Path("a/runs").rglob("record.json")} == kept
    assert run_cli(["run", os.fspath(Path("a/job.yaml")), "--quiet"]) == 0
    assert {p: p.stat().st_mtime_ns for p in Path("a/runs").rglob("record.json")} == kept
