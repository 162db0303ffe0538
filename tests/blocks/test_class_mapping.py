"""Votes of target samples for source classes, and the manifests of what is kept."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

from bequeath.blocks.class_mapping import (
    ranked,
    rows_of_classes,
    votes_by_feature,
    votes_by_label,
)
from bequeath.blocks.manifest import Kept, load_manifest, save_manifest
from bequeath.kernel.errors import RunError


def g(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_votes_sum_to_the_samples_and_do_not_see_their_order():
    logits = torch.randn(57, 8, generator=g())
    votes = votes_by_label(logits.split(10), 8)
    assert votes.sum() == 57
    assert votes.tolist() == [(logits.argmax(1) == k).sum().item() for k in range(8)]
    turned = logits[torch.randperm(57, generator=g(1))]
    assert torch.equal(votes_by_label(turned.split(13), 8), votes)
    assert votes_by_label([torch.zeros(4, 8)], 8)[0] == 4  # ties go to the first


def test_features_vote_for_the_nearest_mean():
    centres = torch.tensor([[0.0, 0], [10, 0], [torch.nan, 0], [0, 10]])
    x = torch.tensor([[1.0, 1], [9, 1], [11, 0], [1, 8]])
    assert votes_by_feature(x.split(3), centres).tolist() == [1, 2, 0, 1]
    f, c = torch.randn(200, 5, generator=g()), torch.randn(6, 5, generator=g(2))
    nearest = (f[:, None] - c[None]).square().sum(2).argmin(1)
    assert torch.equal(votes_by_feature(f.split(32), c), torch.bincount(nearest, minlength=6))


def test_the_top_is_nested_and_ties_are_drawn_under_a_seed():
    votes = torch.tensor([0, 5, 0, 9, 0, 5, 0])
    order = ranked(votes, g(3))
    assert order[0] == 3 and set(order[1:3].tolist()) == {1, 5}
    assert sorted(order.tolist()) == list(range(7))
    kept = [set(order[:k].tolist()) for k in range(8)]
    assert all(less < more for less, more in itertools.pairwise(kept))
    assert torch.equal(order, ranked(votes, g(3)))
    assert len({tuple(ranked(votes, g(s))[3:].tolist()) for s in range(8)}) > 1


def test_whole_classes_are_kept():
    y = torch.tensor([2, 0, 1, 2, 0, 1, 2])
    rows = rows_of_classes(y, torch.tensor([2, 1]))
    assert rows.tolist() == [0, 2, 3, 5, 6]
    for k in (1, 2):
        assert (y[rows] == k).sum() == (y == k).sum()


def test_manifest_there_and_back_and_the_same_twice(tmp_path):
    kept = {"photos": Kept(np.array([0, 3, 4]), "abc", 9), "sketches": Kept(np.arange(2), "de", 2)}
    for name in ("a", "b"):
        save_manifest(tmp_path / name, kept, classes=["cat"])
    found = load_manifest(tmp_path / "a")
    assert {r: (k.rows.tolist(), k.of, k.n) for r, k in found.items()} == {
        "photos": ([0, 3, 4], "abc", 9),
        "sketches": ([0, 1], "de", 2),
    }
    files = {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    assert files == {p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()} and len(files) == 3
    assert json.loads(files["manifest.json"])["classes"] == ["cat"]


def test_a_manifest_that_was_tampered_with_is_refused(tmp_path):
    save_manifest(tmp_path, {"photos": Kept(np.array([0, 3, 4]), "abc", 9)})
    (rows,) = tmp_path.glob("*.npy")
    np.save(rows, np.array([0, 3, 5]))
    with pytest.raises(RunError) as caught:
        load_manifest(tmp_path)
    assert caught.value.problem.code == "G459"
    rows.unlink()
    with pytest.raises(RunError):
        load_manifest(tmp_path)


@pytest.mark.parametrize("rows", [[3, 1], [1, 1], [-1, 2], [1, 9]])
def test_rows_are_ascending_distinct_and_there(tmp_path, rows):
    with pytest.raises(ValueError, match="ascending"):
        save_manifest(tmp_path, {"photos": Kept(np.array(rows), "abc", 9)})
    assert not (tmp_path / "manifest.json").exists()
