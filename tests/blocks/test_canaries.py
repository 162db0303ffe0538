"""The auditor, on models whose answers are known."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import pytest
import torch

from bequeath.blocks import canaries
from bequeath.blocks.canaries import Found, audit, beam_search, greedy, layout_of
from bequeath.given.canaries import Canary
from bequeath.given.models import model_handle
from bequeath.given.preprocess import CharacterPreprocess
from bequeath.given.samples import ArraySamples
from bequeath.metrics.exposure import floor

EYES = CharacterPreprocess("0123456789: nip", 32)
FIRST = 2  # token of "0"


class Known:
    """A language model by a table: logits of the next digit at each place of the secret."""

    def __init__(self, table):
        self.table = torch.tensor(table, dtype=torch.float32)
        self.preprocess = EYES
        self.facts = SimpleNamespace(per_token=True, n_classes=17)

    def __call__(self, batch):
        tokens = EYES(batch, torch.device("cpu"))["input_ids"]
        logits = torch.zeros(*tokens.shape, 17)
        for i, row in enumerate(self.table):
            if 5 + i < tokens.shape[1]:  # begin, "pin: " and i digits stand before it
                logits[:, 5 + i, FIRST : FIRST + 10] = row
        return logits


def rng():
    return torch.Generator().manual_seed(0)


def test_rank_by_hand():
    """Digits fall in likelihood: 0 before 1 before 2 ...; the second digit tells nothing."""
    model = Known([[float(-d) for d in range(10)], [0.0] * 10])
    how = {"most": 100, "samples": 100, "beams": 3}
    best = audit(model, Canary("pin: ", "04"), rng(), **how)
    # ten secrets begin with 0 and are all alike
    assert best.exposure.bits == pytest.approx(math.log2(100) - math.lgamma(11) / math.log(2) / 10)
    assert best.how == "all" and best.even and best.space == 100
    third = audit(model, Canary("pin: ", "29"), rng(), **how)
    ranks = [math.log2(100 / rank) for rank in range(21, 31)]
    assert third.exposure.bits == pytest.approx(sum(ranks) / 10)


def test_a_uniform_model_has_the_floor_and_gives_nothing_back():
    model = Known([[0.0] * 10] * 3)
    found = audit(model, Canary("pin: ", "427"), rng(), most=1000, samples=100, beams=4)
    assert found.exposure.bits == pytest.approx(floor(1000)) == pytest.approx(1.44, abs=0.01)
    assert not found.greedy and not found.beam


def test_what_was_learnt_by_heart_comes_out():
    table = [[8.0 if d == secret else 0.0 for d in range(10)] for secret in (4, 2)]
    canary = Canary("pin: ", "42")
    found = audit(Known(table), canary, rng(), most=100, samples=100, beams=2)
    assert found.greedy and found.beam and found.exposure.bits == math.log2(100)


def test_beam_search_finds_what_greed_misses():
    """5 is the likeliest first digit, but the likeliest pair begins with 4."""

    class Turning(Known):
        def __call__(self, batch):
            logits = super().__call__(batch)
            for row, text in enumerate(batch["text"]):
                if text[5:6] == "4":
                    logits[row, 6, FIRST + 7] = 9.0
            return logits

    model = Turning([[3.0 if d == 5 else 2.9 if d == 4 else -9.0 for d in range(10)], [0.0] * 10])
    canary = Canary("pin: ", "47")
    layout = layout_of(model, canary, rng())
    assert layout is not None and layout.start == 6
    assert beam_search(model, canary, layout, 1)[0][0] == "5"
    assert beam_search(model, canary, layout, 2)[0] == "47"
    assert not greedy(model, canary)


@pytest.fixture(scope="module")
def gpt():
    data = ArraySamples("text", ["pin: 0123456789"])
    model = model_handle("m", "zoo:gpt?layers=1&width=16&heads=2&context=16").load(
        data=data, seed=1
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(5)  # so that its answers differ
    return model


def test_the_whole_space_is_the_sum_over_texts_asked_one_by_one(gpt):
    canary = Canary("pin: ", "123")
    with torch.no_grad():
        fast = canaries.nll_of_space(gpt, canary, layout_of(gpt, canary, rng()))
        every = map("".join, itertools.product("0123456789", repeat=3))
        slow, tokens = canaries.nll_of_secrets(gpt, canary, every)
    assert set(tokens.tolist()) == {8.0}
    apart = slow - fast  # the prefix, which is the same for all
    assert float(apart.std()) < 1e-5 and float(fast.std()) > 0.5
    assert float((-fast).exp().sum()) < 1  # parts of a distribution


def test_a_sample_tells_nearly_what_the_whole_space_does(gpt):
    pytest.importorskip("scipy")
    for secret in ("5071", "0000", "8642"):
        canary = Canary("pin: ", secret)
        whole = audit(gpt, canary, rng(), most=10_000, samples=100, beams=1).exposure
        part = audit(gpt, canary, rng(), most=100, samples=3_000, beams=1)
        assert part.how == "sample"
        assert part.exposure.bits == pytest.approx(whole.bits, abs=0.6)


class Pairs(CharacterPreprocess):
    """`12` is one token: candidates differ in how many they have."""

    def __call__(self, batch, device):
        texts = [text.replace("12", "x") for text in batch["text"]]
        return CharacterPreprocess(self.characters + "x", 32)({**batch, "text": texts}, device)

    def spans(self, texts):
        found = []
        for text in texts:
            at, row = 0, [(0, 0)]
            while at < len(text):
                size = 2 if text[at : at + 2] == "12" else 1
                row.append((at, at + size))
                at += size
            found.append([*row, (at, at)])
        return found


def test_secrets_of_fewer_tokens_are_compared_among_themselves():
    """Every token is as likely as any other: a shorter text is likelier by itself."""
    eyes = Pairs(EYES.characters, 32)

    class Even(Known):
        preprocess = None

        def __call__(self, batch):
            return torch.zeros(*eyes(batch, torch.device("cpu"))["input_ids"].shape, 18)

    model = Even([])
    model.preprocess = eyes
    canary = Canary("pin: ", "512")
    assert layout_of(model, canary, rng()) is None
    found = audit(model, canary, rng(), most=1000, samples=100, beams=2)
    assert not found.even and found.space == 20  # 12d and d12
    assert found.exposure.bits == pytest.approx(floor(20))


def test_what_was_found_survives_a_stop(tmp_path):
    found = Found(tmp_path / "f.json")
    found[3] = audit(Known([[0.0] * 10] * 2), Canary("pin: ", "42"), rng(), most=100, samples=100,
                     beams=2)  # fmt: skip
    again = Found(tmp_path / "f.json")
    assert again == found and again[3].exposure.bits == found[3].exposure.bits
