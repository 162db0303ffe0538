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
    asks = policy.samples_asked(train(**settings), 100)
    assert policy.pays(asks, 100, views) is says


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({"epochs": 2}, 2),
        ({"epochs": 30}, 10),
        ({"epochs": 0}, 1),
        ({"steps": 20, "batch_size": 10}, 2),  # ten batches an epoch
        ({"steps": 21, "batch_size": 10}, 3),
        ({"steps": 10, "batch_size": 10, "accumulate": 2}, 2),
        ({"steps": 3, "batch_size": 10, "accumulate": 100}, 3),  # an update at the end of an epoch
        ({"steps": 2, "batch_size": 99}, 2),  # the last sample joins the first batch
    ],
)
def test_only_views_that_a_run_comes_to_are_asked_for(settings: dict[str, Any], asked: int) -> None:
    augmented = train(augment={"flip": True, "views": 10}, **settings)
    assert policy.views_asked(augmented, 100) == asked
    assert policy.views_asked(augmented, 100, "vector") == 1
    assert policy.views_asked(train(augment={"flip": True}, **settings), 100) is None


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
