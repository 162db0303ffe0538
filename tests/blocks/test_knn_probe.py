"""The kNN probe beside scikit-learn's classifier."""

from __future__ import annotations

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from bequeath.blocks import knn_probe
from bequeath.blocks.knn_probe import knn_accuracy, knn_predict


def clouds(n: int, seed: int):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    centres = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).double()
    return centres[y] + torch.randn(n, 5, generator=g).double(), y


@pytest.mark.parametrize("k", [1, 5, 20])
def test_agrees_with_scikit_learn(k: int, monkeypatch):
    monkeypatch.setattr(knn_probe, "_CELLS", 1000)  # in many parts
    known, y = clouds(90, 1)
    asked, _ = clouds(40, 2)
    oracle = KNeighborsClassifier(k, algorithm="brute").fit(known.numpy(), y.numpy())
    said = knn_predict(known, y, asked, k, 3)
    assert said.tolist() == oracle.predict(asked.numpy()).tolist()


def test_more_neighbours_than_there_are():
    known, y = clouds(9, 1)
    assert knn_predict(known, y, known[:2], 200, 3).tolist() == [0, 0]  # a tie of all classes
    with pytest.raises(ValueError, match="neighbour"):
        knn_predict(known, y, known, 0, 3)


def test_accuracy_of_separate_and_of_mixed_classes():
    _, y = clouds(60, 1)
    g = torch.Generator().manual_seed(4)
    far = torch.nn.functional.one_hot(y, 3).double() * 100
    assert knn_accuracy(far, y, 5, g) == 1.0
    noise = torch.randn(3000, 4, generator=g)
    mixed = knn_accuracy(noise, torch.arange(3000) % 3, 5, g)
    assert abs(mixed - 1 / 3) < 0.06
    with pytest.raises(ValueError, match="cannot be divided"):
        knn_accuracy(far[:1], y[:1], 5, g)
