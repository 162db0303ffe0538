"""Masks in one bit a weight, per-task statistics, and a file that plain torch reads."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch
from safetensors import safe_open
from torch import nn

from bequeath.blocks.task_bank import TaskBank, buffers, put_buffers
from bequeath.blocks.task_network import load_task, pack, unpack


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(1,), (8,), (3, 5), (2, 3, 3, 3), (129,)])
def test_bits_come_back(shape):
    mask = torch.rand(shape, generator=rng(1)) < 0.4
    bits = pack(mask)
    assert bits.dtype == torch.uint8 and len(bits) == -(-mask.numel() // 8)
    assert torch.equal(unpack(bits, shape), mask)


def test_bits_are_in_the_usual_order():
    import numpy as np

    mask = torch.rand(77, generator=rng(2)) < 0.5
    assert pack(mask).tolist() == np.packbits(mask.numpy()).tolist()


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4, bias=False), nn.BatchNorm1d(4, affine=False))


def filled() -> tuple[TaskBank, dict[str, torch.Tensor], nn.Module]:
    model, bank = net(), TaskBank()
    weights = {"0.weight": model[0].weight.detach().clone()}
    for t in range(3):
        model[1].running_mean.fill_(float(t))
        bank.keep(f"t{t}", {"0.weight": torch.rand(4, 5, generator=rng(t)) < 0.5}, buffers(model))
    return bank, weights, model


def test_buffers_are_copies():
    model = net()
    kept = buffers(model)
    model[1].running_mean.fill_(7.0)
    assert not kept["1.running_mean"].any()
    put_buffers(model, kept)
    assert not model[1].running_mean.any()


def test_union_and_overlap():
    bank, weights, _ = filled()
    masks = [bank.masks(t, weights)["0.weight"] for t in bank.tasks]
    assert torch.equal(bank.used(weights)["0.weight"], masks[0] | masks[1] | masks[2])
    overlap = bank.overlap(weights)
    assert torch.equal(overlap.diagonal(), torch.ones(3, dtype=torch.float64))
    assert overlap[0, 1] == int((masks[0] & masks[1]).sum()) / int(masks[0].sum())


def test_saved_tasks_open_with_torch_alone(tmp_path):
    bank, weights, _ = filled()
    said = bank.save(weights, tmp_path, {"t1": ("cat", "dog")})
    assert all(line.startswith("#") for line in said.strip().splitlines())
    code = (tmp_path / "tasks.py").read_text()
    assert "bequeath" not in code
    spec = importlib.util.spec_from_file_location("tasks_of_a_test", tmp_path / "tasks.py")
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    model = net()
    assert theirs.load_task(model, "t1", tmp_path / "tasks.safetensors") == ["cat", "dog"]
    mask = bank.masks("t1", weights)["0.weight"]
    assert torch.equal(model[0].weight, weights["0.weight"] * mask)
    assert torch.equal(model[1].running_mean, torch.ones(4)) and not model.training
    with pytest.raises(KeyError, match="t0, t1, t2"):
        load_task(model, "t9", tmp_path / "tasks.safetensors")
    with safe_open(tmp_path / "tasks.safetensors", framework="pt") as file:
        names = list(file.keys())
        assert json.loads(file.metadata()["tasks"]).keys() == {"t0", "t1", "t2"}
        assert file.get_tensor("t0/mask/0.weight").numel() == 3  # 20 weights in 3 bytes
    assert [n for n in names if n.startswith("weight/")] == ["weight/0.weight"]
