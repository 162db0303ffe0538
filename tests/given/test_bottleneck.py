"""A model with a bottleneck before its classifier: made, saved, opened, refused."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from samples_for_models import images

from bequeath.blocks.bottleneck import backbone_rates, bottleneck_of
from bequeath.given.models import load_model, model_handle
from bequeath.kernel.errors import JobError


def made(ref: str = "zoo:lenet?bottleneck=6", **options):
    return model_handle("student", ref, options or None).load(n_classes=3, data=images(), seed=1)


def test_the_embedding_is_the_bottlenecks_output():
    model = made()
    assert model.facts.head == "fc3.out" and model.facts.n_classes == 3
    head = model.module.fc3
    assert head.reduce.in_features == 84 and head.norm.num_features == 6
    weight = head.out.weight.detach()
    lengths = head.out.parametrizations.weight.original0.detach()
    torch.testing.assert_close(weight.norm(dim=1, keepdim=True), lengths)


@pytest.mark.parametrize("ref", ["zoo:lenet?bottleneck=6", "zoo:resnet8?bottleneck=6"])
def test_saved_and_opened_it_is_the_same(tmp_path, ref):
    model = made(ref).eval()
    batch = images().fetch(torch.arange(4))
    with torch.no_grad():
        logits = model(batch)
        model.save(tmp_path / "model")
        again = load_model(tmp_path / "model")
        assert torch.equal(again(batch), logits) and again.facts.head == model.facts.head
        again.save(tmp_path / "copy")
        assert torch.equal(load_model(tmp_path / "copy")(batch), logits)


def test_plain_torch_opens_it(tmp_path, monkeypatch):
    model = made().eval()
    model.save(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("architecture", "preprocess", "bottleneck_head"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    code = json.loads((tmp_path / "bequeath.json").read_text(encoding="utf-8"))["load"]
    assert "bequeath" not in code
    names: dict = {}
    exec(code, names)
    batch = images().fetch(torch.arange(4))
    with torch.no_grad():
        assert torch.equal(names["model"](names["transform"](batch["x"])), model(batch))
    for name in ("architecture", "preprocess", "bottleneck_head"):
        sys.modules.pop(name, None)


def test_the_seed_alone_decides_its_weights():
    one, same = made().module.state_dict(), made().module.state_dict()
    assert all(torch.equal(one[k], same[k]) for k in one)


def test_a_trained_classifier_is_not_thrown_away(tmp_path):
    made().save(tmp_path / "model")
    with pytest.raises(JobError, match=r"M312.*a trained one"):
        made(f"file:{tmp_path / 'model'}", bottleneck=4)


def test_a_classifier_that_is_no_linear_layer_is_refused():
    with pytest.raises(JobError, match=r"M310.*linear classifier"):
        made("torchvision:squeezenet1_0?bottleneck=4")


def test_the_backbone_is_slower_and_without_a_bottleneck_nothing_is():
    model = made()
    assert bottleneck_of(model) == "fc3"
    assert backbone_rates(model, 0.1) == {"fc3": 1.0, "*": 0.1}
    assert backbone_rates(made("zoo:lenet"), 0.1) == {}
