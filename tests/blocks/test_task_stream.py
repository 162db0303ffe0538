"""Streams of tasks: classes divided, pixels permuted, images turned."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from bequeath.blocks.task_stream import Scope, build, class_groups, permute, rotate
from bequeath.given.samples import ArraySamples
from bequeath.kernel.errors import AccessDenied
from bequeath.train.seeds import generator


def rng(name, *counters):
    return generator(3, name, *counters)


def images(n: int = 40, size: int = 6, k: int = 4) -> ArraySamples:
    x = torch.randint(256, (n, size, size, 1), generator=torch.Generator().manual_seed(0))
    return ArraySamples("image", x.byte(), torch.arange(n) % k, tuple("abcd"[:k]))


def everything(task):
    return task.fetch(torch.arange(len(task)))


def test_split_divides_the_classes():
    tasks = build("split", images(), 2, rng)
    assert [sorted(set(t.y.tolist())) for t in tasks] == [[0, 1], [2, 3]]
    assert sum(map(len, tasks)) == 40 and tasks[0].classes == tuple("abcd")
    assert everything(tasks[1])["y"].unique().tolist() == [2, 3]
    assert class_groups(10, 3, rng) == [(0, 1, 2), (3, 4, 5, 6), (7, 8, 9)]
    drawn = class_groups(10, 5, rng, "random")
    assert sorted(c for g in drawn for c in g) == list(range(10))
    assert drawn != class_groups(10, 5, rng)
    with pytest.raises(ValueError, match="4 classes cannot be divided into 5 tasks"):
        build("split", images(), 5, rng)


def test_permuted_tasks_reorder_the_same_pixels():
    data = images()
    tasks = build("permuted", data, 3, rng)
    plain = everything(tasks[0])["x"]
    assert torch.equal(plain, data.x)
    for task in tasks[1:]:
        moved = everything(task)["x"]
        assert not torch.equal(moved, plain)
        assert torch.equal(moved.flatten(1).sort().values, plain.flatten(1).sort().values)
    assert len({t.hash for t in tasks}) == 3
    again = build("permuted", images(20), 3, rng)  # test data get the same order of pixels
    assert torch.equal(everything(again[2])["x"], everything(tasks[2])["x"][:20])


def test_pixels_of_colours_stay_together():
    x = torch.arange(2 * 3 * 3 * 2, dtype=torch.uint8).view(2, 3, 3, 2)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    moved = permute(x, order)
    assert torch.equal(moved.view(2, 9, 2), x.view(2, 9, 2)[:, order])


def test_rotation():
    x = images(5).x
    assert rotate(x, 0.0) is x
    for quarter, degrees in enumerate((0, 90, 180, 270)):
        turned = torch.rot90(x, quarter, dims=(1, 2))  # counter-clockwise, as seen
        assert torch.equal(rotate(x, float(degrees)), turned)
    across = torch.arange(41) - 20.0
    hill = 200 * torch.exp(-(across[:, None] ** 2 + across**2) / 72)  # the same from all sides
    hill = hill.round().byte()[None, :, :, None]
    assert int((rotate(hill, 37.0).int() - hill.int()).abs().max()) <= 3
    slope = (3 * across[:, None] + 0 * across + 128).byte()[None, :, :, None]  # brighter downwards
    turned = rotate(slope, 30.0)[0, 20, :, 0].float()  # now brighter to the right as well
    assert abs(float(turned[26] - turned[14]) - 3 * 12 * 0.5) <= 2


def test_disjoint_tasks_share_no_sample():
    data = images()
    tasks = build("permuted", data, 4, rng, disjoint=True)
    assert [len(t) for t in tasks] == [8, 8, 8, 8]  # 10 of a class in 4 parts: 2 each
    assert all(t.y.bincount().tolist() == [2, 2, 2, 2] for t in tasks)
    rows = torch.cat([t._samples.rows for t in tasks])
    assert len(rows.unique()) == len(rows)
    with pytest.raises(ValueError, match="task 1 of 20 would have no samples"):
        build("permuted", data, 20, rng, disjoint=True)


def test_what_has_no_pixels_is_refused():
    vectors = ArraySamples("vector", torch.zeros(4, 3), torch.tensor([0, 1, 0, 1]), ("a", "b"))
    texts = ArraySamples("text", ["a", "b"], torch.tensor([0, 1]), ("a", "b"))
    with pytest.raises(ValueError, match="only images can be turned"):
        build("rotated", vectors, 2, rng)
    with pytest.raises(ValueError, match="no pixels"):
        build("permuted", texts, 2, rng)
    assert len(build("split", texts, 2, rng)) == 2


def test_a_task_that_is_over_is_closed():
    task = build("permuted", images(), 2, rng)[0]
    elsewhere = task.to("cpu")
    task.close("task-1 is over")
    for one in (task, elsewhere):
        with pytest.raises(AccessDenied, match="task-1 is over"):
            one.fetch(torch.arange(2))


def scope(task_ids: bool, classes=((0, 1), (2, 3))) -> Scope:
    return Scope(SimpleNamespace(task_ids=task_ids, n_classes=4, classes=classes))


def test_scope_of_answers():
    z, y = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3])
    own = scope(True).cross_entropy(z, y, 1)
    assert torch.allclose(own[:2], F.cross_entropy(z[:2, :2], y[:2], reduction="none"))
    assert torch.allclose(own[2:], F.cross_entropy(z[2:, 2:], y[2:] - 2, reduction="none"))
    first = scope(False).cross_entropy(z[:2], y[:2], 0)  # nothing but the first task was seen
    assert torch.allclose(first, own[:2])
    assert torch.allclose(
        scope(False).cross_entropy(z, y, 1), F.cross_entropy(z, y, reduction="none")
    )
    assert scope(True).at_test(1, 1).tolist() == [False, False, True, True]
    assert scope(False).at_test(0, 1).tolist() == [True] * 4
    assert scope(False).at_test(0, 0).tolist() == [True, True, False, False]
    shared = scope(True, ((0, 1, 2, 3), (0, 1, 2, 3)))
    assert shared.logits(z, y, 0) is z
