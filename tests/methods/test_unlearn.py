"""Unlearning: the methods on their head, the saved model, the judge beside the gold."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from bequeath.blocks.feature_cache import FeatureTable
from bequeath.fleet.protocols._unlearn_requests import plan_requests
from bequeath.fleet.protocols.unlearn import GOLD
from bequeath.fleet.sweep import run_job
from bequeath.given.given import Given
from bequeath.given.models import load_model, model_handle
from bequeath.given.samples import ArraySamples
from bequeath.job.api import load_job
from bequeath.kernel.errors import Interrupted, JobError, RunError
from bequeath.methods.catalog import all_methods
from bequeath.methods.unlearn import Head, Protocol, Request, Requests, Step
from bequeath.train.config import Train
from bequeath.train.context import Context

CLASSES = ("a", "b", "c", "d")
Y = torch.arange(80) % 4


def plan(*requests: dict, seed=0, tasks=2, asked=None, **more) -> Requests:
    said = Protocol(tasks=tasks, requests=tuple(Request(**r) for r in requests), **more)
    return plan_requests(said, Y, CLASSES, seed, asked)


# The methods, against scikit-learn.


def data(n=80):
    g = torch.Generator().manual_seed(5)
    x = torch.randn(4, 12, generator=g)[Y[:n]] + torch.randn(n, 12, generator=g)
    return ArraySamples("vector", x, Y[:n], CLASSES)


def given_for(method, requests: Requests, train=None) -> Given:
    return Given(method.needs, {}, {}, {"train": train or data()}, protocol=requests)


def context(store: Path, **train) -> Context:
    how = {"epochs": 2, "batch_size": 8, "threads": 1, "device": "cpu", **train}
    return Context(1, Train.model_validate(how), store, show=False)


def run_method(name: str, store: Path, requests: Requests, config=None, **train):
    method = all_methods()[f"unlearn/{name}"]
    ctx = context(store, **train)
    handed: list[tuple[str, torch.Tensor]] = []
    ctx.on_stage = lambda stage, objects: handed.append((stage, objects.get("head")))
    cfg = method.Config.model_validate(config or {})
    outcome = method(ctx, given_for(method, requests), cfg)
    return outcome, [(stage, None if W is None else W.clone()) for stage, W in handed]


ASK = ({"samples": 7, "times": 3}, {"learn": 9}, {"classes": ["c"]}, {"samples": 2})


@pytest.mark.parametrize(
    ("name", "config", "bound"),
    [
        ("retrain", {}, 1e-12),
        ("acu", {"form": "normal"}, 1e-11),
        ("acu", {"tolerance": None}, 1e-9),
        ("acu", {}, 1e-9),
    ],
)
@pytest.mark.parametrize("head", [Head(width=40), Head(width=0, constant=True, gamma=3.0)])
def test_after_each_step_the_head_is_ridge_on_what_is_held(name, config, bound, head, tmp_path):
    requests = plan(*ASK, head=head)
    outcome, handed = run_method(name, tmp_path, requests, config)
    model = outcome.models["unlearned"]
    batch = data().fetch(torch.arange(80))
    with torch.no_grad():
        X = model.module.features(model.preprocess(batch, torch.device("cpu"))).numpy()
    hot = torch.nn.functional.one_hot(Y, 4).numpy()
    assert [stage for stage, _ in handed] == [step.name for step in requests.steps]
    for (_, W), step, held in zip(handed, requests.steps, requests.held):
        ridge = Ridge(alpha=head.gamma, fit_intercept=False, solver="cholesky")
        wanted = ridge.fit(X[held], hot[held].astype(float)).coef_.T
        assert np.abs(W.numpy() - wanted).max() < bound * np.abs(wanted).max()
        for gone in step.gone:
            assert not W[:, gone].any()
    logits = model(batch)
    assert bool((logits.argmax(1) != 2).all())  # class c is gone


@pytest.mark.parametrize("name", ["neggrad", "finetune", "random_labels"])
def test_gradients_go_the_way_they_should(name, tmp_path):
    requests = plan({"samples": 12}, tasks=1, head=Head(width=30))
    sgd = {"optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0, "weight_decay": 0}}
    outcome, handed = run_method(name, tmp_path, requests, **sgd)
    (_, before), (_, after) = handed
    model = outcome.models["unlearned"]
    batch = data().fetch(torch.arange(80))
    with torch.no_grad():
        X = model.module.features(model.preprocess(batch, torch.device("cpu")))
    error = {k: (X @ W - torch.nn.functional.one_hot(Y, 4)).square().sum(1)
             for k, W in (("before", before), ("after", after))}  # fmt: skip
    gone, held = requests.steps[-1].idx, requests.held[-1]
    if name == "finetune":
        assert error["after"][held].mean() < error["before"][held].mean()
    else:
        assert error["after"][gone].mean() > error["before"][gone].mean()
    assert torch.equal(model.module.out.weight.T, after)


def test_neggrad_leaves_a_sample_alone_when_it_is_wrong_enough(tmp_path):
    """A whole class, many steps: without a ceiling the head runs away, with it it stays near."""
    requests = plan({"classes": ["a"]}, tasks=1, head=Head(width=30))
    sgd = {"optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0, "weight_decay": 0}}
    largest = []
    for ceiling in (None, 0.5):
        store = tmp_path / str(ceiling)
        outcome, _ = run_method("neggrad", store, requests, {"ceiling": ceiling}, epochs=40, **sgd)
        logits = outcome.models["unlearned"](data().fetch(requests.steps[-1].idx)).detach()
        largest.append(float(logits.abs().max()))
        wrong = 0.5 * (logits - torch.tensor([1.0, 0, 0, 0])).square().sum(1)
        assert ceiling is None or bool((wrong > 0.4).all())
    assert largest[0] > 100 and largest[1] < 5


def test_neggrad_can_hold_on_to_the_rest(tmp_path):
    requests = plan({"samples": 12}, tasks=1, head=Head(width=30))
    sgd = {"optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0, "weight_decay": 0}}
    held = requests.held[-1]
    errors = []
    for retain in (0.0, 0.8):
        store = tmp_path / str(retain)
        outcome, _ = run_method("neggrad", store, requests, {"retain": retain}, epochs=5, **sgd)
        logits = outcome.models["unlearned"](data().fetch(held))
        errors.append((logits - torch.nn.functional.one_hot(Y[held], 4)).square().mean())
    assert errors[1] < errors[0]


@pytest.mark.parametrize("name", ["neggrad", "finetune", "random_labels"])
def test_a_stopped_descent_goes_on_to_the_same_bits(name, tmp_path, monkeypatch):
    import signal

    requests = plan({"samples": 12, "times": 2}, tasks=1, head=Head(width=30))
    whole, _ = run_method(name, tmp_path / "whole", requests)
    plain, looks = FeatureTable.fetch, [0]

    def stopping(self, idx):
        looks[0] += 1
        if looks[0] == 3:
            signal.raise_signal(signal.SIGINT)
        return plain(self, idx)

    monkeypatch.setattr(FeatureTable, "fetch", stopping)
    with pytest.raises(Interrupted):
        run_method(name, tmp_path / "part", requests)
    monkeypatch.setattr(FeatureTable, "fetch", plain)
    again, _ = run_method(name, tmp_path / "part", requests)
    one, other = (o.models["unlearned"].module.out.weight for o in (whole, again))
    assert torch.equal(one, other)


def test_the_ledger_stops_what_the_gate_did_not_see(tmp_path):
    """A protocol that hands over nonsense: a sample never learnt, and one twice."""
    idx = torch.arange(80)
    for wrong, code in ((torch.tensor([70]), "T650"), (torch.tensor([3]), "T651")):
        steps = (
            Step("task-0", True, idx[:60]),
            Step("request-1", False, idx[3:4]),
            Step("request-2", False, wrong),
        )
        requests = Requests(steps, (idx[:60],) * 3, Head(width=20))
        with pytest.raises(RunError) as caught:
            run_method("acu", tmp_path / code, requests)
        assert caught.value.problem.code == code


# With a backbone.


def with_backbone(tmp_path: Path, ref: str, train: Any, **config) -> Any:
    method = all_methods()["unlearn/acu"]
    handle = model_handle("model", ref)
    requests = plan({"samples": 6}, {"classes": ["b"]}, tasks=1, head=Head(width=25))
    given = Given(
        method.needs,
        {"model": lambda: handle.load(data=train, seed=3)},
        {"model": handle.examine(train.facts)},
        {"train": train},
        protocol=requests,
    )
    done = method(context(tmp_path / "store"), given, method.Config(**config))
    return done.models["unlearned"], handle.load(data=train, seed=3)


def test_on_a_backbone_the_head_takes_the_classifiers_place(tmp_path, monkeypatch):
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "cache"))
    train = data()
    model, backbone = with_backbone(tmp_path, "zoo:mlp?hidden=16,8", train)
    batch = train.fetch(torch.arange(80))
    with torch.no_grad():
        embedding = backbone.module.body(backbone.preprocess(batch, torch.device("cpu")))
        expected = model.module.out(embedding)
        logits = model(batch)
    assert torch.equal(logits, expected) and bool((logits.argmax(1) != 1).all())
    for name, tensor in backbone.module.body.state_dict().items():
        assert torch.equal(model.module.body.state_dict()[name], tensor)


def test_plain_torch_opens_backbone_and_head(tmp_path, monkeypatch):
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "cache"))
    train = data()
    model, _ = with_backbone(tmp_path, "zoo:mlp?hidden=16,8", train)
    folder = tmp_path / "saved"
    model.save(folder)
    load = json.loads((folder / "bequeath.json").read_text())["load"]
    assert "bequeath" not in load
    names: dict[str, Any] = {}
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    for known in ("architecture", "random_head", "preprocess"):
        monkeypatch.delitem(sys.modules, known, raising=False)
    exec(load, names)
    for known in ("architecture", "random_head", "preprocess"):
        sys.modules.pop(known, None)
    batch = train.fetch(torch.arange(80))
    eaten = model.preprocess(batch, torch.device("cpu"))
    with torch.no_grad():
        assert torch.equal(names["model"](eaten), model(batch))
        again = load_model(folder)
        assert torch.equal(again(batch), model(batch))
    assert (again.facts.head, again.facts.n_classes) == ("out.out", 4)
    from safetensors.torch import load_file

    left = load_file(folder / "model.safetensors")
    assert not left["out.weight"].any() and not left["out.bias"].any()  # the old classifier
    again.save(tmp_path / "copy")
    assert torch.equal(load_model(tmp_path / "copy")(batch), model(batch))


def test_a_classifier_that_is_no_linear_layer_is_refused(tmp_path):
    from bequeath.given.graft import grafted

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))
    backbone = SimpleNamespace(module=module, facts=SimpleNamespace(head="0"))
    with pytest.raises(ValueError, match="Conv2d"):
        grafted(backbone, None, {})


# Judged beside the gold.

JOB = {
    "want": "unlearn",
    "method": ["acu"],
    "data": {
        "train": {"ref": "sklearn:digits?split=train"},
        "test": {"ref": "sklearn:digits?split=test"},
    },
    "protocol": {
        "tasks": 5,
        "requests": [{"samples": 20, "times": 2}, {"classes": [3]}],
        "head": {"width": 60},
        "shadows": 3,
    },
    "evaluate": {
        "metrics": ["gold_gap", "agreement", "accuracy", "retain_accuracy", "forget_accuracy",
                    "forget_accuracy_gap", "gold_divergence", "mia_advantage", "mia_auc",
                    "mia_gap", "lira_auc", "lira_gap", "seconds_per_request"],
    },
    "seeds": 1,
    "train": {"epochs": 1, "threads": 1},
}  # fmt: skip


def job(out: Path, **more: Any) -> Any:
    return load_job({**JOB, **more}, [f"out={out}"])


def record(out: Path, arm: str) -> dict:
    return json.loads((out / "runs" / arm / "seed-0" / "record.json").read_text())


def test_a_job_ends_beside_its_gold(tmp_path):
    out = run_job(job(tmp_path / "out"), quiet=True)
    mine, gold, poor = (record(out, arm) for arm in ("acu", "retrain", "neggrad"))
    values = {name: metric["value"] for name, metric in mine["metrics"].items()}
    assert set(values) == set(JOB["evaluate"]["metrics"])
    assert values["gold_gap"] < 1e-8 and values["agreement"] == 1.0
    for name in ("mia_gap", "lira_gap", "forget_accuracy_gap", "gold_divergence"):
        assert values[name] < 1e-6, name
    assert values["mia_advantage"] == gold["metrics"]["mia_advantage"]["value"]
    assert values["seconds_per_request"] > 0
    assert poor["metrics"]["gold_gap"]["value"] > 0.01
    assert [row[0] for row in mine["tables"]["requests"]["rows"]] == ["learn"] + 3 * ["forget"]
    assert mine["notes"]["requests"] == 3 and mine["notes"]["least_agreement"] == 1.0
    assert (out / "runs" / "retrain" / "seed-0" / GOLD).is_file()
    assert not (out / "runs" / "acu" / "seed-0" / GOLD).exists()
    model = load_model(out / "runs" / "acu" / "seed-0" / "model")
    assert model.facts.n_classes == 10


def test_a_deletion_request_is_a_file(tmp_path):
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    np.savez(tmp_path / "train.npz", x=x[:400].astype(np.float32), y=y[:400])
    np.savez(tmp_path / "test.npz", x=x[400:600].astype(np.float32), y=y[400:600])
    np.savez(tmp_path / "forget.npz", x=x[[7, 3, 11]].astype(np.float32))
    np.savez(tmp_path / "strange.npz", x=x[[3, 700, 3]].astype(np.float32))
    files: dict[str, dict[str, Any]] = {
        r: {"ref": f"npz:{tmp_path}/{r}.npz"} for r in ("train", "test", "forget")
    }
    files["forget"]["labels"] = False
    more = {"data": files, "protocol": {"head": {"width": 50}}, "evaluate": {}}
    out = run_job(job(tmp_path / "out", **more), quiet=True)
    rows = record(out, "acu")["tables"]["requests"]["rows"]
    assert [row[:2] for row in rows] == [["learn", 400.0], ["forget", 3.0]]
    files["forget"] = {"ref": f"npz:{tmp_path}/strange.npz", "labels": False}
    with pytest.raises(JobError) as caught:
        run_job(job(tmp_path / "other", **more), quiet=True)
    assert {p.code for p in caught.value.problems} == {"G442", "G443"}
    assert not (tmp_path / "other").exists()


def test_without_a_gold_what_needs_one_is_refused_and_the_rest_measured(tmp_path):
    with pytest.raises(JobError) as caught:
        run_job(job(tmp_path / "out", baselines=False), quiet=True)
    assert "G440" in {p.code for p in caught.value.problems}
    plain = {"metrics": ["accuracy", "mia_advantage"]}
    out = run_job(job(tmp_path / "out", baselines=False, evaluate=plain), quiet=True)
    assert set(record(out, "acu")["metrics"]) == {"accuracy", "mia_advantage"}
