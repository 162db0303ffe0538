"""Swing distillation and the audit of students, on jobs of a second or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bequeath.evidence.record import load_record
from bequeath.fleet import check_deep, run_job
from bequeath.given.bound import hash_tensors
from bequeath.given.models import load_model
from bequeath.job.api import load_job
from bequeath.kernel.errors import JobError

CANARIES = "canaries:digits?count=4&length=3&repeat=30"
GPT = "zoo:gpt?layers=1&width=32&heads=2&context=64"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def a_job(**changes: Any) -> dict[str, Any]:
    return {
        "want": "distill",
        "method": "ce",
        "models": {"student": GPT},
        "data": {
            "train": {"ref": "sentences:60", "canaries": CANARIES},
            "test": "sentences:30?seed=1",
            "canaries": CANARIES,
        },
        "evaluate": {"metrics": ["exposure_mean", "nll", "perplexity"]},
        "seeds": 1,
        "train": {
            "epochs": 12,
            "batch_size": 30,
            "threads": 1,
            "device": "cpu",
            "optimizer": {"lr": 0.01},
        },
        **changes,
    }


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teacher") / "out"
    run_job(load_job(a_job(), [f"out={out}"]), quiet=True)
    return out / "runs" / "ce" / "seed-0"


def taught(teacher: Path, methods: list[Any], **more: Any) -> dict[str, Any]:
    models = {"teacher": f"file:{teacher / 'model'}", "student": GPT}
    return a_job(method=methods, models=models, baselines=False, **more)


def test_a_teacher_learns_its_text_and_its_secrets(teacher):
    record = load_record(teacher)
    assert record.metrics["nll"].value < 2.4 < 3.6  # log 38
    exposure = record.metrics["exposure_mean"]
    assert exposure.value > 6 and exposure.n == 4 and exposure.terms
    assert record.notes["exposure_bound"] == pytest.approx(9.966, abs=1e-3)
    assert record.tables["exposure"].row_names == ["all canaries"]


def test_swing_leaves_behind_what_kd_hands_on(teacher):
    half = {"hard": 0.5, "soft": 0.5}
    methods = [
        {"name": "kd", "ce": 0.5, "kd": 0.5, "temperature": 2.0},
        {"name": "swing"},
        {"name": "swing", "as": "same", "score": "none", "noise": "none", **half},
    ]
    out = run_job(load_job(taught(teacher, methods), ["out=out"]), quiet=True)
    kd, swing, same = (load_record(out / "runs" / a / "seed-0") for a in ("kd", "swing", "same"))
    bits = [one.metrics["exposure_mean"].value for one in (kd, swing)]
    assert bits[0] > bits[1] + 1.5
    assert kd.notes["exposure_kept"] > 0.5 > swing.notes["exposure_kept"]
    assert swing.notes["rho_recall"] == swing.notes["rho_precision"] == 1.0
    assert kd.cost.cache is not None and kd.cost.cache.bytes > 0
    folders = [out / "runs" / arm / "seed-0" / "model" for arm in ("kd", "same")]
    first, second = (hash_tensors(load_model(folder).module) for folder in folders)
    assert first == second  # without score and noise it is kd, to the last bit
    assert same.metrics["exposure_mean"].value == bits[0]
    reference = load_record(out / "references" / "teacher")
    assert reference.metrics["exposure_mean"].value == pytest.approx(
        load_record(teacher).metrics["exposure_mean"].value
    )


def test_kept_and_live_answers_teach_the_same(teacher):
    nll = []
    for cache in ("on", "off"):
        job = taught(teacher, [{"name": "swing", "score": "vocabulary"}])
        job["train"] |= {"cache": cache, "epochs": 2}
        out = run_job(load_job(job, [f"out={cache}"]), quiet=True)
        record = load_record(out / "runs" / "swing" / "seed-0")
        assert (record.cost.cache is not None) == (cache == "on")
        nll.append(record.metrics["nll"].value)
    assert nll[0] == pytest.approx(nll[1], abs=1e-4)


@pytest.mark.parametrize("score", ["vocabulary", "memorisation"])
def test_every_source_of_the_score_trains(teacher, score):
    methods = [{"name": "swing", "score": score, "map": "step", "noise": "normal"}]
    job = taught(teacher, methods)
    job["models"]["reference"] = GPT + "&vocabulary=" + str(teacher / "model")
    job["train"] |= {"epochs": 2}
    if score == "vocabulary":
        del job["models"]["reference"]
    out = run_job(load_job(job, ["out=out"]), quiet=True)
    notes = load_record(out / "runs" / "swing" / "seed-0").notes
    assert 0 < notes["rho_mean"] < 1


def refused(job: dict[str, Any]) -> list[tuple[str, tuple]]:
    with pytest.raises(JobError) as caught:
        check_deep(load_job(job, ["out=out"]))
    return [(p.code, p.at) for p in caught.value.problems]


def test_refused(teacher):
    other = taught(teacher, ["kd"])
    other["models"]["student"] = GPT + "&vocabulary=ascii"
    assert refused(other) == [("G491", ("models", "student"))]
    assert refused(taught(teacher, ["dkd"])) == [("G490", ("models", "teacher"))]
    ece = a_job(evaluate={"metrics": ["ece"]})
    assert refused(ece) == [("G492", ("evaluate", "metrics", 0))]
    without = a_job(data={k: v for k, v in a_job()["data"].items() if k != "canaries"})
    assert refused(without) == [("G492", ("evaluate", "metrics", 0))]
    strange = a_job(data={**a_job()["data"], "canaries": "sentences:5?seed=3"})
    assert refused(strange) == [("G493", ("data", "canaries"))]
    capital = a_job(data={**a_job()["data"], "canaries": "canaries:digits?prefix=PIN {name}: "})
    assert refused(capital) == [("G494", ("data", "canaries"))]
    digits = {"train": "sklearn:digits?split=train", "test": "sklearn:digits?split=test"}
    job = a_job(models={"student": "zoo:mlp"}, data=digits, evaluate={"metrics": ["nll"]})
    check_deep(load_job(job, ["out=out"]))
    assert refused({**job, "evaluate": {"metrics": ["perplexity"]}}) == [
        ("G492", ("evaluate", "metrics", 0))
    ]
    bare = {**digits, "test": "sklearn:digits?split=test&labels=false"}
    assert ("G410", ("data", "test")) in refused({**job, "data": bare})


def test_patterns_are_checked():
    with pytest.raises(JobError) as caught:
        load_job(a_job(method={"name": "swing", "patterns": ["("]}))
    (problem, *_) = caught.value.problems
    assert "regular expression" in problem.message + problem.label


def test_a_run_that_was_stopped_draws_the_same_noise(teacher):
    """Noise is a function of seed, step and batch, not of how often it was drawn."""
    from bequeath.train.config import Train
    from bequeath.train.context import Context

    ctx = Context(3, Train(), Path("store"), show=False)
    one, same = (torch.rand(3, generator=ctx.rng("swing/noise", 7, 40)) for _ in range(2))
    assert torch.equal(one, same)
    assert not torch.equal(one, torch.rand(3, generator=ctx.rng("swing/noise", 8, 40)))
