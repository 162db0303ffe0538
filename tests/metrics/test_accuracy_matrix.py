"""Metrics of an accuracy matrix, on matrices written by hand."""

from __future__ import annotations

import pytest
import torch

from bequeath.metrics import continual as of

A = torch.tensor([[0.90, 0.20, 0.10], [0.60, 0.80, 0.30], [0.70, 0.50, 0.95]])


def test_by_hand():
    assert of.acc(A) == pytest.approx((0.70 + 0.50 + 0.95) / 3)
    assert of.bwt(A) == pytest.approx(((0.70 - 0.90) + (0.50 - 0.80)) / 2)
    assert of.forgetting(A) == pytest.approx(((0.90 - 0.70) + (0.80 - 0.50)) / 2)
    start = torch.tensor([0.1, 0.15, 0.05])
    assert of.fwt(A, start) == pytest.approx(((0.20 - 0.15) + (0.30 - 0.05)) / 2)
    assert of.average_incremental_accuracy(A) == pytest.approx((0.90 + 0.70 + 2.15 / 3) / 3)
    assert of.learning_accuracy(A) == pytest.approx((0.90 + 0.80 + 0.95) / 3)
    nbt = ((0.30 + 0.20) / 2 + 0.30) / 2
    assert of.negative_backward_transfer(A) == pytest.approx(nbt)


def test_forgetting_is_from_the_best_value_and_bwt_from_the_first():
    a = torch.tensor([[0.5, 0.0, 0.0], [0.9, 0.5, 0.0], [0.7, 0.5, 0.5]])
    assert of.bwt(a) == pytest.approx(0.1)  # better than just after learning
    assert of.forgetting(a) == pytest.approx(0.1)  # and worse than at its best


def test_perfect_memory():
    a = torch.tensor([[0.9, 0.1, 0.1], [0.9, 0.8, 0.1], [0.9, 0.8, 0.7]])
    assert of.bwt(a) == of.forgetting(a) == of.negative_backward_transfer(a) == 0.0
    curves = [[0.1, 0.9], [0.1, 0.8], [0.1, 0.7]]
    # LIBERO's card: AUC_k = (FWT_k + sum of the later accuracies) / (K - k + 1)
    each = [(0.5 + 0.9 + 0.9) / 3, (0.45 + 0.8) / 2, 0.4 / 1]
    assert of.area_under_curve(a, curves) == pytest.approx(sum(each) / 3)
    assert of.learning_speed(curves) == pytest.approx((0.5 + 0.45 + 0.4) / 3)


def test_a_learning_curve_is_held_at_its_best():
    assert of.learning_speed([[0.0, 0.6, 0.2, 0.4]]) == pytest.approx((0.0 + 0.6 * 3) / 4)


def test_one_task_forgets_nothing():
    one = torch.tensor([[0.7]])
    assert of.acc(one) == pytest.approx(0.7)
    assert of.bwt(one) == of.forgetting(one) == of.negative_backward_transfer(one) == 0.0
    assert of.fwt(one, torch.tensor([0.1])) == 0.0


def test_what_was_not_measured_is_no_metric():
    a = A.clone()
    a[0] = torch.nan
    a[1] = torch.nan
    assert of.acc(a) == of.acc(A)  # the last row is all it reads
    for metric in (of.bwt, of.forgetting, of.average_incremental_accuracy, of.learning_accuracy):
        with pytest.raises(ValueError, match="not measured"):
            metric(a)
    with pytest.raises(ValueError, match="not measured"):
        of.fwt(a, torch.zeros(3))
    with pytest.raises(ValueError, match=r"\[T, T\]"):
        of.acc(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="start is"):
        of.fwt(A, torch.zeros(2))
    with pytest.raises(ValueError, match="3 tasks have 1"):
        of.area_under_curve(A, [[0.1]])
