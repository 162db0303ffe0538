"""When answers are kept."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from bequeath.signals import policy
from bequeath.train.config import Train


def train(**settings: Any) -> Train:
    return Train.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "views", "says"),
    [
        ({"epochs": 2}, 1, True),
        ({"epochs": 1}, 1, False),
        ({"epochs": 30}, 30, False),
        ({"epochs": 37}, 30, True),
        ({"epochs": 0}, 1, False),
        ({"steps": 10, "batch_size": 10, "accumulate": 2}, 1, True),  # 200 of 100 samples
        ({"steps": 10, "batch_size": 10}, 1, False),
    ],
)
def test_it_pays_when_the_teacher_is_asked_less(
    settings: dict[str, Any], views: int, says: bool
) -> None:
    assert policy.pays(train(**settings), 100, views) is says


def test_it_fits_in_two_gigabytes_and_a_tenth_of_the_disk() -> None:
    assert policy.fits(10**9, 10**12)
    assert not policy.fits(2 * 10**9, 10**12)
    assert not policy.fits(10**9, 5 * 10**9)


def test_views_without_end_cannot_be_kept() -> None:
    endless = {"flip": True}
    assert policy.n_views(train(augment=endless)) is None
    assert policy.n_views(train(augment=endless), "vector") == 1
    assert policy.n_views(train(augment={"flip": True, "views": 4})) == 4
    assert policy.n_views(train(augment={"views": 4})) == 1  # nothing is changed
    assert policy.problems(train(augment=endless, cache="auto")) == []
    [problem] = policy.problems(train(augment=endless, cache="on", epochs=30))
    assert problem.code == "S704" and problem.at == ("train", "cache")
    assert "train.augment.views: 8" in problem.remedies[0]


def test_the_policy_is_known_without_torch() -> None:
    code = "import sys, bequeath.signals.policy; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
