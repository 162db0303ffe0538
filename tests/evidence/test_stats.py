from __future__ import annotations

import numpy as np
import pytest

from bequeath.evidence import stats


@pytest.mark.parametrize("n_seeds", [3, 5, 10])
@pytest.mark.parametrize("spread", [0.1, 0.4])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(n_seeds, spread):
    """Two arms on crossed seeds and samples; the true gap is known from the normal law."""
    from statistics import NormalDist

    rng = np.random.default_rng(n_seeds)
    n, inner, covered, repetitions = 300, 0.7, 0, 300
    # A sample is right when level + difficulty + seed + noise > 0, all normal.
    total = NormalDist(0, (1 + spread**2 + inner**2) ** 0.5)
    truth = total.cdf(1.3) - total.cdf(1.0)
    for repetition in range(repetitions):
        hard = rng.normal(size=n)
        arms = [
            (level + hard + spread * rng.normal(size=(n_seeds, 1))
             + inner * rng.normal(size=(n_seeds, n))) > 0
            for level in (1.0, 1.3)
        ]  # fmt: skip
        gap = arms[1].astype(float) - arms[0]
        of = stats.estimate(gap.mean(axis=1), gap, draws=1500, seed=repetition)
        low, high = stats.interval(of.draws)
        covered += low <= truth <= high
    assert 0.92 <= covered / repetitions <= 0.995


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_the_interval_over_seeds_alone_covers_too(n_seeds):
    rng = np.random.default_rng(5)
    covered = 0
    for repetition in range(400):
        of = stats.estimate(rng.normal(0.4, 1, size=n_seeds), draws=1500, seed=repetition)
        low, high = stats.interval(of.draws)
        covered += low <= 0.4 <= high
    assert 0.91 <= covered / 400 <= 0.98


def test_a_plain_bootstrap_over_three_seeds_would_not():
    """Why the seed part is widened: the same simulation without it."""
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        values = rng.normal(0.4, 1, size=3)
        draws = values[rng.integers(3, size=(1500, 3))].mean(axis=1)
        low, high = stats.interval(draws)
        covered += low <= 0.4 <= high
    assert covered / 400 < 0.85


def test_one_seed_resamples_samples_only():
    terms = (np.arange(400) % 4 == 0).astype(float)[None]
    of = stats.estimate([0.25], terms)
    low, high = stats.interval(of.draws)
    half = 1.96 * (0.25 * 0.75 / 400) ** 0.5
    assert of.over == "samples"
    assert of.sd_seeds is None
    assert (low, high) == pytest.approx((0.25 - half, 0.25 + half), abs=0.006)
    assert stats.estimate([0.25]).draws is None
    assert stats.least_detectable(stats.estimate([0.25])) is None


def test_few_many_and_very_many_distinct_terms_give_the_same_spread():
    rng = np.random.default_rng(0)
    for n in (1500, 5000):
        terms = rng.exponential(size=(1, n))
        assert stats.estimate([1.0], terms).draws.std() == pytest.approx(n**-0.5, rel=0.08)
    coarse = np.round(rng.exponential(size=(1, 1500)) * 4) / 4
    expected = coarse.std() / 1500**0.5
    assert stats.estimate([1.0], coarse).draws.std() == pytest.approx(expected, rel=0.05)


def test_no_difference_anywhere_is_exactly_nothing():
    of = stats.estimate(np.zeros(4))
    assert of.value == 0
    assert stats.interval(of.draws) == (0, 0)
    assert stats.p_value(of.draws) == 1
    assert stats.equivalent(of.draws, 0.0)


@pytest.mark.parametrize(("n", "proves"), [(50, False), (150, False), (2000, True)])
def test_few_samples_without_a_flip_do_not_prove_two_arms_equal(n, proves):
    """No flip among n leaves a chance of about 3/n open that there are some (95 %)."""
    of = stats.estimate(np.zeros(3), np.zeros((3, n)))
    assert of.value == 0 and stats.p_value(of.draws) > 0.9
    low, high = stats.interval(of.draws)
    assert high == pytest.approx(-low, rel=0.1) and 1.5 / n < high < 3.7 / n
    assert stats.equivalent(of.draws, 0.01) == proves


def test_terms_that_are_no_right_or_wrong_get_no_half_flip():
    of = stats.estimate(np.zeros(2), np.full((2, 30), 0.5) - 0.5 + 1e-9)
    assert np.ptp(of.draws) == 0


def test_the_same_seed_gives_the_same_draws():
    terms = np.random.default_rng(1).normal(size=(3, 40))
    one, two = (stats.estimate(terms.mean(axis=1), terms, draws=50) for _ in range(2))
    assert np.array_equal(one.draws, two.draws)


@pytest.mark.parametrize(
    ("differences", "p", "least"),
    [
        ([1, 1, 1], 0.25, 0.25),
        ([1, 2, 3, 4, 5], 0.0625, 0.0625),
        ([1, 2, 3, 4, 5, 6], 0.03125, 0.03125),
        # |1 + 2 - 3.5| = 0.5; the eight sums are 6.5, .5, 4.5, 2.5 and their negatives.
        ([1, 2, -3.5], 1.0, 0.25),
        # sums 6, 2, 4, 0 and their negatives: |sum| >= 4 in 4 of 8
        ([-1, 2, 3], 0.5, 0.25),
        ([0, 0, 0], 1.0, 0.25),
        ([2], 1.0, 1.0),
    ],
)
def test_sign_flip_by_hand(differences, p, least):
    assert stats.sign_flip(differences) == (p, least)


def test_sign_flip_beyond_sixteen_seeds_is_sampled():
    p, least = stats.sign_flip([1.0] * 17)
    assert 0 < p < 1e-3
    assert least == pytest.approx(1e-5, rel=0.01)
    assert stats.sign_flip([1.0, -1.0] * 9)[0] > 0.9


def test_holm_by_hand():
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([0.5, None, 0.9]) == [1.0, None, 1.0]
    assert stats.holm([0.02]) == [0.02]
    assert stats.holm([]) == []


def test_equivalence_needs_the_ninety_percent_interval_inside_the_margin():
    draws = np.linspace(-1, 1, 10_001)  # its 90 % interval is -0.9 to 0.9
    assert stats.equivalent(draws, 0.91)
    assert not stats.equivalent(draws, 0.89)
    assert not stats.equivalent(draws + 5, 0.91)


def test_the_least_detectable_effect_is_detected_four_times_in_five():
    rng = np.random.default_rng(3)
    known = stats.estimate(np.array([-1, 1, -1, 1, 0, 0]) * 1.0)
    effect = stats.least_detectable(known)
    sd = known.sd_seeds
    seen = 0
    for repetition in range(400):
        of = stats.estimate(rng.normal(effect, sd, size=6), draws=1000, seed=repetition)
        low, high = stats.interval(of.draws)
        seen += low > 0 or high < 0
    assert 0.72 <= seen / 400 <= 0.9


def test_flips_and_mcnemar_by_hand():
    before = np.array([[True, False, False], [True, False, True]])
    after = np.array([[False, True, False], [True, True, False]])
    mended, broken = stats.flips(before, after)
    assert mended.tolist() == [0, 2, 0]
    assert broken.tolist() == [1, 0, 1]
    assert stats.mcnemar(0, 5) == pytest.approx(2 * 0.5**5)
    assert stats.mcnemar(1, 5) == pytest.approx(2 * (1 + 6) / 64)
    assert stats.mcnemar(0, 0) == 1
    assert stats.mcnemar(4, 4) == 1


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        stats.estimate([])
    with pytest.raises(ValueError, match=r"\[seeds, samples\]"):
        stats.estimate([1.0], np.zeros((2, 3)))
    with pytest.raises(ValueError, match="no differences"):
        stats.sign_flip([])
