"""Scores by question are PyKEEN's scores, and saved embeddings are PyKEEN's to open."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from bequeath.blocks.link_model import NAMES, link_model
from bequeath.metrics.ranking import SIDES, filtered_ranks

pytest.importorskip("pykeen")

N, R, DIM = 9, 4, 6


def made(name: str, seed: int = 0, margin: float = 6.0):
    model = link_model(name, DIM, margin, N, R, torch.Generator().manual_seed(seed))
    model.constrain()
    return model


def every() -> torch.Tensor:
    return torch.cartesian_prod(torch.arange(N), torch.arange(R), torch.arange(N))


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_pykeens(name):
    model, triples = made(name), every()
    with torch.no_grad():
        theirs = model.module.score_hrt(triples).flatten() + model.margin
    h, r, t = triples.unbind(1)
    for kept, replaced, tail in ((h, t, True), (t, h, False)):
        ours = model.answers(model.questions(kept, r, tail), replaced[:, None]).flatten()
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        whole = model.all_answers("tail" if tail else "head", kept, r)
        own = whole.gather(1, replaced[:, None]).flatten()
        torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_pykeens(name):
    triples = every()[::7]
    ours, theirs = made(name), made(name)
    h, r, t = triples.unbind(1)
    ours.answers(ours.questions(t, r, False), h[:, None]).tanh().sum().backward()
    (theirs.module.score_hrt(triples) + theirs.margin).tanh().sum().backward()
    for one, other in zip(ours.module.parameters(), theirs.module.parameters()):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_ranks_are_those_of_pykeens_evaluator(name):
    from pykeen.evaluation import RankBasedEvaluator

    g = torch.Generator().manual_seed(1)
    some = every()[torch.randperm(N * R * N, generator=g)[:80]]
    train, test = some[:60], some[60:]
    model = made(name)
    evaluator = RankBasedEvaluator(clear_on_finalize=False)
    evaluator.evaluate(
        model.module.eval(), test, additional_filter_triples=[train], use_tqdm=False, batch_size=8
    )
    ours = filtered_ranks(model.all_answers, test, some, N).realistic
    for row, side in zip(ours, SIDES):
        theirs = np.concatenate(evaluator.ranks[side, "realistic"])
        assert row.tolist() == theirs.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_a_function_of_its_generator(name):
    first, second, other = made(name), made(name), made(name, seed=1)
    state = torch.get_rng_state()
    made(name)
    assert torch.equal(torch.get_rng_state(), state), "PyKEEN must not seed the global generator"
    for key, value in first.module.state_dict().items():
        assert torch.equal(value, second.module.state_dict()[key])
        assert not torch.equal(value, other.module.state_dict()[key])


@pytest.mark.parametrize("name", NAMES)
def test_the_distance_begins_near_the_margin(name):
    model = link_model(name, 50, 6.0, 400, 5, torch.Generator().manual_seed(0))
    scores = model.all_answers("tail", torch.arange(50), torch.arange(50) % 5)
    assert abs(float(scores.mean())) < 1.5


@pytest.mark.parametrize("name", NAMES)
def test_saved_embeddings_open_with_pykeen_alone(name, tmp_path):
    model = made(name)
    entities, relations = tuple(f"e{i}" for i in range(N)), tuple(f"r{i}" for i in range(R))
    model.save(tmp_path / "m", entities, relations)
    record = json.loads((tmp_path / "m" / "bequeath.json").read_text())
    readme = (tmp_path / "m" / "README.md").read_text()
    assert record["load"] in readme and "bequeath" not in record["load"]
    code = record["load"]
    for file in ("entities.json", "relations.json", "embeddings.safetensors"):
        code = code.replace(f"'{file}'", repr(str(tmp_path / "m" / file)))
    names: dict[str, Any] = {}
    exec(code, names)
    with torch.no_grad():
        theirs, ours = names["model"].score_hrt(every()), model.module.score_hrt(every())
    assert torch.equal(theirs, ours) and names["entities"] == list(entities)


def test_cubes():
    model = made("complex")
    flat = torch.cat([p.detach().flatten() for p in model.module.parameters()]).double()
    assert float(model.cubes().detach()) == pytest.approx(float((flat.abs() ** 3).mean()), rel=1e-5)
