"""Adaptation from a job to its record: settings, seals, refusals, and what is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bequeath.evidence.record import load_record
from bequeath.fleet import evaluate
from bequeath.fleet.gates import check_deep
from bequeath.fleet.sweep import run_job
from bequeath.given.models import load_model
from bequeath.job.api import load_job
from bequeath.kernel.errors import JobError

TRAIN = {
    "epochs": 2,
    "batch_size": 32,
    "threads": 1,
    "device": "cpu",
    "optimizer": {"name": "sgd", "lr": 0.01},
}
DIGITS = "sklearn:digits?as=image&split={}&test_size=0.5"


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "LATENCY_SECONDS", 0.0)
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A small network with a bottleneck that knows the digits 0 to 6."""
    out = tmp_path_factory.mktemp("source") / "out"
    job = {
        "want": "distill",
        "method": {"name": "ce", "label_smoothing": 0.1},
        "models": {"student": {"ref": "zoo:lenet", "bottleneck": 16}},
        "data": {
            "train": DIGITS.format("train") + "&classes=0-6",
            "test": DIGITS.format("test") + "&classes=0-6",
        },
        "seeds": 1,
        "train": {
            **TRAIN, "epochs": 6, "optimizer": {"name": "sgd", "lr": 0.05},
            "schedule": {"name": "inverse", "warmup": 0},
        },
    }  # fmt: skip
    run_job(load_job(job, [f"out={out}"]), quiet=True)
    return out / "runs" / "ce" / "seed-0" / "model"


def plain(source: Path, target: str = "0-3,7-9", **changes: Any) -> dict[str, Any]:
    job = {
        "want": "adapt",
        "method": [{"name": "glc", "embed": "none"}],
        "models": {"source": f"file:{source}"},
        "data": {
            "target": DIGITS.format("train") + f"&classes={target}&labels=false&turn=20",
            "test": DIGITS.format("test") + f"&classes={target}&turn=20",
        },
        "evaluate": {"metrics": ["h_score", "accuracy"]},
        "seeds": 1,
        "train": TRAIN,
    }
    return {**job, **changes}


def refused(job: dict[str, Any], out: Path) -> dict[str, Any]:
    with pytest.raises(JobError) as caught:
        check_deep(load_job(job, [f"out={out / 'out'}"]))
    return {p.code: p for p in caught.value.problems}


def test_open_partial_from_job_to_record(source, tmp_path):
    out = tmp_path / "out"
    run_job(load_job(plain(source), [f"out={out}"]), quiet=True)
    records = {arm: load_record(out / "runs" / arm / "seed-0") for arm in ("glc", "source_only")}
    glc = records["glc"]
    names = {"h_score", "accuracy", "known_accuracy", "unknown_accuracy", "unknown_auroc"}
    assert set(glc.metrics) == names and next(iter(glc.metrics)) == "h_score"
    assert glc.notes["setting"] == "open-partial" and glc.notes["target_only_classes"] == 3
    assert glc.notes["classes_estimated"] >= 2 and 0 < glc.notes["accepted_share"] < 1
    assert (
        glc.metrics["accuracy"].n + glc.metrics["unknown_accuracy"].n
        == glc.provenance.data["test"].n
    )
    assert glc.seal.declared["data"]["target"] == {"labels": "none"} and not glc.seal.attempts
    # the head did not move, the rest did, and the result opens by itself
    before, after = load_model(source), load_model(out / "runs" / "glc" / "seed-0" / "model")
    old, new = before.module.state_dict(), after.module.state_dict()
    assert all(torch.equal(old[k], new[k]) for k in old if k.startswith("fc3.out"))
    assert not torch.equal(old["fc1.weight"], new["fc1.weight"])
    assert after.facts.classes == tuple("0123456")
    kept = load_model(out / "runs" / "source_only" / "seed-0" / "model").module.state_dict()
    assert all(torch.equal(old[k], kept[k]) for k in old)
    assert json.loads((out / "report.json").read_text(encoding="utf-8"))


def test_metrics_are_those_of_the_predictions(source, tmp_path):
    """By hand from the saved model, in numpy, with the thresholds and classes of the docs."""
    out = tmp_path / "out"
    job = plain(source, method=["source_only"], baselines=False)
    run_job(load_job(job, [f"out={out}"]), quiet=True)
    found = load_record(out / "runs" / "source_only" / "seed-0").metrics
    opened = check_deep(load_job(job, [f"out={out}"]))
    model, judge = load_model(source), opened.judge
    with torch.no_grad():
        z = model(judge.fetch(torch.arange(len(judge)))).double().numpy()
    truth = np.array([int(judge.classes[i]) for i in judge.y.tolist()])
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    u = -(p * np.log(p)).sum(1) / np.log(7)
    said = np.where(u > 0.55, -1, z.argmax(1))
    a = np.mean([np.mean(said[truth == c] == c) for c in range(4)])
    b = np.mean(said[truth >= 7] == -1)
    assert found["known_accuracy"].value == pytest.approx(a, abs=1e-6)
    assert found["unknown_accuracy"].value == pytest.approx(b, abs=1e-6)
    assert found["h_score"].value == pytest.approx(2 * a * b / (a + b), abs=1e-6)
    known = truth < 7
    assert found["accuracy"].value == pytest.approx(np.mean(z.argmax(1)[known] == truth[known]))
    above = (u[~known][:, None] > u[known]) + 0.5 * (u[~known][:, None] == u[known])
    assert found["unknown_auroc"].value == pytest.approx(above.mean(), abs=1e-5)


@pytest.mark.parametrize(("target", "setting"), [("0-6", "closed"), ("0-3", "partial")])
def test_without_unknown_classes_nothing_is_rejected(source, tmp_path, target, setting):
    out = tmp_path / "out"
    job = plain(source, target, evaluate={"metrics": ["accuracy"]}, method=["source_only"])
    job |= {"baselines": False, "protocol": {"threshold": 0.0, "setting": setting}}
    run_job(load_job(job, [f"out={out}"]), quiet=True)
    record = load_record(out / "runs" / "source_only" / "seed-0")
    assert record.notes["setting"] == setting and set(record.metrics) == {
        "accuracy",
        "known_accuracy",
    }
    assert record.metrics["accuracy"].value > 0.2  # at a threshold of 0 all would be rejected


def test_no_shift_and_sure_of_it_leaves_the_accuracy(source, tmp_path):
    """Adapted to more of its own domain, the source loses nothing to speak of."""
    out = tmp_path / "out"
    job = plain(source, "0-6", evaluate={"metrics": ["accuracy"]})
    job["data"] = {
        "target": DIGITS.format("train") + "&classes=0-6&labels=false",
        "test": DIGITS.format("test") + "&classes=0-6",
    }
    run_job(load_job(job, [f"out={out}"]), quiet=True)
    arms = ("glc", "shot", "source_only")
    found = {a: load_record(out / "runs" / a / "seed-0").metrics["accuracy"].value for a in arms}
    assert min(found["glc"], found["shot"]) >= found["source_only"] - 0.02


def test_the_setting_said_must_be_the_one_there(source, tmp_path):
    found = refused(plain(source, protocol={"setting": "closed"}), tmp_path)
    assert "open-partial and not closed" in found["G422"].message
    assert found["G422"].at == ("protocol", "setting")


def test_h_score_without_unknown_classes_is_refused(source, tmp_path):
    found = refused(plain(source, "0-6"), tmp_path)
    assert found["G423"].at == ("evaluate", "metrics", 0)


def test_no_class_in_common_is_refused(source, tmp_path):
    found = refused(plain(source, "7-9"), tmp_path)
    assert "no class of the source" in found["G421"].message


def test_a_source_without_names_of_classes_is_refused(source, tmp_path):
    bare = {"ref": "zoo:lenet", "classes": 7}
    found = refused(plain(source, models={"source": bare}), tmp_path)
    assert found["G420"].at == ("models", "source")
    named = {"classes": list("012345")}
    found = refused(plain(source, models={"source": bare}, protocol=named), tmp_path)
    assert found["G420"].at == ("protocol", "classes")


def test_one_target_sample_is_refused(source, tmp_path):
    job = plain(source)
    job["data"]["target"] += "&take=1"
    assert "1 sample, and 5 are the least" in refused(job, tmp_path)["T642"].message
    job["method"] = [{"name": "glc", "neighbours": 9}]
    job["data"]["target"] = job["data"]["target"].replace("take=1", "take=9")
    assert "9 samples, and 10" in refused(job, tmp_path)["T642"].message


def test_as_many_target_samples_as_needed_are_enough(source, tmp_path):
    job = plain(source)
    job["data"]["target"] += "&take=5"
    out = tmp_path / "out"
    run_job(load_job(job, [f"out={out}"]), quiet=True)
    assert load_record(out / "runs" / "glc" / "seed-0").metrics["h_score"].n


def test_target_of_another_size_than_the_judge_is_refused(source, tmp_path):
    x = np.zeros((20, 9, 9), np.uint8)
    np.savez(tmp_path / "other.npz", x=x, y=np.arange(20) % 4)
    job = plain(source, evaluate={"metrics": ["accuracy"]})
    job["data"]["test"] = f"npz:{tmp_path / 'other.npz'}"
    assert "different sorts" in refused(job, tmp_path)["G424"].message


def test_labels_of_the_target_are_sealed_and_it_is_said(source, tmp_path):
    job = plain(source)
    job["data"]["target"] = job["data"]["target"].replace("&labels=false", "")
    opened = check_deep(load_job(job, [f"out={tmp_path / 'out'}"]))
    assert opened.samples["target"].y is not None
    assert any("sealed" in note for note in opened.notes)


def test_the_judge_may_be_what_was_adapted_to(source, tmp_path):
    """Without its labels: the usual transductive protocol."""
    job = plain(source)
    job["data"]["target"] = job["data"]["test"] + "&labels=false"
    assert check_deep(load_job(job, [f"out={tmp_path / 'out'}"])).judge is not None
