"""What a job asks to forget: positions in the data, refusals at their place, and the attack."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bequeath.fleet.protocols._unlearn_report import attacks
from bequeath.fleet.protocols._unlearn_requests import find_in, plan_requests
from bequeath.given.samples import ArraySamples
from bequeath.kernel.errors import JobError
from bequeath.methods.unlearn import Protocol, Request, Requests

CLASSES = ("a", "b", "c", "d")
Y = torch.arange(80) % 4


def plan(*requests: dict, seed=0, tasks=2, asked=None, **more) -> Requests:
    said = Protocol(tasks=tasks, requests=tuple(Request(**r) for r in requests), **more)
    return plan_requests(said, Y, CLASSES, seed, asked)


def refused(*requests: dict, **more) -> Any:
    with pytest.raises(JobError) as caught:
        plan(*requests, **more)
    return caught.value.problems[0]


def test_requests_become_positions_of_what_is_held():
    made = plan({"samples": 5, "times": 2}, {"learn": 8}, {"classes": ["b"]}, {"task": 1})
    names = [step.name for step in made.steps]
    assert names == ["task-0", "task-1", "request-1", "request-2", "learn-1", "request-3",
                     "request-4"]  # fmt: skip
    held: set[int] = set()
    for step, after in zip(made.steps, made.held):
        some = set(step.idx.tolist())
        assert len(some) == len(step.idx)
        if step.learns:
            assert not some & held
            held |= some
        else:
            assert some and some <= held
            held -= some
        assert after.tolist() == sorted(held)
    assert set(Y[made.steps[0].idx].tolist()) == {0, 1} and len(made.steps[4].idx) == 8
    assert set(Y[made.steps[5].idx].tolist()) == {1} and made.steps[5].gone == (1,)
    assert made.steps[6].gone == (1, 2, 3) and set(Y[made.held[-1]].tolist()) == {0}


def test_requests_are_a_function_of_the_seed():
    ask = ({"samples": 5, "times": 3}, {"learn": 4})
    one, again, other = plan(*ask), plan(*ask), plan(*ask, seed=1)
    same = [torch.equal(a.idx, b.idx) for a, b in zip(one.steps, again.steps)]
    assert all(same) and not torch.equal(one.steps[2].idx, other.steps[2].idx)


def test_those_named_by_position_are_not_drawn_at_random_before():
    named = (1, 2, 3)
    for seed in range(5):
        made = plan({"samples": 60}, {"positions": named}, seed=seed, tasks=1)
        assert made.steps[-1].idx.tolist() == list(named)


def test_shadows_are_halves_of_what_remains():
    made = plan({"classes": ["a"]}, shadows=3)
    assert [len(half) for half in made.shadows] == [30, 30, 30]
    assert all(set(half.tolist()) <= set(made.held[-1].tolist()) for half in made.shadows)
    assert not torch.equal(made.shadows[0], made.shadows[1])


@pytest.mark.parametrize(
    ("ask", "code", "at"),
    [
        ({"classes": ["x"]}, "G441", "classes"),
        ({"classes": [4]}, "G441", "classes"),
        ({"task": 2}, "G441", "task"),
        ({"positions": [80]}, "G441", "positions"),
        ({"samples": 81}, "G441", "samples"),
        ({"positions": [5, 5]}, "G443", "positions"),
        ({"samples": 80}, "G444", None),
    ],
)
def test_what_cannot_be_asked_is_refused_at_its_place(ask, code, at):
    problem = refused(ask)
    assert problem.code == code
    assert problem.at == ("protocol", "requests", 0, *([at] if at else []))


def test_forgetting_twice_is_refused():
    assert refused({"classes": ["b"]}, {"classes": [1]}).code == "G443"
    assert refused({"task": 1}, {"classes": ["d"]}).code == "G443"
    assert refused({"classes": ["b"]}, {"positions": [1]}).code == "G443"


@pytest.mark.parametrize(
    "ask", [{}, {"samples": 3, "task": 0}, {"classes": ["a"], "times": 2}, {"times": 3}]
)
def test_a_request_says_one_thing(ask):
    with pytest.raises(ValueError):
        Request(**ask)


def test_samples_are_found_by_content_with_all_their_copies():
    x = torch.randn(10, 3)
    x[7] = x[2]
    train = ArraySamples("vector", x, torch.zeros(10, dtype=torch.int64), ("a",))
    found = find_in(train, ArraySamples("vector", x[[5, 2]]))
    assert found.tolist() == [2, 5, 7]
    with pytest.raises(JobError) as caught:
        find_in(train, ArraySamples("vector", torch.cat([x[:1] + 1, x[:1], x[:1]])))
    assert {p.code for p in caught.value.problems} == {"G442", "G443"}
    assert all(p.at == ("data", "forget") for p in caught.value.problems)


def test_an_attack_on_a_forgotten_class_is_held_against_its_own_kind():
    """Losses tell the class, not the membership: with classes balanced nothing is to be seen."""
    g = torch.Generator().manual_seed(0)
    y_in, y_out = torch.full((200,), 1), torch.arange(400) % 2
    y = torch.cat([y_in, y_out])
    logits = torch.randn(600, 2, generator=g) + 5.0 * (y == 1)[:, None] * torch.tensor([1.0, 0.0])
    found = attacks(logits, y_in, y_out, None)
    assert abs(float(found["mia_auc"]) - 0.5) < 0.06
    assert float(found["attacked"]) == 200
    assert attacks(logits[:10], y_in[:0], y_out[:10], None) == {}
