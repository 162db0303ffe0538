"""Metrics of language models, against sums written out."""

from __future__ import annotations

import math

import pytest
import torch

from bequeath.metrics.language import LANGUAGE, joined, spoken


def said():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    y, sample = torch.tensor([0, 1, 0, 0]), torch.tensor([0, 0, 1, 1])
    return logits, y, sample


def test_by_hand():
    found = spoken(*said(), 2)
    nll = [
        math.log(1 + math.exp(-2)),
        math.log(2),
        math.log(1 + math.e),
        math.log(1 + math.exp(-3)),
    ]
    assert found.nll.tolist() == pytest.approx([nll[0] + nll[1], nll[2] + nll[3]])
    assert found.tokens.tolist() == [2, 2]
    mean = sum(nll) / 4
    assert found.value("nll") == pytest.approx(mean)
    assert found.value("perplexity") == pytest.approx(math.exp(mean))
    assert found.value("bits_per_token") == pytest.approx(mean / math.log(2))
    assert found.value("accuracy") == 0.5


def test_terms_are_of_texts_and_their_mean_is_the_metric():
    g = torch.Generator().manual_seed(0)
    sample = torch.tensor([0] * 3 + [1] * 10 + [2])
    found = spoken(torch.randn(14, 5, generator=g), torch.arange(14) % 5, sample, 3)
    for name in LANGUAGE:
        terms = found.terms(name)
        if name == "perplexity":
            assert terms is None
        else:
            assert float(terms.mean()) == pytest.approx(found.value(name))


def test_batches_join():
    logits, y, sample = said()
    whole = spoken(logits, y, sample, 2)
    parts = [spoken(logits[:2], y[:2], sample[:2], 1), spoken(logits[2:], y[2:], sample[2:] - 1, 1)]
    assert torch.equal(joined(parts).nll, whole.nll)
    chunks = spoken(logits, y, sample, 2, chunk=2)
    assert torch.equal(chunks.nll, whole.nll) and torch.equal(chunks.right, whole.right)
    assert torch.equal(chunks.tokens, whole.tokens)


def test_a_uniform_model_has_the_vocabulary_for_perplexity():
    found = spoken(torch.zeros(6, 8), torch.arange(6), torch.zeros(6, dtype=torch.long), 1)
    assert found.value("perplexity") == pytest.approx(8)
    assert found.value("bits_per_token") == pytest.approx(3)
    with pytest.raises(ValueError, match="no `ece`"):
        found.value("ece")
