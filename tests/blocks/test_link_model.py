"""Scores by question are PyKEEN's scores, and saved embeddings are PyKEEN's to open."""

from __future__ import annotations

import copy
import json
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
import torch

from bequeath.blocks.link_model import NAMES, link_model
from bequeath.metrics.ranking import SIDES, exact_ranks, filtered_ranks

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
        exact = model.exact_answers("tail" if tail else "head", kept, r, replaced)
        assert exact.dtype == torch.float64
        own = exact.float() + model.margin
        torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-5)


def wide(name: str, seed: int):
    """A model of uneven vectors: some entities large, some small, two alike."""
    model = link_model(name, 40, 6.0, 50, R, torch.Generator().manual_seed(seed))
    model.constrain()
    with torch.no_grad():
        weight = model.entities
        weight.mul_(torch.logspace(-3, 2, 50)[:, None])
        weight[7] = weight[8]
    return model


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", SIDES)
def test_rough_scores_are_as_near_as_they_say(name, side):
    """Their differences in a row against the exact ones, squared for the Euclidean distance."""
    model, n = wide(name, 0), 50
    kept, r = torch.arange(n), torch.arange(n) % R
    rough, slack = model.rough_answers(side, kept, r)
    ends = [x.repeat_interleave(n) for x in (kept, r)]
    exact = model.exact_answers(side, *ends, torch.arange(n).repeat(n)).view(n, n)
    if name == "rotate":
        exact = -exact.square()
    apart = rough.double() - exact
    if model.form != "dot":
        apart = apart - apart.gather(1, apart.abs().argmin(1, keepdim=True))
        apart = apart - (apart.max(1, keepdim=True).values + apart.min(1, keepdim=True).values) / 2
    # what is the same in a row does not count: L2 leaves |q|^2 out, L1 the sum of q
    assert (apart.abs() <= slack.double()[:, None]).all()
    assert (slack.double() < 1e-3 * exact.abs().max(1).values).all(), "a bound of no use"


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
    ours = exact_ranks(model.rough_answers, model.exact_answers, test, some, N).realistic
    for row, side in zip(ours, SIDES):
        theirs = np.concatenate(evaluator.ranks[side, "realistic"])
        assert row.tolist() == theirs.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_ranks_are_those_of_float64(name):
    """PyKEEN's own scores in float64, entity by entity, on vectors that float32 cannot tell apart
    and on some that are alike."""
    model, n = wide(name, 1), 50
    with torch.no_grad():
        base = model.entities[20].clone()
        step = torch.randn(10, base.numel(), generator=torch.Generator().manual_seed(2))
        model.entities[20:30] = base * (1 + 3e-7 * step)
    g = torch.Generator().manual_seed(3)
    triples = (torch.rand(300, 3, generator=g) * torch.tensor([n, R, n])).long()
    triples[:100, 2] = 20 + torch.arange(100) % 10
    known = triples[50:]
    ours = exact_ranks(model.rough_answers, model.exact_answers, triples[:150], known, n, batch=64)
    module = copy.deepcopy(model.module).double()
    with torch.no_grad():
        table = module.score_hrt(
            torch.cartesian_prod(torch.arange(n), torch.arange(R), torch.arange(n))
        ).view(n, R, n)

    def score(side, entity, relation):
        return table[entity, relation] if side == "tail" else table[:, relation, entity].T

    right = filtered_ranks(score, triples[:150], known, n)
    for mine, theirs in zip(astuple(ours), astuple(right)):
        assert torch.equal(mine, theirs)
    single = filtered_ranks(lambda *a: score(*a).float(), triples[:150], known, n)
    assert not torch.equal(single.realistic, right.realistic), "the case must need the digits"


@pytest.mark.parametrize("name", ("transe", "rotate"))
def test_weights_that_are_no_numbers_are_refused(name):
    model = made(name)
    with torch.no_grad():
        model.entities[0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        exact_ranks(model.rough_answers, model.exact_answers, every()[:3], every(), N)


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
    ends = torch.arange(50), torch.arange(50) % 5, torch.arange(100, 150)
    scores = model.exact_answers("tail", *ends) + model.margin
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
