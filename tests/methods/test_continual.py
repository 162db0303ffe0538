"""Continual learning from the job to the accuracy matrix, and ExSSNeT's promises bit by bit."""

from __future__ import annotations

import importlib.util
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bequeath.blocks.task_nets import TaskNets
from bequeath.evidence.record import RunRecord, find_runs, load_record
from bequeath.fleet.protocols.continual import stream_of
from bequeath.fleet.sweep import run_job
from bequeath.given.models import load_model, model_handle
from bequeath.given.samples import ArraySamples
from bequeath.job.api import load_job
from bequeath.kernel.errors import AccessDenied, JobError, RunError
from bequeath.methods.catalog import methods_of
from bequeath.methods.continual import Protocol
from bequeath.train.config import Train
from bequeath.train.context import Context

K = 4


def images(seed: int, n: int = 48) -> ArraySamples:
    """Stripes whose direction and place tell the class."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % K
    x = torch.randint(60, (n, 8, 8, 1), generator=g)
    for i, label in enumerate(y.tolist()):
        stripe = x[i, :, :, 0] if label % 2 else x[i, :, :, 0].T
        stripe[1 + 3 * (label // 2)] += 180
    return ArraySamples("image", x.byte(), y, tuple("abcd"))


class Given:
    """What the method is handed, without a seal."""

    def __init__(self, ref: str, stream: Any, data: ArraySamples, seed: int):
        self.protocol, self._make = stream, (ref, data, seed)

    def model(self, role: str) -> Any:
        ref, data, seed = self._make
        handle = model_handle(role, ref)
        self.load = lambda: handle.load(n_classes=K, data=data, seed=seed)
        return self


class Watch:
    """Looks at every stage at all tasks' answers to the same samples."""

    def __init__(self, data: ArraySamples):
        self.batch = data.fetch(torch.arange(len(data)))
        self.logits: dict[str, list[torch.Tensor]] = {}
        self.bits: dict[str, dict[str, torch.Tensor]] = {}

    def __call__(self, name: str, objects: dict[str, Any]) -> None:
        nets = objects["model"]
        if "/" in name or not isinstance(nets, TaskNets):
            return
        with torch.no_grad():
            self.logits[name] = [
                nets.for_task(t)(self.batch).clone() for t in range(len(nets.names))
            ]


def learn(
    tmp: Path, ref: str = "zoo:mlp?hidden=24,16", epochs: int = 2, **config: Any
) -> tuple[Any, Watch, Any]:
    said = Protocol(**config.pop("protocol", {"stream": "permuted", "tasks": 3}))
    data, method = images(0), methods_of("continual")["exssnet"]
    optimizer = {"name": "adamw", "lr": 0.01, "weight_decay": 0.1}  # decay must not reach old tasks
    train = Train.model_validate(
        {"epochs": epochs, "batch_size": 16, "threads": 1, "device": "cpu", "optimizer": optimizer}
    )
    watch = Watch(images(1))
    ctx = Context(0, train, tmp, show=False, on_stage=watch)
    given = Given(ref, stream_of(said, data, 0), data, 0)
    return method(ctx, given, method.Config(**config)), watch, ctx


@pytest.mark.parametrize("ref", ["zoo:mlp?hidden=24,16", "zoo:resnet8"])
@pytest.mark.parametrize("weights", ["exclusive", "none"])
def test_learnt_tasks_are_bit_identical_for_ever(tmp_path: Path, ref: str, weights: str):
    _, watch, _ = learn(tmp_path, ref, weights=weights, transfer="none")
    last = watch.logits["task-3"]
    for t in range(3):
        assert torch.equal(watch.logits[f"task-{t + 1}"][t], last[t])
    assert not torch.equal(last[0], watch.logits["start"][0])


def test_shared_weights_drift(tmp_path: Path):
    _, watch, _ = learn(tmp_path, weights="shared", density=0.5, transfer="none")
    assert not torch.equal(watch.logits["task-1"][0], watch.logits["task-3"][0])


def test_what_tasks_own(tmp_path: Path):
    """Masks of exact density; what a task trains is disjoint from every older mask."""
    weights: dict[str, dict[str, torch.Tensor]] = {}
    masks: dict[str, dict[str, torch.Tensor]] = {}

    class Keep(Watch):
        def __call__(self, name: str, objects: dict[str, Any]) -> None:
            nets = objects["model"]
            if "/" not in name:
                weights[name] = nets.masked.weights()
                like = nets.masked.originals
                masks.update({t: nets.bank.masks(t, like) for t in nets.bank.tasks})

    said, data = Protocol(stream="permuted", tasks=3), images(0)
    method = methods_of("continual")["exssnet"]
    train = Train(epochs=2, batch_size=16, threads=1, device="cpu")
    ctx = Context(0, train, tmp_path, show=False, on_stage=Keep(data))
    given = Given("zoo:mlp?hidden=24,16", stream_of(said, data, 0), data, 0)
    outcome = method(ctx, given, method.Config(density=0.3, transfer="none"))
    names = ["start", "task-1", "task-2", "task-3"]
    for name in weights["start"]:
        n = weights["start"][name].numel()
        used = torch.zeros_like(masks["task-1"][name])
        for before, after in itertools.pairwise(names):
            mask = masks[after][name]
            assert int(mask.sum()) == -(-n * 3 // 10)
            moved = weights[after][name] != weights[before][name]
            assert not bool((moved & used).any()) and not bool((moved & ~mask).any())
            assert bool(moved.any())
            used |= mask
        free = outcome.notes["free_capacity"][name]
        assert free == pytest.approx(float((~used).double().mean()), abs=1e-6)
    assert 0 < outcome.notes["mask_overlap"] < 1
    assert outcome.notes["scores_from"].keys() == {"task-1", "task-2", "task-3"}


def test_a_full_network_learns_masks_only(tmp_path: Path):
    _, watch, ctx = learn(tmp_path, density=1.0, transfer="none")
    assert torch.equal(watch.logits["task-1"][0], watch.logits["task-3"][0])
    assert len(ctx.fits) == 6


def test_scores_begin_at_those_of_the_task_that_helps_most(tmp_path: Path):
    """A rotated stream that turns by nothing: the first task knows the second already."""
    said = {"stream": "rotated", "tasks": 2, "step": 0.0}
    outcome, watch, _ = learn(tmp_path / "knn", epochs=8, protocol=said, probe=1.0, neighbours=3)
    assert outcome.notes["scores_from"] == {"task-1": None, "task-2": "task-1"}
    plain, _, _ = learn(tmp_path / "plain", epochs=8, protocol=said, transfer="none")
    assert plain.notes["scores_from"] == {"task-1": None, "task-2": None}
    assert torch.equal(watch.logits["task-1"][0], watch.logits["task-2"][0])


def test_classes_of_a_task_share_a_narrow_head(tmp_path: Path):
    outcome, watch, _ = learn(tmp_path, protocol={"stream": "split", "tasks": 2}, density=0.5)
    model = outcome.models["model"]
    assert model.facts.n_classes == 2 and model.module.out.out_features == 2
    logits = watch.logits["task-2"]
    assert bool(logits[0][:, :2].isfinite().all()) and bool(logits[0][:, 2:].isneginf().all())
    assert bool(logits[1][:, 2:].isfinite().all()) and bool(logits[1][:, :2].isneginf().all())
    assert torch.equal(watch.logits["task-1"][0], logits[0])
    model.save(tmp_path / "model")
    record = json.loads((tmp_path / "model" / "bequeath.json").read_text())
    assert record["classes"] == ["c", "d"]


@pytest.mark.parametrize("ref", ["zoo:mlp?hidden=24,16", "zoo:resnet8"])
def test_every_task_opens_with_torch_alone(tmp_path: Path, ref: str):
    outcome, watch, _ = learn(tmp_path / "work", ref)
    outcome.models["model"].save(tmp_path / "model")
    again = load_model(tmp_path / "model")  # the network of the last task
    with torch.no_grad():
        assert torch.equal(again(watch.batch), watch.logits["task-3"][2])
    said = json.loads((tmp_path / "model" / "bequeath.json").read_text())["load"]
    assert "load_task(model, 'task-1', 'tasks.safetensors')" in said
    spec = importlib.util.spec_from_file_location("tasks_beside", tmp_path / "model" / "tasks.py")
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    for t in range(3):
        file = tmp_path / "model" / "tasks.safetensors"
        assert theirs.load_task(again.module, f"task-{t + 1}", file) == list("abcd")
        with torch.no_grad():
            assert torch.equal(again(watch.batch), watch.logits["task-3"][t])


def test_one_epoch_cannot_be_two_phases(tmp_path: Path):
    with pytest.raises(RunError) as caught:
        learn(tmp_path, epochs=1)
    assert caught.value.problem.code == "G435"
    learn(tmp_path, epochs=1, weights="none")


def test_a_stream_closes_what_is_over():
    stream = stream_of(Protocol(stream="split", tasks=2), images(0), 0)
    tasks = iter(stream)
    first = next(tasks)
    assert first.train.fetch(torch.arange(3))["y"].tolist() == [0, 1, 0]
    next(tasks)
    with pytest.raises(AccessDenied, match="task-1 is over"):
        first.train.fetch(torch.arange(3))
    with pytest.raises(AccessDenied, match="one task at a time"):
        stream.together()


def job(tmp: Path, method: Any, protocol: dict[str, Any], **more: Any) -> Any:
    plain = {
        "want": "continual",
        "method": method,
        "protocol": protocol,
        "models": {"model": {"ref": "zoo:mlp?hidden=32"}},
        "data": {
            "train": {"ref": "sklearn:digits?split=train&as=image&take=300"},
            "test": {"ref": "sklearn:digits?split=test&as=image&take=100"},
        },
        "seeds": 1,
        "train": {"epochs": 2, "batch_size": 32, "threads": 1, "device": "cpu"},
    }
    return load_job({**plain, **more}, [f"out={tmp / 'out'}"])


def run(tmp: Path, method: Any, protocol: dict[str, Any], **more: Any) -> dict[str, RunRecord]:
    out = run_job(job(tmp, method, protocol, **more), quiet=True)
    return {load_record(f).run.arm: load_record(f) for f in find_runs(out)}


def test_the_matrix_and_what_follows_from_it(tmp_path: Path):
    records = run(tmp_path, ["exssnet", "er", "ewc"], {"stream": "permuted", "tasks": 3})
    assert records.keys() == {"exssnet", "er", "ewc", "finetune", "joint"}
    for arm, record in records.items():
        rows = record.tables["accuracy"].rows
        values = {name: m.value for name, m in record.metrics.items()}
        assert values["acc"] == pytest.approx(sum(rows[-1]) / 3)
        assert record.seal.attempts == []
        if arm == "joint":
            assert "bwt" not in values and rows[1] == [None, None, None]
            continue
        a = torch.tensor(rows[1:])
        bwt = float((a[2, :2] - a.diagonal()[:2]).mean())
        assert values["bwt"] == pytest.approx(bwt, abs=1e-6)
        assert values["fwt"] == pytest.approx(
            float((a.diagonal(1) - torch.tensor(rows[0])[1:]).mean()), abs=1e-6
        )
    kept = records["exssnet"]
    assert kept.metrics["bwt"].value == kept.metrics["logit_drift"].value == 0.0
    assert kept.notes["drift_of_first_task"] == 0.0
    assert {"start_acc", "first_epoch_acc"} <= kept.notes.keys()
    assert kept.tables.keys() == {"accuracy", "free_capacity", "mask_overlap"}
    assert records["finetune"].metrics["logit_drift"].value > 0.1
    assert records["er"].notes["memory_samples"] == 500  # of 600 samples of two tasks


def test_scenarios_of_divided_classes(tmp_path: Path):
    """Told which task a sample is of, two classes compete; untold, all that were seen."""
    split = {"stream": "split", "tasks": 5}
    more: dict[str, Any] = {"baselines": False}
    train = {"epochs": 10, "batch_size": 32, "threads": 1, "device": "cpu"}
    more |= {"train": {**train, "optimizer": {"lr": 0.01}}}
    told = run(tmp_path / "told", "finetune", split, **more)["finetune"]
    untold = run(tmp_path / "untold", "finetune", {**split, "task_ids": False}, **more)["finetune"]
    old, new = (sum(r.tables["accuracy"].rows[-1][:-1]) / 4 for r in (untold, told))
    assert new > 0.6 > 0.4 > old  # untold, the newest classes take what is of the old ones
    assert untold.tables["accuracy"].rows[-1][-1] > 0.6
    assert untold.metrics["forgetting"].value > told.metrics["forgetting"].value + 0.2


def refused(tmp: Path, method: Any, protocol: dict[str, Any], **more: Any) -> dict[str, Any]:
    with pytest.raises(JobError) as caught:
        run_job(job(tmp, method, protocol, **more), quiet=True)
    return {p.code: p for p in caught.value.problems}


def test_streams_that_cannot_be_made_are_refused(tmp_path: Path):
    found = refused(tmp_path, "er", {"stream": "split", "tasks": 6})
    assert found["G432"].at == ("protocol", "tasks")
    assert "10 classes do not make 6 tasks" in found["G432"].message
    vectors = {
        "train": {"ref": "sklearn:digits?split=train"},
        "test": {"ref": "sklearn:digits?split=test"},
    }
    found = refused(tmp_path, "er", {"stream": "rotated"}, data=vectors)
    assert found["G433"].at == ("protocol", "stream")
    found = refused(tmp_path, "exssnet", {"stream": "split", "task_ids": False})
    assert found["G434"].at == ("protocol", "task_ids") and "`exssnet`" in found["G434"].message
    found = refused(tmp_path, "er", {"stream": "permuted", "tasks": 40, "disjoint": True})
    assert found["G436"].at == ("data", "train")
    assert "task 1 of 40 would have no samples" in found["G436"].message


def test_replay_and_springs_hold_what_is_lost_otherwise(tmp_path: Path):
    """On a stream of turned digits: both keep more of the first task than fine-tuning."""
    protocol = {"stream": "rotated", "tasks": 2, "step": 90}
    train = {"epochs": 15, "batch_size": 32, "threads": 1, "device": "cpu"}
    methods = ["finetune", {"name": "er", "memory": 200}, {"name": "ewc", "strength": 1000}]
    records = run(tmp_path, methods, protocol, train=train, baselines=False)
    first = {arm: record.tables["accuracy"].rows[-1][0] for arm, record in records.items()}
    assert first["er"] > first["finetune"] + 0.1
    assert first["ewc"] > first["finetune"] + 0.05
