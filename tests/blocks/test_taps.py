"""Taps catch the right tensor, leave no trace, and explain a path that does not exist."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from bequeath.blocks.taps import Tap, Taps, check_path, paths
from bequeath.kernel.errors import JobError, RunError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(inplace=True))
        self.pair = Pair()
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        h = self.body(x)
        a, _ = self.pair(left=h, right=h * 2)
        return {"logits": self.fc(self.fc.weight.new_zeros(()) + a), "hidden": h}


class Pair(nn.Module):
    def forward(self, left, right):
        return left, right


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def x():
    return torch.randn(6, 4)


def test_inputs_and_outputs_are_part_of_the_graph(net, x):
    with Taps(net, {"in": Tap("fc", side="input"), "out": "fc", "first": "body.0"}) as taps:
        logits = net(x)["logits"]
        assert taps["out"] is logits
        assert torch.equal(net.fc(taps["in"]), logits)
        taps["in"].sum().backward()
    assert net.body[0].weight.grad is not None
    assert list(taps) == ["in", "out", "first"]


def test_the_model_itself_and_parts_of_tuples_and_mappings(net, x):
    wanted = {
        "model": Tap("", index="hidden"),
        "first": Tap(""),
        "entry": Tap("", side="input"),
        "right": Tap("pair", index=1),
        "keyword": Tap("pair", side="input", index="right"),
        "left": Tap("pair", side="input"),
    }
    with Taps(net, wanted) as taps:
        out = net(x)
        got = taps.pop()
    assert got["model"] is out["hidden"] and got["first"] is out["logits"] and got["entry"] is x
    assert got["right"] is got["keyword"] and torch.equal(got["right"], 2 * got["left"])


def test_a_module_that_works_in_place_shows_unless_cloned(net, x):
    wanted = {"norm": "body.1", "kept": Tap("body.1", clone=True), "relu": "body.2"}
    with Taps(net, wanted) as taps:
        net(x)
        assert taps["norm"].min() == 0 and taps["norm"].data_ptr() == taps["relu"].data_ptr()
        assert taps["kept"].min() < 0 and torch.equal(taps["kept"].relu(), taps["relu"])
        taps["norm"].sum().backward()  # in place or not, the graph is whole


def test_a_module_that_runs_twice(x):
    layer = nn.Linear(4, 4)
    twice = nn.Sequential(layer, layer)
    with Taps(twice, {"last": "0", "each": Tap("0", all=True)}) as taps:
        out = twice(x)
        assert taps["last"] is out and len(taps["each"]) == 2
        assert torch.equal(taps["each"][0], layer(x))


def test_nothing_is_left_behind(net, x):
    before = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()]
    with Taps(net, {"a": "fc", "b": Tap("body", side="input")}) as taps:
        net(x)
        taps.clear()
        with pytest.raises(RunError, match="has not run since"):
            taps["a"]
        with pytest.raises(KeyError, match="no tap `z`; there are a, b"):
            taps["z"]
    after = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()]
    assert before == after


def test_a_copy_of_the_model_is_not_tapped(net, x):
    with Taps(net, {"a": "fc"}) as taps:
        net(x)
        caught = taps["a"]
        copy.deepcopy(net)(x * 2)
        assert taps["a"] is caught


def test_wrapped_models_keep_their_paths(net, x):
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, x):
            return self.module(x)

    wrapped = Wrapper(net)
    with Taps(net, {"a": "fc"}) as inner, Taps(wrapped, {"a": "fc", "b": "module.fc"}) as outer:
        wrapped(x)
        assert inner["a"] is outer["a"] is outer["b"]


def test_a_path_that_does_not_exist(net):
    problem = check_path(net, "bodi.0")
    assert problem is not None and problem.code == "M340"
    assert "`body.0`" in problem.label and "body.1, body.2, pair, fc" in problem.notes[0]
    assert check_path(net, "body.0") is None and check_path(net, "") is None
    with pytest.raises(JobError) as caught:
        Taps(net, {"a": "no", "b": "fc", "c": "neither"})
    assert len(caught.value.problems) == 2
    many = nn.Sequential(*[nn.Identity() for _ in range(50)])
    assert "and 30 more" in check_path(many, "x").notes[0] and len(paths(many)) == 51


def test_a_module_without_a_tensor(net, x):
    class Silent(nn.Module):
        def forward(self, x):
            return None

    net.silent = Silent()
    with Taps(net.silent, {"a": ""}), pytest.raises(RunError, match="without a tensor"):
        net.silent(x)
