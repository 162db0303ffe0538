"""Selections, from the job to what is measured, on jobs of a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases.select import build
from method_cases import SEED, SETTINGS, case

from bequeath.blocks.manifest import load_manifest
from bequeath.blocks.mixtures import simplex_grid
from bequeath.evidence.record import load_record
from bequeath.fleet import check_deep, run_job
from bequeath.fleet.sources import Sources, skewed
from bequeath.given.given import Given
from bequeath.given.models import load_model
from bequeath.given.samples import ArraySamples
from bequeath.job.api import load_job
from bequeath.kernel.errors import JobError, RunError
from bequeath.methods.catalog import methods_of
from bequeath.methods.select import Question, Skew
from bequeath.train.config import Train
from bequeath.train.context import Context
from bequeath.train.trials import Trials

DIGITS = "sklearn:digits?test_size=0.2&val_size=0.2&split="
TRAIN = {
    "epochs": 6,
    "batch_size": 32,
    "threads": 1,
    "device": "cpu",
    "optimizer": {"name": "adamw", "lr": 0.01},
}
SKEW = {"low": {"classes": [0, 1, 2, 3]}, "high": {"classes": [4, 5, 6, 7, 8, 9]}}


def mixing(out: Path, **changes: Any) -> Any:
    protocol = {
        "size": 120,
        "pilot": 70,
        "sizes": [20, 50],
        "step": 0.125,
        "repeats": 1,
        "held_out": 0.75,
        "check": "grid",
        "skew": SKEW,
        **changes.pop("protocol", {}),
    }
    job = {
        "want": "select",
        "method": [{"name": "projektor", "steps": 5, "validation": 60}, "mixture_law"],
        "models": {"model": "zoo:mlp?hidden=8"},
        "data": {
            "low": DIGITS + "train",
            "high": DIGITS + "train",
            "validation": DIGITS + "val",
            "test": DIGITS + "test",
        },
        "protocol": protocol,
        "seeds": 1,
        "train": TRAIN,
        **changes,
    }
    return load_job(job, [f"out={out}"])


def pruning(out: Path, **changes: Any) -> Any:
    job = {
        "want": "select",
        "method": [
            {"name": "dp4tl", "keep": 0.3, "epochs": 30},
            {"name": "random_subset", "as": "samples", "unit": "sample", "keep": 0.3},
        ],
        "models": {"surrogate": "zoo:mlp?hidden=16", "model": "zoo:mlp?hidden=16,8"},
        "data": {
            "source": DIGITS + "train",
            "target": DIGITS + "val&classes=2,5,7",
            "test": DIGITS + "test&classes=2,5,7",
        },
        "protocol": {"tune_epochs": 5},
        "seeds": 1,
        "train": {**TRAIN, "epochs": 15},
        **changes,
    }
    return load_job(job, [f"out={out}"])


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("ot")
    return run_job(mixing(tmp_path_factory.mktemp("mixed") / "out"), quiet=True)


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_job(pruning(tmp_path_factory.mktemp("pruned") / "out"), quiet=True)


def record(out: Path, arm: str) -> Any:
    return load_record(out / "runs" / arm / "seed-0")


def test_predictions_are_held_against_what_came(mixed):
    one = record(mixed, "projektor")
    assert {"accuracy", "prediction_error", "mae", "r2", "regret"} <= set(one.metrics)
    table = one.tables["mixtures"]
    assert table.columns == ["low", "high", "trials", "predicted", "measured"]
    held = [row for row in table.rows if row[2] == "predicted only"]
    assert held and all(row[1] >= 0.75 for row in held) and len(table.rows) == 9
    mae = np.mean([abs(row[3] - row[4]) for row in held])
    assert abs(one.metrics["mae"].value - mae) < 1e-9
    best = max(row[4] for row in table.rows)
    assert abs(one.metrics["regret"].value - (best - one.metrics["accuracy"].value)) < 1e-9
    law = record(mixed, "mixture_law").tables["mixtures"]
    assert [row[4] for row in law.rows] == [row[4] for row in table.rows]  # checked once for all
    assert "mae" not in record(mixed, "uniform").metrics


def test_the_run_leaves_the_model_and_its_rows(mixed):
    folder = mixed / "runs" / "projektor" / "seed-0"
    kept = load_manifest(folder / "selection")
    assert sum(len(k.rows) for k in kept.values()) == 120
    said = json.loads((folder / "selection" / "selection.json").read_text())
    for role, share in said["shares"].items():
        assert abs(len(kept[role].rows) - 120 * share) <= 1
    low, value, high = (said["expected"][i] for i in (1, 0, 2))
    assert 0 <= low <= value <= high <= 1
    assert load_model(folder / "model").facts.n_classes == 10
    assert not (mixed / "work").exists()


def test_methods_see_the_pilots_alone(tmp_path):
    opened = check_deep(mixing(tmp_path / "out"))
    src = Sources(opened, 3)
    full, pilots = src.full, src.pilots
    assert {role: len(one) for role, one in pilots.items()} == {"low": 70, "high": 70}
    for role in pilots:
        seen, there = (
            {row.numpy().tobytes() for row in one.fetch(torch.arange(len(one)))["x"]}
            for one in (pilots[role], full[role])
        )
        assert seen < there
    ask = src.question()
    assert ask.trials is not None and ask.trials.sources is pilots
    assert ask.fit[:, 1].max() < 0.75 <= ask.asked[:, 1].max()
    assert Sources(opened, 3).pilots["low"].hash == pilots["low"].hash
    assert Sources(opened, 4).pilots["low"].hash != pilots["low"].hash


def test_skew():
    y = torch.arange(400) % 4
    one = ArraySamples("vector", torch.randn(400, 2), y, ("a", "b", "c", "d"))
    g = torch.Generator().manual_seed(0)
    made = skewed(one, Skew(classes=(1, 2), share=0.9), g)
    assert made.y is not None
    major = torch.isin(made.y, torch.tensor([1, 2])).double().mean()
    assert abs(major - 0.9) < 0.01 and len(made) == 222  # 200 of them are all there are
    idx = torch.arange(len(made))
    assert torch.equal(made.fetch(idx)["y"], made.y)
    noisy = skewed(one, Skew(noise=0.4), g)
    wrong = (noisy.y != y).double().mean()
    assert len(noisy) == 400 and 0.2 < wrong < 0.4  # a random label is right one time in four


def test_trials_are_remembered_counted_and_the_same_again(tmp_path):
    one = case(methods_of("select")["mixture_law"])
    kept = tmp_path / "kept.json"

    def ask() -> tuple[Trials, Context]:
        trials = build(one, tmp_path, SEED, {})["protocol"].trials
        trials.path = kept
        train = Train.model_validate({**SETTINGS, "epochs": 2})
        return trials, Context(SEED, train, tmp_path / "store", show=False)

    grid = simplex_grid(2, 0.5)
    trials, ctx = ask()
    first = trials.accuracy(ctx, 20, grid, 2)
    assert trials.trained == 6 and first.shape == (3, 2) and ((first >= 0) & (first <= 1)).all()
    assert np.array_equal(trials.accuracy(ctx, 20, grid, 2), first) and trials.trained == 6
    again, ctx = ask()
    assert np.array_equal(again.accuracy(ctx, 20, grid, 2), first) and again.trained == 0
    kept.unlink()
    anew, ctx = ask()
    assert np.array_equal(anew.accuracy(ctx, 20, grid, 2), first) and anew.trained == 6
    rows = trials.draw(20, grid[1], 0)
    assert [len(r) for r in rows] == [10, 10]
    assert not np.array_equal(rows[0], trials.draw(20, grid[1], 1)[0])


class Known(Trials):
    """A world in which accuracy is known: linear in the first share and in log n."""

    def accuracy(self, ctx: Any, n: int, points: np.ndarray, repeats: int) -> np.ndarray:
        return np.repeat(0.1 * np.log(n / 10) * points[:, :1] + 0.2, repeats, axis=1)


@pytest.mark.parametrize("name", ["mixture_law", "projektor"])
def test_in_a_world_that_follows_the_law_all_is_right(tmp_path, name):
    """Held-out mixtures at a size never tried are predicted exactly, and the best is found."""
    one = case(
        methods_of("select")[name], {"form": "linear" if name == "mixture_law" else "pseudo-linear"}
    )
    held = build(one, tmp_path, SEED, {})
    ask: Question = held["protocol"]
    assert ask.trials is not None
    known = Known(ask.trials.load, ask.trials.sources, ask.trials.judge, SEED)
    held["protocol"] = Question(**{**ask.__dict__, "trials": known, "size": 1000})
    given = Given(one.method.needs_for(one.config).over((), ("one", "other")), **held)
    ctx = Context(SEED, Train.model_validate(SETTINGS), tmp_path, show=False)
    chosen = one.method(ctx, given, one.config).answer
    truth = 0.1 * np.log(100) * ask.asked[:, 0] + 0.2
    assert np.allclose(chosen.predicted, truth, atol=1e-6)
    assert chosen.shares["one"] > 0.99
    assert abs(chosen.expected.value - truth.max()) < 0.02


def test_kept_classes_are_those_of_the_target(pruned):
    one = record(pruned, "dp4tl")
    assert sorted(one.notes["kept"]) == ["2", "5", "7"] and one.notes["votes_kept"] > 0.8
    assert 0.25 < one.metrics["kept_share"].value < 0.35
    kept = load_manifest(pruned / "runs" / "dp4tl" / "seed-0" / "selection")["source"]
    source = pruning(pruned).data["source"].load()
    chosen = torch.isin(source.y, torch.tensor([2, 5, 7])).nonzero()[:, 0]
    assert kept.rows.tolist() == chosen.tolist() and kept.of == source.hash
    assert record(pruned, "uniform").metrics["kept_share"].value == 1.0
    assert record(pruned, "dp4tl").seal.attempts == []


def test_the_probe_is_a_model_of_the_targets_classes(pruned):
    model = load_model(pruned / "runs" / "dp4tl" / "seed-0" / "model")
    assert model.facts.n_classes == 3
    assert record(pruned, "dp4tl").metrics["accuracy"].value > 0.6


def test_full_tuning_moves_all_weights_and_a_probe_only_the_last(tmp_path):
    from bequeath.fleet.transfer import transferred

    opened = check_deep(pruning(tmp_path / "out"))
    trained = opened.load("model", data=opened.samples["source"], seed=1)
    before = {k: v.clone() for k, v in trained.module.state_dict().items()}
    for tune, moved in (("linear", False), ("full", True)):
        ctx = Context(0, Train.model_validate(TRAIN), tmp_path / tune, show=False)
        model = transferred(
            ctx, opened, "model", trained, opened.samples["target"], tune=tune, epochs=2, lr=0.01
        )
        after = model.module.state_dict()
        body = [k for k in after if not k.startswith("out.")]
        assert any(not torch.equal(after[k], before[k]) for k in body) is moved
        assert after["out.weight"].shape[0] == 3
    assert all(torch.equal(v, before[k]) for k, v in trained.module.state_dict().items())


def test_without_a_judge_the_selection_is_the_result(tmp_path):
    data = {"source": DIGITS + "train", "target": DIGITS + "val&classes=2,5,7&labels=false"}
    job = pruning(tmp_path / "out", data=data, models={"surrogate": "zoo:mlp?hidden=16"})
    out = run_job(job, quiet=True)
    one = record(out, "dp4tl")
    assert one.metrics == {} and one.model is None and len(one.notes["kept"]) == 3
    assert load_manifest(out / "runs" / "dp4tl" / "seed-0" / "selection")["source"].n > 0


def problems_of(job: Any) -> dict[str, Any]:
    with pytest.raises(JobError) as caught:
        check_deep(job)
    return {p.code: p for p in caught.value.problems}


def test_what_is_refused_before_anything_is_trained(tmp_path):
    cases: list[tuple[str, tuple[Any, ...], Any]] = [
        ("G450", ("protocol", "pilot"), mixing(tmp_path, protocol={"pilot": 20})),
        ("G451", ("protocol", "size"), mixing(tmp_path, protocol={"size": 100_000})),
        ("G452", ("protocol", "pilot"), mixing(tmp_path, protocol={"step": 0.5})),
        ("J102", ("protocol", "skew", "hgh"), mixing(tmp_path, protocol={"skew": {"hgh": {}}})),
        ("J102", ("protocol", "held_source"), mixing(tmp_path, protocol={"held_source": "x"})),
        (
            "J102",
            ("protocol", "skew", "low", "classes"),
            mixing(tmp_path, protocol={"skew": {"low": {"classes": [10]}}}),
        ),
        (
            "G455",
            ("method",),
            pruning(tmp_path, models={"surrogate": "zoo:mlp?hidden=16"}),
        ),
    ]
    for code, at, job in cases:
        found = problems_of(job)
        assert code in found and found[code].at == at, (code, found)


def test_sources_of_other_classes_or_forms(tmp_path):
    data = {
        "low": DIGITS + "train",
        "high": DIGITS + "train&classes=0-4",
        "validation": DIGITS + "val",
        "test": DIGITS + "test",
    }
    assert problems_of(mixing(tmp_path, data=data, protocol={"skew": {}}))["G405"].at == (
        "data",
        "high",
    )
    data["high"] = "sklearn:digits?as=image&split=train"
    assert "G407" in problems_of(mixing(tmp_path, data=data, protocol={"skew": {}}))


def test_a_target_without_labels_cannot_judge(tmp_path):
    data = {
        "source": DIGITS + "train",
        "target": DIGITS + "val&classes=2,5,7&labels=false",
        "test": DIGITS + "test&classes=2,5,7",
    }
    found = problems_of(pruning(tmp_path, data=data))
    assert set(found) & {"G454", "G405"} and ("data", "target") in {p.at for p in found.values()}


def test_sizes_and_steps_that_make_no_sense(tmp_path):
    for wrong in ({"sizes": [50, 20]}, {"step": 0.3}, {"sizes": [1, 20]}):
        with pytest.raises(JobError) as caught:
            mixing(tmp_path, protocol=wrong)
        assert caught.value.problems[0].at[:1] == ("protocol",)


def test_texts_need_a_model_that_embeds_them(tmp_path):
    from bequeath.methods.select._distances import embedded

    one = case(methods_of("select")["projektor"])
    held = build(one, tmp_path, SEED, {})
    texts = ArraySamples("text", ["a", "b"] * 3, torch.arange(6) % 3, ("a", "b", "c"))
    held["loaders"].pop("embedder", None)
    given = Given(
        one.method.needs_for(one.config).over((), ("one", "other")),
        **{**held, "data": {**held["data"], "one": texts}},
    )
    ctx = Context(SEED, Train.model_validate(SETTINGS), tmp_path, show=False)
    with pytest.raises(RunError) as caught:
        embedded(ctx, given, ["one"], components=3, most=10)
    assert caught.value.problem.code == "G453"


def test_one_target_sample_is_enough_to_vote(tmp_path):
    data = {"source": DIGITS + "train", "target": DIGITS + "val&take=1&labels=false"}
    job = pruning(tmp_path / "out", data=data, models={"surrogate": "zoo:mlp?hidden=16"})
    one = record(run_job(job, quiet=True), "dp4tl")
    assert one.notes["with_votes"] == 1 and one.notes["votes_kept"] == 1.0
