"""A live teacher is frozen, whatever is done around it."""

from __future__ import annotations

import pytest
import torch
from signal_fakes import Images, ModelView
from torch import Tensor, nn

from bequeath.blocks.taps import Tap
from bequeath.signals.live import LiveTeacher


def batch_of(data: Images, n: int = 8) -> dict[str, Tensor]:
    return data.fetch(torch.arange(n))


def test_it_says_what_the_model_says_in_eval_mode(data: Images) -> None:
    model = ModelView().load()
    expected = model.eval()(batch_of(data))
    model.train()
    signal = LiveTeacher(model)(batch_of(data))
    torch.testing.assert_close(signal.logits, expected.detach(), rtol=0, atol=0)
    assert signal.features == {} and not signal.logits.requires_grad


def test_features_are_what_goes_into_the_classifier(data: Images) -> None:
    model = ModelView().load().eval()
    teacher = LiveTeacher(model, {"embedding": Tap("head", "input"), "conv": Tap("conv", "output")})
    batch = batch_of(data)
    for _ in range(2):
        signal = teacher(batch)
    x = model.preprocess(batch, torch.device("cpu"))
    conv = model.module.conv(x)
    f = torch.relu(model.module.norm(conv)).mean((2, 3))
    torch.testing.assert_close(signal.features["conv"], conv.detach())
    torch.testing.assert_close(signal.features["embedding"], f.detach())
    torch.testing.assert_close(model.module.head(f).detach(), signal.logits)


def test_it_stays_frozen_inside_a_container(data: Images) -> None:
    model = ModelView().load()
    teacher = LiveTeacher(model)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    first = teacher(batch_of(data)).logits
    nn.ModuleDict({"student": nn.Linear(2, 2), "teacher": model}).train()
    second = teacher(batch_of(data)).logits
    model.module.norm.train()  # one part alone
    third = teacher(batch_of(data)).logits
    assert torch.equal(first, second) and torch.equal(first, third)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert not any(p.requires_grad for p in model.parameters())


def test_no_container_or_optimizer_finds_it() -> None:
    class Student(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own = nn.Linear(2, 2)
            self.teacher = LiveTeacher(ModelView().load())

    assert {name for name, _ in Student().named_parameters()} == {"own.weight", "own.bias"}
    assert set(Student().state_dict()) == {"own.weight", "own.bias"}


def test_the_students_gradient_flows_past_its_answers(data: Images) -> None:
    student = ModelView(seed=1).load()
    teacher = LiveTeacher(ModelView().load())
    batch = batch_of(data)
    (student(batch) - teacher(batch).logits).square().sum().backward()
    assert all(p.grad is not None for p in student.parameters())


def test_a_students_autocast_does_not_reach_it(data: Images) -> None:
    teacher = LiveTeacher(ModelView().load())
    plain = teacher(batch_of(data)).logits
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(teacher(batch_of(data)).logits, plain)
    half = LiveTeacher(ModelView().load(), precision="bf16")(batch_of(data)).logits
    assert half.dtype == torch.float32 and not torch.equal(half, plain)
    torch.testing.assert_close(half, plain, rtol=0.05, atol=0.05)


def test_over_data_goes_through_every_sample_once_in_order() -> None:
    data = Images(n=300)
    teacher = LiveTeacher(ModelView().load(), data=data)
    seen = list(teacher.over_data())
    assert torch.cat([batch["idx"] for batch, _ in seen]).tolist() == list(range(300))
    assert torch.equal(torch.cat([batch["y"] for batch, _ in seen]), data.y)
    assert sum(len(signal.logits) for _, signal in seen) == 300


def test_answers_alone_have_no_features(data: Images) -> None:
    said = LiveTeacher(lambda batch: torch.ones(len(batch["idx"]), 3))(batch_of(data))
    assert said.logits.shape == (8, 3)
    with pytest.raises(TypeError, match="from a model only"):
        LiveTeacher(lambda batch: batch["x"], {"embedding": Tap("head", "input")})
