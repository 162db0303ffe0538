"""Audits as jobs: several models beside each other, classifiers, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bequeath.evidence.record import load_record
from bequeath.fleet import check_deep, run_job
from bequeath.given.data import data_handle
from bequeath.given.models import model_handle
from bequeath.job.api import load_job
from bequeath.kernel.errors import JobError
from bequeath.metrics.exposure import floor
from bequeath.train.config import Train
from bequeath.train.context import Context
from bequeath.train.terms import mean_over

CANARIES = "canaries:digits?count=4&length=2&repeat=20"
GPT = "zoo:gpt?layers=1&width=32&heads=2&context=64"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A GPT that learnt canaries by heart, and the same one fresh."""
    from bequeath.blocks.targets import targets

    folder = tmp_path_factory.mktemp("models")
    data = data_handle("train", "sentences:30", {"canaries": CANARIES}).load()
    model = model_handle("m", GPT).load(data=data, seed=0)
    model.save(folder / "fresh")
    settings = {"epochs": 15, "batch_size": 30, "device": "cpu", "optimizer": {"lr": 0.01}}
    ctx = Context(0, Train.model_validate(settings), folder / "store", show=False)

    def step(batch: dict[str, Any]):
        asked = targets(model, batch)
        loss = torch.nn.functional.cross_entropy(
            asked.rows(model(batch)), asked.y, reduction="none"
        )
        return {"ce": mean_over(loss, over=asked.over)}

    ctx.fit(model, data, step)
    model.save(folder / "trained")
    return {name: f"file:{folder / name}" for name in ("fresh", "trained")}


def a_job(models: dict[str, str], **changes: Any) -> dict[str, Any]:
    return {
        "want": "audit",
        "method": [{"name": "exposure", "as": name, "model": name} for name in models],
        "models": models,
        "data": {
            "canaries": CANARIES,
            "members": "sentences:30",
            "nonmembers": "sentences:30?seed=1",
            "test": "sentences:30?seed=2",
        },
        **changes,
    }


def test_two_models_side_by_side(models):
    out = run_job(load_job(a_job(models), ["out=out"]), quiet=True)
    fresh, trained = (load_record(out / "runs" / name / "seed-0") for name in ("fresh", "trained"))
    known = trained.metrics["exposure_mean"]
    assert known.value > 4.5 and known.n == 4 and known.counts == "canaries"
    assert fresh.metrics["exposure_mean"].value < 3.5
    assert fresh.notes["exposure_floor"] == pytest.approx(floor(100))
    assert trained.metrics["mia_auc"].value > 0.65 and trained.metrics["mia_auc"].n == 30
    assert 0.3 < fresh.metrics["mia_auc"].value < 0.7
    assert trained.metrics["perplexity"].value < fresh.metrics["perplexity"].value
    assert set(trained.tables) == {"exposure", "membership"}
    assert trained.seal.attempts == [] and trained.model is not None
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "exposure" in text and "trained" in text


def test_terms_of_texts_canaries_and_members_do_not_mix(models):
    from bequeath.evidence.predictions import load_predictions

    out = run_job(load_job(a_job({"trained": models["trained"]}), ["out=out"]), quiet=True)
    folder = out / "runs" / "trained" / "seed-0"
    record, found = load_record(folder), load_predictions(folder)
    assert len(found.idx) == 30 + 4 + 30
    for name in ("nll", "exposure_mean", "extraction_rate", "mia_auc"):
        terms = torch.as_tensor(found.terms[name])
        real = terms[~terms.isnan()]
        assert len(real) == {"nll": 30, "mia_auc": 30}.get(name, 4)
        assert float(real.mean()) == pytest.approx(record.metrics[name].value, abs=1e-6)


def test_a_classifiers_members(tmp_path):
    train = "sklearn:digits?split=train&take=80"
    data = {"train": train, "test": "sklearn:digits?split=test&take=80"}
    settings = {"epochs": 60, "batch_size": 40, "threads": 1, "device": "cpu"}
    job = {"want": "distill", "method": "ce", "models": {"student": "zoo:mlp?hidden=128"}}
    job |= {"data": data, "train": settings, "seeds": 1}
    made = run_job(load_job(job, ["out=made"]), quiet=True) / "runs/ce/seed-0/model"
    audit = a_job({"net": f"file:{made}"}, evaluate={"metrics": ["mia_auc"]})
    audit["data"] = {"members": train, "nonmembers": data["test"]}
    record = load_record(run_job(load_job(audit, ["out=out"]), quiet=True) / "runs/net/seed-0")
    assert record.metrics["mia_auc"].value > 0.6
    assert set(record.tables) == {"membership"} and record.notes["mia_advantage"] > 0.1


def refused(job: dict[str, Any]) -> list[tuple[str, tuple]]:
    with pytest.raises(JobError) as caught:
        check_deep(load_job(job, ["out=out"]))  # either gate
    return [(p.code, p.at) for p in caught.value.problems]


def test_refused(models):
    job = a_job({"trained": models["trained"]})
    data = job["data"]
    one_sided = {"members": data["members"]}
    assert refused({**job, "data": one_sided}) == [("G493", ("data",))]
    assert refused({**job, "data": {**one_sided, "canaries": CANARIES}}) == [("G493", ("data",))]
    assert refused({**job, "data": {"test": data["test"]}})[0] == ("G493", ("data",))
    only = {k: v for k, v in data.items() if k != "canaries"}
    assert refused({**job, "data": only}) == [("G492", ("want",))]
    asked = {**job, "evaluate": {"metrics": ["mia_auc"]}}
    check_deep(load_job({**asked, "data": only}, ["out=out"]))
    assert refused({**asked, "data": {"canaries": CANARIES}}) == [("G492", ("evaluate", "metrics"))]
    long = "canaries:digits?count=2&length=18&prefix=" + "the very long prefix of {name} " * 2
    assert refused({**job, "data": {"canaries": long}}) == [("G494", ("data", "canaries"))]
    bare = {"members": "sklearn:digits?split=train&labels=false"}
    bare |= {"nonmembers": "sklearn:digits?split=test"}
    net = {"want": "audit", "method": "exposure", "models": {"model": "zoo:mlp?classes=10"}}
    net |= {"data": bare, "evaluate": {"metrics": ["mia_auc"]}}
    assert ("G410", ("data", "members")) in refused(net)


def test_two_models_need_two_labels(models):
    method = [{"name": "exposure", "model": name} for name in models]
    with pytest.raises(JobError) as caught:
        load_job(a_job(models, method=method))
    assert "J125" in {p.code for p in caught.value.problems}
