"""Class means: of raw features, whatever the batches."""

from __future__ import annotations

import pytest
import torch

from bequeath.blocks.projector import width_adapter
from bequeath.blocks.prototypes import class_means


def test_means_do_not_depend_on_the_batches() -> None:
    g = torch.Generator().manual_seed(0)
    features = torch.randn(50, 3, generator=g)
    labels = torch.randint(4, (50,), generator=g)
    expected = torch.stack([features[labels == k].mean(0) for k in range(4)])
    for size in (7, 50):
        batches = zip(features.split(size), labels.split(size))
        torch.testing.assert_close(class_means(batches, 4), expected)


def test_the_mean_is_of_raw_features_not_of_directions() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 9.0]])
    mean = class_means([(features, torch.tensor([0, 0]))], 1)
    torch.testing.assert_close(mean, torch.tensor([[0.5, 4.5]]))


def test_a_class_without_samples_is_zero_and_no_batches_an_error() -> None:
    mean = class_means([(torch.ones(2, 3), torch.tensor([1, 1]))], 3)
    assert mean[0].abs().sum() == 0 and mean[2].abs().sum() == 0
    with pytest.raises(ValueError, match="at least one batch"):
        class_means([], 3)


def test_adapter_is_the_identity_for_equal_widths() -> None:
    assert not list(width_adapter(8, 8).parameters())
    assert width_adapter(8, 5)(torch.randn(4, 8)).shape == (4, 5)
