"""The ledger knows members by content, counts copies, and refuses strangers and second removals."""

from __future__ import annotations

import pytest
import torch

from bequeath.blocks.ledger import Ledger, batch_digests, sample_digests
from bequeath.given.samples import ArraySamples
from bequeath.kernel.errors import RunError


def code(caught) -> str:
    return caught.value.problem.code


def test_strangers_and_second_removals_are_refused_and_nothing_changes():
    ledger = Ledger()
    ledger.learn([b"a", b"b", b"c"])
    with pytest.raises(RunError) as caught:
        ledger.forget([b"a", b"x"], names=[10, 11])
    assert code(caught) == "T650" and "`11`" in str(caught.value.problem.message)
    assert len(ledger) == 3 and b"a" in ledger
    ledger.forget([b"a"])
    with pytest.raises(RunError) as caught:
        ledger.forget([b"a"])
    assert code(caught) == "T651"
    with pytest.raises(RunError) as caught:
        ledger.forget([b"b", b"b"])
    assert code(caught) == "T651" and len(ledger) == 2
    ledger.learn([b"a"])
    ledger.forget([b"a"])  # learnt again, so it may be forgotten again


def test_copies_are_counted():
    ledger = Ledger()
    ledger.learn([b"a", b"a"])
    ledger.forget([b"a"])
    assert b"a" in ledger and len(ledger) == 1
    ledger.forget([b"a"])
    assert b"a" not in ledger and len(ledger) == 0
    with pytest.raises(RunError):
        ledger.forget([b"a"])


def test_samples_are_known_by_content_and_label_wherever_they_lie():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [1.0, 2.0]])
    y = torch.tensor([0, 1, 0, 1])
    one = sample_digests(ArraySamples("vector", x, y, ("a", "b")))
    assert one[0] == one[2] != one[3] and len(set(one)) == 3
    moved = sample_digests(ArraySamples("vector", x.flip(0), y.flip(0), ("a", "b")))
    assert moved[::-1] == one
    bare = sample_digests(ArraySamples("vector", x), labels=False)
    assert bare[0] == bare[2] == bare[3] != bare[1]


def test_pictures_and_texts():
    pixels = torch.arange(24, dtype=torch.uint8).reshape(2, 2, 2, 3)
    a, b = sample_digests(ArraySamples("image", pixels), labels=False)
    reshaped = sample_digests(ArraySamples("image", pixels.reshape(2, 4, 1, 3)), labels=False)
    assert a != b and a not in reshaped  # the same bytes in another shape are another picture
    texts = sample_digests(ArraySamples("text", ["one", "two", "one"]), labels=False)
    assert texts[0] == texts[2] != texts[1]
    batch = {"text": ["one"], "y": torch.tensor([3])}
    assert batch_digests(batch) != batch_digests(batch, labels=False)
