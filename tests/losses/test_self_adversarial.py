"""The loss against its formula, one triple at a time in float64."""

from __future__ import annotations

import math

import pytest
import torch

from bequeath.losses.self_adversarial import self_adversarial, subsampling


def scores(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 2.0])
def test_formula(alpha):
    true, false = scores((4,)), scores((4, 3), seed=1)
    lost_true, lost_false = self_adversarial(true, false, alpha)
    for b in range(4):
        assert float(lost_true[b]) == pytest.approx(-math.log(sigmoid(float(true[b]))))
        row = false[b].tolist()
        total = sum(math.exp(alpha * s) for s in row)
        mean = sum(math.exp(alpha * s) / total * -math.log(sigmoid(-s)) for s in row)
        assert float(lost_false[b]) == pytest.approx(mean)


def test_weights_have_no_gradient():
    false = scores((2, 3)).requires_grad_()
    self_adversarial(scores((2,)), false, 1.0)[1].sum().backward()
    weights = false.detach().softmax(1)
    torch.testing.assert_close(false.grad, weights * false.detach().sigmoid())


def test_only_valid_negatives_count():
    true, false = scores((3,)), scores((3, 4), seed=1)
    valid = torch.tensor([[True] * 4, [True, False, True, False], [False] * 4])
    for alpha in (0.0, 1.0):
        lost = self_adversarial(true, false, alpha, valid)[1]
        assert lost[0] == pytest.approx(float(self_adversarial(true, false, alpha)[1][0]))
        two = self_adversarial(true[1:2], false[1:2, [0, 2]], alpha)[1]
        assert float(lost[1]) == pytest.approx(float(two)) and lost[2] == 0.0


def test_often_asked_questions_count_less():
    triples = torch.tensor([[0, 0, 1], [0, 0, 2], [0, 0, 3], [4, 0, 3], [5, 1, 3]])
    # (h, r) occurs 3, 3, 3, 1, 1 times; (t, r) occurs 1, 1, 2, 2, 1 times; each counts 3 more
    both = [3 + 1 + 6, 3 + 1 + 6, 3 + 2 + 6, 1 + 2 + 6, 1 + 1 + 6]
    assert subsampling(triples, 2).tolist() == pytest.approx([b**-0.5 for b in both])
