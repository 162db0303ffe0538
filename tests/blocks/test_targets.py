"""Rows of a batch: samples of a classifier, tokens of a language model."""

from __future__ import annotations

import pytest
import torch

from bequeath.blocks.targets import characters, targets
from bequeath.given.models import model_handle
from bequeath.given.samples import ArraySamples

TEXTS = ["abc", "a", "cabba"]
SAMPLES = ArraySamples("text", TEXTS)


@pytest.fixture(scope="module")
def model():
    ref = "zoo:gpt?layers=1&width=16&heads=2&context=8"
    return model_handle("m", ref).load(data=SAMPLES, seed=0)


def test_each_token_is_asked_for_once_and_no_padding(model):
    batch = SAMPLES.fetch(torch.arange(3))
    asked = targets(model, batch)
    # 0 begins and ends a text; a, b, c are 2, 3, 4
    assert asked.y.tolist() == [2, 3, 4, 0, 2, 0, 4, 2, 3, 3, 2, 0]
    assert asked.sample.tolist() == [0] * 4 + [1] * 2 + [2] * 6
    assert asked.over == "tokens"
    said = characters(model, TEXTS, asked)
    spelt = [TEXTS[i][a:b] for i, (a, b) in zip(asked.sample.tolist(), said.tolist())]
    assert "".join(spelt) == "".join(TEXTS)


def test_rows_are_those_of_each_text_alone(model):
    whole = targets(model, SAMPLES.fetch(torch.arange(3)))
    rows = whole.rows(model(SAMPLES.fetch(torch.arange(3))))
    for i in range(3):
        batch = SAMPLES.fetch(torch.tensor([i]))
        alone = targets(model, batch).rows(model(batch))
        assert torch.allclose(rows[whole.sample == i], alone, atol=1e-6)


def test_answers_padded_longer_give_the_same_rows(model):
    batch = SAMPLES.fetch(torch.arange(3))
    asked, logits = targets(model, batch), model(batch)
    longer = torch.nn.functional.pad(logits, (0, 0, 0, 5), value=9.0)
    assert torch.equal(asked.rows(longer), asked.rows(logits))


def test_texts_longer_than_the_context_lose_their_end(model):
    long = ArraySamples("text", ["abcabcabcabc"])
    asked = targets(model, long.fetch(torch.arange(1)))
    assert asked.y.tolist() == [2, 3, 4, 2, 3, 4, 2]


def test_a_classifiers_rows_are_its_samples_and_its_labels_are_not_looked_at():
    vectors = ArraySamples("vector", torch.randn(4, 3), None, ("a", "b"))
    mlp = model_handle("m", "zoo:mlp?hidden=4").load(n_classes=2, data=vectors)
    batch = vectors.fetch(torch.arange(4))
    asked = targets(mlp, batch)
    logits = mlp(batch)
    assert asked.rows(logits) is logits and asked.over == "samples"
    with pytest.raises(KeyError):
        _ = asked.y
