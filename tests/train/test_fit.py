"""The loop does what a loop written by hand does, and stops when it should."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import threading
import time

import pytest
import torch
from jobs import Points, context, cross_entropy, mlp, same, settings, two_terms, weights
from torch import nn
from torch.nn import functional as F

from bequeath.kernel.errors import Interrupted, JobError, RunError
from bequeath.train import checkpoint, seeds
from bequeath.train.budget import Deadline
from bequeath.train.context import Context
from bequeath.train.fit import Until


def _lines(store):
    return [json.loads(line) for line in (store / "log.jsonl").read_text().splitlines()]


def _by_hand(seed: int, epochs: int, batch_size: int, clip: float | None) -> list[torch.Tensor]:
    """Plain torch, sharing nothing with `fit` but the names of the random streams."""
    model, data = mlp(), Points()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01, fused=True
    )
    total = epochs * math.ceil(len(data) / batch_size)
    torch.manual_seed(seeds.derive(seed, "fit/fit", 0))
    done = 0
    for epoch in range(epochs):
        g = torch.Generator().manual_seed(seeds.derive(seed, "order", epoch))
        for idx in torch.randperm(len(data), generator=g).split(batch_size):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * 0.5 * (1 + math.cos(math.pi * done / total))
            optimizer.zero_grad()
            losses = F.cross_entropy(model(data.x[idx]), data.y[idx], reduction="none")
            (losses.sum() / len(idx)).backward()
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            done += 1
    return weights(model)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_bit_for_bit_a_loop_written_by_hand(tmp_path, clip):
    model = mlp()
    optimizer = {"name": "sgd", "lr": 0.1, "momentum": 0.9}
    plain = {"schedule": {"name": "cosine", "warmup": 0}}
    ctx = context(tmp_path, epochs=4, batch_size=12, clip=clip, optimizer=optimizer, **plain)
    ctx.fit(model, Points(), cross_entropy(model))
    assert same(weights(model), _by_hand(3, 4, 12, clip))


def test_measuring_shares_changes_nothing(tmp_path):
    results = []
    for every in (1, 10**9):
        model = mlp()
        ctx = context(tmp_path / str(every))
        from bequeath.train import fit as module

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_SHARE_LEAST", every)
            patch.setattr(module, "_SHARE_POINTS", 10**9 if every == 1 else 1)
            ctx.fit(model, Points(), two_terms(model))
        results.append(weights(model))
    assert same(*results)
    shares = [line["terms"]["ce"].get("share") for line in _lines(tmp_path / "1")]
    assert len(shares) == 10 and all(0 < s < 1 for s in shares)
    total = sum(t["share"] for t in _lines(tmp_path / "1")[0]["terms"].values())
    assert total == pytest.approx(1)


def test_the_log_says_what_happened(tmp_path):
    model = mlp()
    ctx = context(tmp_path, epochs=60, optimizer={"name": "adamw", "lr": 0.01})
    result = ctx.fit(model, Points(), two_terms(model))
    lines = _lines(tmp_path)
    assert len(lines) == 100 and lines[-1]["step"] == result.steps == 300
    assert lines[-1]["epoch"] == result.epochs == 60
    for line in lines:
        parts = {"ce": 1, "size": 0.3, "odd": 0.1}
        loss = sum(parts[name] * term["value"] for name, term in line["terms"].items())
        assert line["loss"] == pytest.approx(loss, rel=1e-6)
        assert line["throughput"] > 0 and line["grad_norm"] > 0
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_a_batch_that_gives_nan_is_named(tmp_path):
    data, model = Points(), mlp()
    data.x[17] = float("nan")
    inner = two_terms(model)
    start = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(RunError) as caught:
        context(tmp_path, epochs=1, batch_size=40).fit(model, data, inner)
    assert caught.value.problem.code == "T601"
    order = torch.randperm(40, generator=seeds.generator(3, "order", 0))[:10].tolist()
    text = str(caught.value)
    assert "`ce` became nan at step 1" in text and ", ".join(map(str, order)) in text
    assert "30 more" in text
    assert same([p.detach() for p in model.parameters()], start)
    assert not (tmp_path / "checkpoints").exists()


def test_the_first_bad_batch_is_the_one_that_is_named(tmp_path):
    data, model = Points(), mlp(norm=False)
    data.x[23] = float("inf")
    with pytest.raises(RunError, match=r"became (nan|inf)") as caught:
        context(tmp_path, epochs=1, batch_size=4).fit(model, data, cross_entropy(model))
    order = torch.randperm(40, generator=seeds.generator(3, "order", 0)).tolist()
    at = order.index(23) // 4
    assert f"step {at + 1}\n" in str(caught.value)
    named = str(caught.value).split("(`idx`): ")[1].splitlines()[0]
    assert [int(i) for i in named.split(", ")] == order[at * 4 : at * 4 + 4]


def test_a_gradient_that_is_not_finite_is_named(tmp_path):
    model = mlp()
    inner = cross_entropy(model)

    def step(batch):
        terms = inner(batch)
        p = next(model.parameters())
        return terms | {"root": type(terms["ce"])((p - p.detach()).abs().sqrt().sum(), 1, over="r")}

    with pytest.raises(RunError, match="the gradient became non-finite at step 1") as caught:
        context(tmp_path).fit(model, Points(), step)
    assert caught.value.problem.code == "T602"
    assert all(p.isfinite().all() for p in model.parameters())


def test_the_weight_average_is_the_result(tmp_path):
    model, seen = mlp(dropout=False, norm=False), []
    inner = cross_entropy(model)

    def step(batch):
        seen.append(weights(model))
        return inner(batch)

    context(tmp_path / "a").fit(
        plain := mlp(dropout=False, norm=False), Points(), cross_entropy(plain)
    )
    context(tmp_path / "b", ema=0.5).fit(model, Points(), step)
    average = seen[0]
    for t, now in enumerate([*seen[1:], weights(plain)], start=1):
        decay = min(0.5, t / (t + 9))
        average = [decay * a + (1 - decay) * b for a, b in zip(average, now)]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(average, weights(model)))
    assert not same(weights(plain), weights(model))


def test_what_is_frozen_stays_and_is_not_saved(tmp_path):
    model, teacher = mlp(), mlp()
    model[0].weight.requires_grad_(False)
    frozen, before = model[0].weight.clone(), weights(teacher)
    teacher.eval().requires_grad_(False)

    def step(batch):
        return cross_entropy(lambda x: model(x) + teacher(x))(batch)

    context(tmp_path).fit({"student": model}, Points(), step)
    assert torch.equal(frozen, model[0].weight) and same(before, weights(teacher))
    assert all(p.grad is None for p in model.parameters()) and not model.training
    state = checkpoint.load(tmp_path / "checkpoints" / "fit.safetensors")
    assert set(state["trainables"]) == {"student"}


def test_nothing_to_train(tmp_path):
    model = mlp().requires_grad_(False)
    with pytest.raises(RunError, match="nothing to train"):
        context(tmp_path).fit(model, Points(), cross_entropy(model))


def test_an_empty_data_set(tmp_path):
    model = mlp()
    with pytest.raises(RunError, match="the data set is empty"):
        context(tmp_path).fit(model, Points(0), cross_entropy(model))


def test_the_budget_is_obeyed(tmp_path):
    model = mlp()
    ctx = Context(0, settings(epochs=10**6), tmp_path, budget=Deadline(0.5))
    start = time.monotonic()
    result = ctx.fit(model, Points(), cross_entropy(model))
    assert result.stopped == "budget" and 0 < result.steps < 5 * 10**6
    assert 0.4 < time.monotonic() - start < 3
    assert _lines(tmp_path)[-1]["step"] == result.steps


def test_the_memory_budget_is_obeyed(tmp_path):
    model = mlp()
    with pytest.raises(RunError, match=r"the budget is 1\.0 MB"):
        Context(0, settings(), tmp_path, memory=10**6).fit(model, Points(), cross_entropy(model))


def test_until_replaces_the_length(tmp_path):
    for until, steps in ((Until(steps=3), 3), (Until(epochs=1), 5), (Until(epochs=0), 0)):
        model = mlp()
        start = weights(model)
        ctx = context(tmp_path / str(steps))
        result = ctx.fit(model, Points(), cross_entropy(model), until=until)
        assert result.steps == ctx.now.step == steps
        assert same(start, weights(model)) == (steps == 0)


def test_shares_of_the_job_are_its_steps(tmp_path):
    for epochs, borders in ((2, (0.0, 0.3, 1.0)), (1, (0.0, 0.5, 0.5, 1.0)), (3, (0.0, 1.0))):
        model, ctx = mlp(), context(tmp_path / str(epochs), epochs=epochs)
        steps = [
            ctx.fit(model, Points(), cross_entropy(model), until=Until(share=share)).steps
            for share in itertools.pairwise(borders)
        ]
        assert sum(steps) == 5 * epochs
        assert steps == {2: [3, 7], 1: [2, 0, 3], 3: [15]}[epochs]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint(tmp_path, number):
    model = mlp()
    before = signal.getsignal(number)
    threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
    with pytest.raises(Interrupted, match=signal.Signals(number).name) as caught:
        context(tmp_path, epochs=10**6).fit(model, Points(), cross_entropy(model))
    assert caught.value.exit_code == 130 and signal.getsignal(number) is before
    state = checkpoint.load(tmp_path / "checkpoints" / "fit.safetensors")
    assert state["step"] > 0 and not state["done"]
    assert f"step {state['step']} of" in str(caught.value)


def test_bf16_runs_under_autocast_and_fp16_needs_another_device(tmp_path):
    model, kinds = mlp(), set()

    def step(batch):
        logits = model(batch["x"])
        kinds.add(logits.dtype)
        return cross_entropy(lambda x: logits)(batch)

    context(tmp_path, precision="bf16").fit(model, Points(), step)
    assert kinds == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    context(tmp_path / "b").fit(model, Points(), step)
    assert torch.float32 in kinds
    with pytest.raises(JobError, match="fp16"):
        context(tmp_path / "c", precision="fp16").fit(model, Points(), step)


def test_progress_is_shown_when_asked_and_hidden_otherwise(tmp_path, capsys):
    for show in (True, None):
        model = mlp()
        ctx = Context(0, settings(epochs=3), tmp_path / str(show), show=show)
        ctx.fit(model, Points(), two_terms(model))
        err = capsys.readouterr().err
        assert ("15/15" in err and "ce " in err and "%" in err) is (show is True)
