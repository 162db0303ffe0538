"""A view is a function of (seed, sample, view number) and of nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bequeath.given.views import augment
from bequeath.train.config import Augment

FULL = Augment(crop=2, flip=True, cutout=3)
configs = st.builds(Augment, crop=st.integers(0, 5), flip=st.booleans(), cutout=st.integers(0, 9))
seeds = st.integers(0, 2**63 - 1)


def images(n: int = 7, h: int = 6, w: int = 5, c: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (n, h, w, c), dtype=torch.uint8, generator=generator)


def places(n: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(n) * 1000 + 5, torch.arange(n) % 3


@settings(deadline=None, max_examples=60)
@given(configs, seeds, st.permutations(range(7)))
def test_order_does_not_matter(cfg, seed, order):
    x, (idx, view) = images(), places()
    whole = augment(x, idx, view, seed, cfg)
    order = torch.tensor(order)
    assert torch.equal(augment(x[order], idx[order], view[order], seed, cfg), whole[order])


@settings(deadline=None, max_examples=60)
@given(configs, seeds, st.integers(0, 7), st.sampled_from([1, 3]))
def test_how_a_batch_is_cut_does_not_matter(cfg, seed, cut, channels):
    x, (idx, view) = images(c=channels), places()
    whole = augment(x, idx, view, seed, cfg)
    parts = [augment(x[s], idx[s], view[s], seed, cfg) for s in (slice(0, cut), slice(cut, None))]
    assert torch.equal(torch.cat(parts), whole)
    assert whole.shape == x.shape and whole.dtype == torch.uint8


def test_off_is_the_identity():
    x, (idx, view) = images(), places()
    assert augment(x, idx, view, 0, Augment(crop=0, flip=False, cutout=0)) is x


def test_input_is_left_alone():
    x, (idx, view) = images(), places()
    before = x.clone()
    augment(x, idx, view, 3, FULL)
    assert torch.equal(x, before)


@pytest.mark.parametrize("what", ["seed", "idx", "view"])
def test_seed_sample_and_view_each_matter(what):
    x = images(1).expand(200, -1, -1, -1)
    base = {"idx": torch.zeros(200, dtype=torch.int64), "view": torch.zeros(200, dtype=torch.int64)}
    one = augment(x, **base, seed=0, cfg=FULL)
    assert (one == one[:1]).all()
    if what == "seed":
        other = augment(x, **base, seed=1, cfg=FULL)
        assert not torch.equal(one, other)
    else:
        many = augment(x, **{**base, what: torch.arange(200)}, seed=0, cfg=FULL)
        assert len({bytes(m.numpy().tobytes()) for m in many}) > 150


def test_flip_is_fair_and_exact():
    x = images(1).expand(4000, -1, -1, -1)
    idx = torch.arange(4000)
    out = augment(x, idx, torch.zeros_like(idx), 0, Augment(crop=0, flip=True, cutout=0))
    mirrored = (out == x[:1].flip(2)).flatten(1).all(1)
    assert (mirrored | (out == x[:1]).flatten(1).all(1)).all()
    assert abs(mirrored.float().mean() - 0.5) < 0.04


def test_crop_draws_every_offset_evenly_and_pads_with_zeros():
    n, pad = 9000, 1
    x = images(1).expand(n, -1, -1, -1)
    idx = torch.arange(n)
    out = augment(x, idx, torch.zeros_like(idx), 5, Augment(crop=pad, flip=False, cutout=0))
    padded = torch.zeros(1, 8, 7, 3, dtype=torch.uint8)
    padded[:, 1:7, 1:6] = x[:1]
    seen = 0
    for dy in range(3):
        for dx in range(3):
            window = padded[:, dy : dy + 6, dx : dx + 5]
            count = int((out == window).flatten(1).all(1).sum())
            assert abs(count / n - 1 / 9) < 0.02
            seen += count
    assert seen == n


def test_cutout_sets_a_square_to_the_mean():
    x = images(300, 8, 8, 1)
    idx = torch.arange(300)
    out = augment(x, idx, torch.zeros_like(idx), 0, Augment(crop=0, flip=False, cutout=2))
    mean = (x.long().sum((1, 2), keepdim=True) // 64).to(torch.uint8)
    changed = out != x
    assert (out == mean)[changed].all()
    counts = changed.flatten(1).sum(1)
    assert counts.max() <= 4 and (counts >= 3).float().mean() > 0.5
    assert changed.any(0).all()  # no place is spared


def test_draws_are_independent_of_one_another():
    x = torch.zeros(4000, 1, 2, 1, dtype=torch.uint8)
    x[:, 0, 0], x[:, 0, 1] = 100, 200
    idx = torch.arange(4000)
    out = augment(x, idx, torch.zeros_like(idx), 0, Augment(crop=1, flip=True, cutout=0))
    rows = out.flatten(1)
    share = (rows == torch.tensor([200, 100], dtype=torch.uint8)).all(1).float().mean()
    assert abs(share - 0.5 / 9) < 0.015


def test_only_images_have_views():
    with pytest.raises(ValueError, match="only images"):
        augment(torch.zeros(2, 3), torch.arange(2), torch.arange(2), 0, FULL)
