"""Images as another domain."""

from __future__ import annotations

import pytest
import torch

from bequeath.given.data import data_handle
from bequeath.given.samples import ArraySamples
from bequeath.given.shift import rotate
from bequeath.kernel.errors import JobError

X = torch.randint(0, 256, (5, 7, 7, 2), generator=torch.Generator().manual_seed(0)).byte()


def opened(ref: str) -> ArraySamples:
    found = data_handle("target", ref).load()
    assert isinstance(found, ArraySamples)
    return found


def test_a_quarter_turn_is_that_of_torch():
    assert torch.equal(rotate(X, 90), torch.rot90(X, 1, (1, 2)))
    assert torch.equal(rotate(X, 0), X) and torch.equal(rotate(X, 360), X)


def test_turned_and_inverted_digits():
    plain, other = (opened(f"sklearn:digits?as=image{more}") for more in ("", "&turn=90&invert=1"))
    assert torch.equal(other.x, 255 - torch.rot90(plain.x, 1, (1, 2)))
    assert torch.equal(other.y, plain.y) and other.hash != plain.hash


@pytest.mark.parametrize("ref", ["sklearn:wine?turn=10", "sklearn:digits?invert=true"])
def test_vectors_cannot_be_turned(ref):
    with pytest.raises(JobError, match="G425"):
        opened(ref)
