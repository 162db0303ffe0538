"""Pools and oracles: what is counted, what is scaled, and that places in the pool mean nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bequeath.blocks.pool import (
    Oracle,
    Pool,
    distances,
    name_noise,
    nearest_unknown,
    ranked,
    scaled,
    top,
    weighted_sum,
)
from bequeath.kernel.errors import RunError


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pool(n: int = 6, codes: np.ndarray | None = None) -> Pool:
    metrics = np.arange(2.0 * n).reshape(n, 2)
    return Pool(tuple(f"c{i}" for i in range(n)), ("a", "b"), metrics, np.ones(2), codes)


def test_the_oracle_counts_each_candidate_once_and_stops():
    asked = []

    def ask(i: int) -> float:
        asked.append(i)
        return -float(i)

    oracle = Oracle(pool(), 2, ask)
    assert [oracle.query(3), oracle.query(3), oracle.query(1), oracle.query(3)] == [-3, -3, -1, -3]
    assert asked == [3, 1] and oracle.asked == (3, 1)
    assert (oracle.left, oracle.best, oracle.knows(3), oracle.knows(0)) == (0, 1, True, False)
    with pytest.raises(RunError) as refused:
        oracle.query(0)
    assert refused.value.problem.code == "T660" and "c0" in refused.value.problem.message
    assert asked == [3, 1] and oracle.asked == (3, 1)


def test_the_oracle_refuses_places_there_are_not():
    for i in (-1, 6):
        with pytest.raises(IndexError):
            Oracle(pool(), 2, float).query(i)
    with pytest.raises(LookupError):
        _ = Oracle(pool(), 2, float).best


def test_of_equal_answers_the_first_asked_is_the_best():
    oracle = Oracle(pool(), 3, lambda i: 1.0)
    oracle.query_until_spent([4, 2, 0, 1])
    assert oracle.asked == (4, 2, 0) and oracle.best == 4


def test_scaling_by_hand():
    nan, inf = np.nan, np.inf
    metrics = np.array([[1.0, 7, nan, -2, nan], [3.0, 7, 4, inf, nan], [2.0, 7, 8, 2, nan]])
    found, kept = scaled(metrics)
    assert kept.tolist() == [0, 2, 3]  # what is the same everywhere ranks nothing
    assert found.tolist() == [[0, 0, 0], [1, 0, 0], [0.5, 1, 1]]


def test_one_finite_value_among_gaps_ranks_nothing():
    found, kept = scaled(np.array([[np.nan], [5.0], [np.nan]]))
    assert kept.tolist() == [] and found.shape == (3, 0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60))
def test_scaling_and_ranking_do_not_depend_on_scale_or_place(seed, n):
    rng = np.random.default_rng(seed)
    metrics = rng.integers(0, 4, size=(n, 3)).astype(float)  # ties in plenty
    ids = [f"candidate {i}" for i in range(n)]
    w = rng.uniform(-1, 1, 3)
    order = rng.permutation(n)

    def ranking(values: np.ndarray, names: list[str]) -> list[str]:
        unit, kept = scaled(values)
        noise = name_noise(names, stream(seed))
        found = ranked(weighted_sum(unit, w[kept]), noise)
        assert len(unit) == 0 or found[0] == top(weighted_sum(unit, w[kept]), noise)
        return [names[i] for i in found]

    here = ranking(metrics, ids)
    assert here == ranking(metrics[order], [ids[i] for i in order])
    assert here == ranking(metrics * 2.0**7, ids)  # a power of two rounds nothing


def test_noise_is_a_function_of_the_name_and_the_stream():
    one = name_noise(["x", "y"], stream())
    assert one.tolist() == name_noise(["y", "x"], stream())[::-1].tolist()
    assert one.tolist() != name_noise(["x", "y"], stream(1)).tolist()
    drawn = name_noise([str(i) for i in range(4000)], stream()) / 2.0**64
    assert abs(drawn.mean() - 0.5) < 0.02 and abs(drawn.std() - 12**-0.5) < 0.01


def test_neighbours_by_codes_and_by_scores():
    codes = np.array([[0, 0], [0, 1], [1, 1], [2, 2], [0, 2], [1, 0]])
    coded = pool(codes=codes)
    assert distances(coded, 0).tolist() == [0, 1, 2, 2, 1, 1]
    oracle = Oracle(coded, 4, float)
    oracle.query(0)
    assert nearest_unknown(oracle, 0, 1).tolist() == [1, 4, 5]
    oracle.query_until_spent([1, 4, 5])
    assert nearest_unknown(oracle, 0, 1).tolist() == [2, 3]

    plain = pool()
    assert distances(plain, 0) == pytest.approx(np.arange(6) / 5 * 2**0.5)
    oracle = Oracle(plain, 2, float)
    oracle.query_until_spent([2, 3])
    assert nearest_unknown(oracle, 2, 2).tolist() == [0, 1, 4]  # 0 and 4 are equally far
