"""MiniLLM's gradient is that of the reverse KL of whole texts: all texts are gone through."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from bequeath.losses.divergence import Divergence, dense
from bequeath.losses.policy import later, mixed_weight

WORDS, LENGTH = 3, 3


def table(seed: int) -> dict[tuple[int, ...], torch.Tensor]:
    """A language model as a table: logits after each beginning."""
    g = torch.Generator().manual_seed(seed)
    starts = [s for n in range(LENGTH) for s in product(range(WORDS), repeat=n)]
    return {s: torch.randn(WORDS, generator=g, dtype=torch.float64) for s in starts}


def log_prob(model: dict, text: tuple[int, ...]) -> torch.Tensor:
    return torch.stack([model[text[:t]].log_softmax(0)[text[t]] for t in range(LENGTH)])


def test_its_expectation_is_the_gradient_of_the_kl_of_texts():
    teacher, student = table(0), table(1)
    for logits in student.values():
        logits.requires_grad_()
    params = list(student.values())
    texts = list(product(range(WORDS), repeat=LENGTH))
    whole = sum(
        log_prob(student, y).sum().exp() * (log_prob(student, y) - log_prob(teacher, y)).sum()
        for y in texts
    )
    expected = torch.autograd.grad(whole, params)
    found = [torch.zeros_like(p) for p in params]
    for y in texts:
        log_q, log_p = log_prob(student, y), log_prob(teacher, y)
        reward = (log_p - log_q).detach()[None]
        gain = later(reward, torch.ones(1, LENGTH, dtype=torch.bool), mean=False)[0]
        z_s = torch.stack([student[y[:t]] for t in range(LENGTH)])
        z_t = torch.stack([teacher[y[:t]] for t in range(LENGTH)])
        loss = (dense(z_s, z_t, Divergence("reverse")) - gain * log_q).sum()
        for total, g in zip(found, torch.autograd.grad(loss, params, allow_unused=True)):
            if g is not None:
                total += log_q.sum().exp().detach() * g
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_later_is_the_sum_or_mean_of_what_follows_in_the_text():
    r = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]])
    where = torch.tensor([[True, True, True, True], [False, True, True, False]])
    assert later(r, where, mean=False).tolist() == [[9, 7, 4, 0], [0, 7, 0, 0]]
    assert later(r, where, mean=True).tolist() == [[3, 3.5, 4, 0], [0, 7, 0, 0]]


def test_weights_of_words_from_a_mixture():
    p, q = torch.tensor([0.5, 0.1, 0.3]), torch.tensor([0.1, 0.5, 0.3])
    got = mixed_weight(p.log(), q.log(), 0.2)
    torch.testing.assert_close(got, q / (0.2 * p + 0.8 * q))
    assert torch.equal(mixed_weight(p.log(), q.log(), 0.0), torch.ones(3))
    assert got.max() <= 1 / 0.8 + 1e-6


@pytest.mark.parametrize("mean", [True, False])
def test_nothing_follows_in_texts_of_one_word(mean):
    assert later(torch.ones(2, 1), torch.ones(2, 1, dtype=torch.bool), mean=mean).abs().max() == 0
