"""What a method may not see, it cannot reach by the ordinary routes; every reach is noted."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs, SealedBatch
from bequeath.given.facts import ModelFacts
from bequeath.given.given import Given
from bequeath.given.samples import ArraySamples, scan
from bequeath.kernel.errors import AccessDenied


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.module = nn.Linear(3, 4)
        self.preprocess = SimpleNamespace(name="none")
        self.facts = ModelFacts(n_classes=4)

    def forward(self, batch):
        return self.module(batch["x"])


def samples(n: int = 40) -> ArraySamples:
    x = torch.arange(n * 3, dtype=torch.float32).reshape(n, 3)
    return ArraySamples("vector", x, torch.arange(n) % 4, tuple("abcd"))


def given(access: Access = Access.LOGITS, labels: Labels = Labels.NONE, **more) -> Given:
    needs = Needs(
        models={"teacher": ModelNeed(access), "spare": ModelNeed(access, optional=True)},
        data={"train": DataNeed(labels)},
    )
    loaders = {"teacher": Tiny, "secret": Tiny}
    facts = {"teacher": ModelFacts(n_classes=4)}
    return Given(needs, loaders, facts, {"train": samples(), "test": samples()}, **more)


def batch_of(view, n: int = 6):
    return view.fetch(torch.arange(n))


@pytest.mark.parametrize("reach", [lambda g: g.model("secret"), lambda g: g.data("test")])
def test_undeclared_roles_are_refused_and_noted(reach):
    g = given()
    with pytest.raises(AccessDenied, match="Needs do not declare it"):
        reach(g)
    assert len(g.attempts) == 1


def test_a_declared_role_that_was_not_given_is_no_breach():
    g = given()
    assert not g.has_model("spare")
    assert g.has_model("teacher") and g.has_data("train") and not g.has_data("test")
    with pytest.raises(LookupError, match="spare"):
        g.model("spare")
    assert g.attempts == []


@pytest.mark.parametrize("access", [a for a in Access if a < Access.WEIGHTS])
def test_weights_only_at_weights(access):
    g = given(access)
    with pytest.raises(AccessDenied, match="WEIGHTS"):
        g.model("teacher").load()
    assert "weights" in g.attempts[0]


def test_weights_are_a_fresh_model_each_time():
    view = given(Access.WEIGHTS).model("teacher")
    assert isinstance(view.load(), Tiny) and view.load() is not view.load()
    assert view.n_classes == 4


def test_predictor_answers_as_deep_as_declared():
    batch = {"x": torch.randn(5, 3)}
    with pytest.raises(AccessDenied):
        given(Access.TEXT).model("teacher").predictor()
    assert given(Access.LABEL).model("teacher").predictor()(batch).dtype == torch.int64
    values, classes = given(Access.TOP_K).model("teacher").predictor(top_k=2)(batch)
    assert values.shape == classes.shape == (5, 2)
    logits = given(Access.LOGITS).model("teacher").predictor()(batch)
    assert logits.shape == (5, 4) and not logits.requires_grad
    x = batch["x"].clone().requires_grad_()
    given(Access.GRADIENTS).model("teacher").predictor()({"x": x}).sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0


def test_public_attributes_of_views_lead_to_no_model_and_no_labels():
    g = given()
    secret = torch.arange(40) % 4
    todo = [g, g.model("teacher"), g.model("teacher").predictor(), g.data("train")]
    for thing in todo:
        for name in [n for n in dir(thing) if not n.startswith("_")]:
            try:
                value = getattr(thing, name)
            except AccessDenied:
                continue
            assert not isinstance(value, nn.Module | ArraySamples)
            assert not (isinstance(value, torch.Tensor) and torch.equal(value, secret))


def test_sealed_labels():
    g = given()
    view = g.data("train")
    batch = batch_of(view)
    assert isinstance(batch, SealedBatch)
    assert "y" not in batch and set(batch) == {"idx", "x"}
    assert view.facts.labelled is False
    for reach in (
        lambda: batch["y"],
        lambda: batch.get("y"),
        lambda: batch.get("y", 0),
        lambda: batch.pop("y", None),
        lambda: view.labels,
        lambda: view.to("cpu").labels,
    ):
        with pytest.raises(AccessDenied):
            reach()
    assert len(g.attempts) == 6
    assert batch.get("view") is None and batch.pop("view", 7) == 7
    with pytest.raises(KeyError):
        batch["view"]
    assert len(g.attempts) == 6
    assert dict(batch).get("y") is None and type(batch)(dict(batch)).get("y") is None


def test_a_swallowed_refusal_is_still_noted():
    g = given()
    with contextlib.suppress(AccessDenied):
        batch_of(g.data("train"))["y"]
    assert len(g.attempts) == 1 and "train" in g.attempts[0]


def test_all_labels():
    view = given(labels=Labels.ALL).data("train")
    assert torch.equal(batch_of(view)["y"], torch.arange(6) % 4)
    assert torch.equal(view.labels, torch.arange(40) % 4)
    assert (len(view), view.kind, view.n_classes, view.classes) == (40, "vector", 4, tuple("abcd"))
    view.labels.zero_()
    assert torch.equal(view.labels, torch.arange(40) % 4)


def test_few_labels_are_so_many_of_each_class_and_right():
    view = given(labels=Labels.FEW, few={"train": 3}).data("train")
    seen = view.labels
    truth = torch.arange(40) % 4
    assert [(seen == c).sum().item() for c in range(4)] == [3, 3, 3, 3]
    assert (seen == -1).sum() == 28
    assert torch.equal(seen[seen >= 0], truth[seen >= 0])
    idx = torch.tensor([39, 0, 17])
    assert torch.equal(view.fetch(idx)["y"], seen[idx])
    again = given(labels=Labels.FEW, few={"train": 3}).data("train").labels
    assert torch.equal(seen, again)


def test_data_without_labels_has_no_y():
    bare = ArraySamples("text", ["a", "b"])
    g = Given(Needs(data={"train": DataNeed(Labels.ALL)}), {}, {}, {"train": bare})
    assert g.data("train").labels is None
    assert g.data("train").fetch(torch.tensor([1])) == {"idx": torch.tensor([1]), "text": ["b"]}


def test_scan_finds_what_python_code_may_hand_over():
    bad = ArraySamples(
        "vector", torch.tensor([[0.0], [float("inf")]]), torch.tensor([0, 5]), ("a", "b")
    )
    codes = [problem.code for problem in scan(bad)]
    assert codes == ["D208", "D207"]
    one = ArraySamples("vector", torch.zeros(2, 1), torch.tensor([0, 0]), ("a",))
    assert [p.code for p in scan(one)] == ["D220"]
    assert [p.code for p in scan(ArraySamples("text", []))] == ["D205"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: ArraySamples("vector", torch.zeros(2, 3, dtype=torch.float64)),
        lambda: ArraySamples("image", torch.zeros(2, 3, 3, dtype=torch.uint8)),
        lambda: ArraySamples("sound", torch.zeros(2, 3)),
        lambda: ArraySamples("text", torch.zeros(2, 3)),
        lambda: ArraySamples("vector", torch.zeros(2, 3), torch.zeros(2)),
        lambda: ArraySamples("vector", torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64)),
    ],
)
def test_samples_refuse_other_forms(make):
    with pytest.raises(ValueError):
        make()


def test_hash_is_of_the_content():
    a, b = samples(), samples()
    assert a.hash == b.hash
    y = b.y.clone()
    y[0] = 3
    changed = ArraySamples("vector", b.x, y, b.classes)
    renamed = ArraySamples("vector", b.x, b.y, tuple("abce"))
    assert len({a.hash, changed.hash, renamed.hash, ArraySamples("vector", b.x).hash}) == 4
    assert ArraySamples("text", ["ab", "c"]).hash != ArraySamples("text", ["a", "bc"]).hash
