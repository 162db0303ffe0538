"""Compiled forward passes, `precision: auto`, the layout of weights, what a launcher may ask."""

from __future__ import annotations

import shutil

import pytest
import torch
from jobs import Points, context, cross_entropy, mlp, same, settings, two_terms, weights
from test_resume import _log, _run
from torch import nn

from bequeath.kernel.errors import JobError, RunError
from bequeath.train import quicker
from bequeath.train.context import settled


@pytest.mark.slow
def test_a_compiled_fit_that_was_stopped_is_the_same_to_the_last_bit(tmp_path):
    """With dropout and a smaller last batch: 40 samples in batches of 8 and 9 of 12."""
    changes = {"compile": True, "batch_size": 12}
    whole, _, _ = _run(tmp_path / "whole", **changes)
    _run(tmp_path / "parts", stop_at=3, **changes)
    parts, result, _ = _run(tmp_path / "parts", **changes)
    assert result.resumed == 3
    assert same(weights(whole), weights(parts))
    assert _log(tmp_path / "whole") == _log(tmp_path / "parts")
    assert parts._compiled_call_impl is None  # it runs as it was written again

    trained = []
    for compiled in (False, True):
        model = mlp(dropout=False)
        ctx = context(tmp_path / str(compiled), compile=compiled)
        ctx.fit(model, Points(), two_terms(model))
        trained.append(weights(model))
    for a, b in zip(*trained):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_compiled_is_said_with_its_place(tmp_path, monkeypatch):
    def failing(*_args, **_kwargs):
        from torch._dynamo.exc import Unsupported

        raise Unsupported("an operation it does not know")

    monkeypatch.setattr(nn.Module, "compile", lambda self, **_: None)
    model = mlp()
    inner = cross_entropy(model)
    with pytest.raises(RunError) as caught:
        context(tmp_path, compile=True).fit(model, Points(), lambda b: failing() or inner(b))
    assert caught.value.problem.code == "T614"
    assert caught.value.problem.at == ("train", "compile")


def test_without_a_compiler_compiling_is_refused(monkeypatch):
    cpu = torch.device("cpu")
    assert quicker.compile_problems(torch.device("cuda")) == []
    monkeypatch.setattr(shutil, "which", lambda name: None)
    (problem,) = quicker.compile_problems(cpu)
    assert (problem.code, problem.at) == ("T614", ("train", "compile"))


def test_auto_precision_is_decided_and_the_default_keeps_its_identity():
    cpu = torch.device("cpu")
    assert settled(settings(precision="auto"), cpu).precision == "fp32"
    assert settled(settings(precision="bf16"), cpu).precision == "bf16"
    assert "compile" not in settings().identity
    assert settings(compile=True).identity["compile"] is True


def test_only_a_cuda_device_has_its_weights_laid_out_anew():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    x = torch.rand(2, 3, 4, 4)
    before, kept = net(x), weights(net)
    quicker.lay_out(net, torch.device("cpu"))
    assert net[0].weight.is_contiguous()
    quicker.lay_out(net, torch.device("cuda"))
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert same(kept, weights(net)) and set(net.state_dict()) == {
        "0.weight",
        "0.bias",
        "2.weight",
        "2.bias",
    }
    torch.testing.assert_close(net(x), before)


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED"])
def test_a_launcher_that_shards_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setenv(f"ACCELERATE_USE_{kind}", "true")
    monkeypatch.setattr("bequeath.train.context._ACCELERATOR", {})
    model = mlp()
    with pytest.raises(JobError) as caught:
        context(tmp_path).fit(model, Points(), cross_entropy(model))
    (problem,) = caught.value.problems
    assert problem.code == "T609"
