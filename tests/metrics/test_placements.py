"""The area under a ROC curve with its interval."""

from __future__ import annotations

import pytest
import torch

from bequeath.metrics.membership import auc
from bequeath.metrics.placements import area


def test_terms_and_value():
    members, others = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([2.0, 0.0])
    found = area(members, others)
    assert found.terms.tolist() == [1.0, 0.5, 0.75]
    assert found.auc == pytest.approx(0.75) == auc(members, others)


def test_the_interval_covers():
    """Two normals a distance d apart: AUC = Phi(d / sqrt 2)."""
    truth = 0.5 * (1 + torch.erf(torch.tensor(0.5))).item()  # d = 1
    g, hits = torch.Generator().manual_seed(0), 0
    for _ in range(300):
        found = area(torch.randn(40, generator=g) + 1, torch.randn(50, generator=g))
        assert 0 <= found.low <= found.auc <= found.high <= 1
        hits += found.low <= truth <= found.high
    assert 0.91 <= hits / 300 <= 0.99


def test_without_overlap_and_refused():
    found = area(torch.arange(5.0) + 9, torch.arange(4.0))
    assert found.auc == 1 and 0.6 < found.low < 1
    with pytest.raises(ValueError, match="both sides"):
        area(torch.tensor([]), torch.tensor([1.0]))
    with pytest.raises(ValueError, match="not finite"):
        area(torch.tensor([float("nan")]), torch.tensor([1.0]))
