"""Many small models trained as one are what they are trained alone."""

from __future__ import annotations

import copy
import signal

import pytest
import torch
from torch import Tensor

from bequeath.given.models import model_handle
from bequeath.given.samples import ArraySamples
from bequeath.given.subset import Joined, Rows
from bequeath.kernel.errors import Interrupted, RunError
from bequeath.train.config import Train
from bequeath.train.context import Context
from bequeath.train.many import Small, can_batch, cross_entropy_step, fit_many

CLASSES = ("a", "b", "c")
SETTINGS = {"epochs": 4, "batch_size": 8, "device": "cpu", "threads": 1}


def cloud(n: int = 90, seed: int = 0) -> ArraySamples:
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    return ArraySamples("vector", torch.randn(n, 6, generator=g) + y[:, None], y, CLASSES)


def images(n: int = 24) -> ArraySamples:
    g = torch.Generator().manual_seed(1)
    x = torch.randint(0, 256, (n, 8, 8, 1), generator=g, dtype=torch.uint8)
    return ArraySamples("image", x, torch.arange(n) % 3, CLASSES)


def starts(data, ref: str = "zoo:mlp?hidden=7", n: int = 2):
    return [model_handle("m", ref).load(n_classes=3, data=data, seed=s) for s in range(n)]


def context(folder, **changes) -> Context:
    return Context(5, Train.model_validate({**SETTINGS, **changes}), folder, show=False)


def jobs(sizes=(30, 30, 17), seed: int = 0) -> list[Small]:
    g = torch.Generator().manual_seed(seed)
    return [Small(i % 2, torch.randperm(90, generator=g)[:n]) for i, n in enumerate(sizes)]


def weights(model) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.module.parameters()])


@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "sgd", "lr": 0.1, "nesterov": True},
        {"name": "adam", "lr": 0.01},
        {"name": "adamw", "lr": 0.01},
    ],
    ids=lambda o: o["name"],
)
def test_together_is_alone(tmp_path, optimizer):
    data, todo = cloud(), jobs()
    ctx = context(tmp_path / "many", optimizer=optimizer)
    many = {k: weights(m) for k, m in fit_many(ctx, starts(data), data, todo, batched=True)}
    assert sorted(many) == [0, 1, 2] and len(ctx.fits) == 2  # of 30 and of 17 samples
    for k, job in enumerate(todo):
        alone = starts(data)[job.start]
        before = weights(alone)
        one = context(tmp_path / f"{k}", optimizer=optimizer)
        one.fit(alone, Rows(data, job.rows), cross_entropy_step(alone))
        assert (many[k] - weights(alone)).abs().max() < 1e-5
        assert (before - weights(alone)).abs().max() > 0.01


def test_one_by_one_is_alone_and_starts_stay_as_they_are(tmp_path):
    data, todo = cloud(), jobs()
    first = starts(data)
    kept = copy.deepcopy(first)
    together = {k: weights(m) for k, m in fit_many(context(tmp_path / "a"), first, data, todo)}
    ctx = context(tmp_path / "b")
    apart = {k: weights(m) for k, m in fit_many(ctx, first, data, todo, batched=False)}
    assert len(ctx.fits) == 3
    for k in range(3):
        assert (together[k] - apart[k]).abs().max() < 1e-5
    assert all(torch.equal(weights(a), weights(b)) for a, b in zip(first, kept))


def test_groups_of_any_size_are_the_same(tmp_path, monkeypatch):
    from bequeath.train import many

    data, todo = cloud(), jobs((20,) * 5)
    whole = [weights(m) for _, m in fit_many(context(tmp_path / "a"), starts(data), data, todo)]
    monkeypatch.setattr(many, "MOST_VALUES", 1)
    each = [weights(m) for _, m in fit_many(context(tmp_path / "b"), starts(data), data, todo)]
    assert all((a - b).abs().max() < 1e-5 for a, b in zip(whole, each))


def test_what_cannot_be_batched_is_not(tmp_path):
    data = cloud()
    assert can_batch(context(tmp_path), starts(data), data)
    for changes in ({"clip": 1.0}, {"ema": 0.9}, {"accumulate": 2}, {"precision": "bf16"}):
        assert not can_batch(context(tmp_path, **changes), starts(data), data)
    pictures = images()
    for ref in ("zoo:resnet8", "zoo:lenet"):  # BatchNorm; convolutions
        assert not can_batch(context(tmp_path), starts(pictures, ref), pictures)
    assert can_batch(context(tmp_path), starts(pictures), pictures)
    assert not can_batch(context(tmp_path, augment={"flip": True}), starts(pictures), pictures)
    with pytest.raises(ValueError, match="cannot be trained as one"):
        list(fit_many(context(tmp_path, clip=1.0), starts(data), data, jobs(), batched=True))


def test_dropout_is_repeatable_and_differs_between_models(tmp_path):
    data = cloud()
    same = [Small(0, torch.arange(30))] * 2
    ref = "zoo:mlp?hidden=7&dropout=0.5"
    a, b = (
        [weights(m) for _, m in fit_many(context(tmp_path / n), starts(data, ref), data, same)]
        for n in "ab"
    )
    assert torch.equal(a[0], b[0]) and not torch.equal(a[0], a[1])


def test_a_loss_that_is_not_finite_stops_it(tmp_path):
    data = cloud()
    ctx = context(tmp_path, optimizer={"name": "sgd", "lr": 99.0, "weight_decay": 9.0}, epochs=40)
    with pytest.raises(RunError) as caught:
        list(fit_many(ctx, starts(data), data, jobs()))
    assert caught.value.problem.code == "T601"


def test_ctrl_c(tmp_path, monkeypatch):
    data = cloud()
    ctx = context(tmp_path, epochs=10_000)
    real = ctx.budget.over
    seen = []

    class Watching:
        def over(self) -> bool:
            seen.append(1)
            if len(seen) == 3:
                signal.raise_signal(signal.SIGINT)
            return real()

    ctx.budget = Watching()  # type: ignore[assignment]
    with pytest.raises(Interrupted):
        list(fit_many(ctx, starts(data), data, jobs()))
    assert len(seen) == 3


def test_rows_and_joined_are_data_sets():
    a, b = cloud(9, 1), cloud(6, 2)
    both = Joined([a, b])
    assert len(both) == 15 and both.starts.tolist() == [0, 9, 15]
    idx = torch.tensor([14, 0, 9, 8, 3, 3])
    batch = both.fetch(idx)
    expected = torch.cat([a.x, b.x])[idx]
    assert torch.equal(batch["x"], expected) and torch.equal(batch["idx"], idx)
    assert torch.equal(batch["y"], torch.cat([a.y, b.y])[idx]) and torch.equal(
        both.y[idx], batch["y"]
    )
    part = Rows(both, torch.tensor([10, 2, 4]))
    got = part.fetch(torch.tensor([2, 0]))
    assert torch.equal(got["x"], torch.cat([a.x, b.x])[[4, 10]]) and got["idx"].tolist() == [2, 0]
    assert got["y"].tolist() == part.y[[2, 0]].tolist() == both.y[[4, 10]].tolist()
    noisy = Rows(both, part.rows, torch.tensor([2, 2, 1]))
    assert noisy.fetch(torch.tensor([1]))["y"].tolist() == [2] and noisy.y.tolist() == [2, 2, 1]
    hashes = {one.hash for one in (both, part, noisy, Rows(both, torch.tensor([10, 4, 2])), a, b)}
    assert len(hashes) == 6 and part.hash == Rows(both, torch.tensor([10, 2, 4])).hash
    with pytest.raises(ValueError, match="kind, shape and classes"):
        Joined([a, images()])


def test_texts_joined():
    a = ArraySamples("text", ["one", "two"], torch.tensor([0, 1]), ("a", "b"))
    b = ArraySamples("text", ["three"], torch.tensor([1]), ("a", "b"))
    batch = Joined([a, b]).fetch(torch.tensor([2, 0]))
    assert batch["text"] == ["three", "one"] and batch["y"].tolist() == [1, 0]
