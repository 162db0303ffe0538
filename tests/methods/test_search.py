"""Searches beyond the contract: RoBoT against its definition, and what must not matter to it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bequeath.blocks.cells import cell_text
from bequeath.blocks.pool import Oracle, Pool
from bequeath.methods.catalog import methods_of
from bequeath.methods.search import Found
from bequeath.train.seeds import generator

METHODS = ("robot", "greedy", "random_search", "regularized_evolution")
N, BUDGET = 60, 6


def made(seed: int = 0, n: int = N) -> tuple[Pool, np.ndarray]:
    """A pool whose scores tie often: two of worth, one inverted, one of none."""
    rng = np.random.default_rng(seed)
    quality = rng.standard_normal(n)
    raw = quality[:, None] * [1.0, 0.7, -1.0, 0.0] + rng.standard_normal((n, 4)) * 0.4
    ids = tuple(f"c{i}" for i in range(n))
    return Pool(ids, ("a", "b", "c", "d"), np.round(raw), np.array([1.0, 1, -1, 1])), quality


def search(
    name: str, pool: Pool, quality: np.ndarray, budget: int = BUDGET, seed: int = 0, **config: Any
) -> tuple[Found, Oracle]:
    oracle = Oracle(pool, budget, lambda i: float(quality[i]))
    method = methods_of("search")[name]
    ctx = SimpleNamespace(rng=lambda stream, *counters: generator(seed, stream, *counters))
    given = SimpleNamespace(protocol=oracle)
    return method.run(ctx, given, method.Config(**config)).answer, oracle


def asked(found: Found, pool: Pool) -> list[str]:
    return [pool.ids[i] for i in found.asked]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("budget", [1, 2, 7])
def test_the_budget_is_spent_and_never_exceeded(name, budget):
    found, oracle = search(name, *made(), budget=budget)
    assert len(set(found.asked)) == len(found.asked) == budget and oracle.left == 0
    assert found.best == max(found.asked, key=oracle.query)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_pool_does_not_matter(name, seed):
    pool, quality = made()
    order = np.random.default_rng(seed).permutation(N)
    other = Pool(tuple(pool.ids[i] for i in order), pool.names, pool.metrics[order], pool.signs)
    one, _ = search(name, pool, quality, seed=seed)
    two, _ = search(name, other, quality[order], seed=seed)
    assert asked(one, pool) == asked(two, other)
    assert one.weights == two.weights


@pytest.mark.parametrize("name", ["robot", "greedy"])
@pytest.mark.parametrize("value", [3.5, np.nan, np.inf])
def test_a_constant_score_changes_nothing(name, value):
    pool, quality = made()
    more = np.column_stack([pool.metrics[:, :2], np.full(N, value), pool.metrics[:, 2:]])
    names = ("a", "b", "constant", "c", "d")
    other = Pool(pool.ids, names, more, np.insert(pool.signs, 2, 1.0))
    one, two = search(name, pool, quality)[0], search(name, other, quality)[0]
    assert one == two


@pytest.mark.parametrize("name", ["robot", "greedy"])
def test_the_scale_of_a_score_changes_nothing(name):
    pool, quality = made()
    other = Pool(pool.ids, pool.names, pool.metrics * [1.0, 1024.0, 0.125, 2.0], pool.signs)
    assert search(name, pool, quality)[0] == search(name, other, quality)[0]


@pytest.mark.parametrize("name", METHODS)
def test_scores_without_a_value_are_no_trouble(name):
    pool, quality = made()
    metrics = pool.metrics.copy()
    metrics[::3, 0], metrics[5, 1], metrics[7, 1] = np.nan, np.inf, -np.inf
    found, _ = search(name, Pool(pool.ids, pool.names, metrics, pool.signs), quality)
    assert len(found.asked) == BUDGET


@pytest.mark.parametrize("name", METHODS)
def test_without_any_useful_score_it_is_random_and_still_works(name):
    pool, quality = made()
    bare = Pool(pool.ids, pool.names, np.ones((N, 4)), pool.signs)
    found, _ = search(name, bare, quality)
    assert len(found.asked) == BUDGET and not found.weights


def test_robot_follows_its_definition():
    """What was asked is the winners of the exploration, then the ranking of the best weights."""
    pool, quality = made(1)
    found, oracle = search("robot", pool, quality, budget=10)
    low, high = pool.metrics.min(0), pool.metrics.max(0)
    w = np.array(list(found.weights.values()))
    scores = ((pool.metrics - low) / (high - low)) @ w
    explored, rest = found.asked[: found.explored], found.asked[found.explored :]
    assert 1 <= found.explored < 10 and np.abs(w).max() <= 1
    top = max(explored, key=oracle.query)
    assert scores[top] == pytest.approx(scores.max())  # the best weights' own winner
    others = np.array([i for i in range(N) if i not in explored])
    want = np.sort(scores[others])[::-1][: len(rest)]
    assert scores[list(rest)] == pytest.approx(want)


def test_robot_ends_with_the_latest_of_the_best_weights():
    """With one answer for all, every w is as good as any; the last one tried is kept."""
    pool, _ = made()
    constant = np.zeros(N)
    last = search("robot", pool, constant, steps=0.5, exploit=False)[0].weights
    first = search("robot", pool, constant, steps=1 / 6, exploit=False)[0].weights
    assert last != first


def test_exploration_alone_may_leave_budget_unspent_and_never_asks_for_more():
    pool, quality = made(2)
    found, oracle = search("robot", pool, quality, budget=12, exploit=False)
    assert found.explored == len(found.asked) <= 12
    none, _ = search("robot", pool, quality, exploit=False, steps=0.0)
    assert none.asked == search("greedy", pool, quality, signs="ignored")[0].asked
    long, oracle = search("robot", pool, quality, budget=4, exploit=False, steps=6.0)
    assert len(long.asked) <= 4 and oracle.left >= 0


def test_robot_finds_the_way_where_signs_are_wrong_and_the_plain_mean_does_not():
    pool, quality = made(3, 400)
    turned = Pool(pool.ids, pool.names, -pool.metrics, -pool.signs)
    robot, blind = [
        np.mean([quality.max() - quality[search(name, turned, quality, 15, s, **c)[0].best]
                 for s in range(4)])
        for name, c in (("robot", {}), ("greedy", {"signs": "ignored"}))
    ]  # fmt: skip
    assert robot < blind / 2


def test_greedy_by_hand():
    pool, quality = made()
    low, high = pool.metrics.min(0), pool.metrics.max(0)
    scores = ((pool.metrics - low) / (high - low)) @ pool.signs
    found, _ = search("greedy", pool, quality)
    assert sorted(scores[list(found.asked)]) == pytest.approx(sorted(scores)[-BUDGET:])
    gaps = pool.metrics.copy()
    gaps[3:9, 2] = np.nan  # `c` is better low; without a value one is the worst, not the best
    worst, _ = search(
        "greedy", Pool(pool.ids, pool.names, gaps, pool.signs), quality, weights={"c": 1}
    )
    assert not set(worst.asked) & set(range(3, 9))
    one, _ = search("greedy", pool, quality, weights={"c": 1.0})
    assert sorted(pool.metrics[list(one.asked), 2]) == sorted(pool.metrics[:, 2])[:BUDGET]
    blind, _ = search("greedy", pool, quality, weights={"c": 1.0}, signs="ignored")
    assert sorted(pool.metrics[list(blind.asked), 2]) == sorted(pool.metrics[:, 2])[-BUDGET:]


def test_evolution_changes_one_decision_of_a_cell():
    rng = np.random.default_rng(0)
    codes = np.unique(rng.integers(0, 3, size=(400, 6)), axis=0)
    ids = tuple(cell_text(row) for row in codes.tolist())
    pool = Pool(ids, (), np.empty((len(ids), 0)), np.empty(0), codes)
    found, _ = search("regularized_evolution", pool, codes.sum(1).astype(float), 20, population=5)
    alive = list(found.asked[:5])
    for child in found.asked[5:]:
        assert min((codes[child] != codes[parent]).sum() for parent in alive) == 1
        alive = [*alive[1:], child]
    assert max(codes.sum(1)[list(found.asked)]) > max(codes.sum(1)[list(found.asked[:5])])


def test_random_search_is_uniform():
    pool, quality = made(n=12)
    counts = np.zeros(12)
    for seed in range(600):
        counts[list(search("random_search", pool, quality, 3, seed)[0].asked)] += 1
    assert np.abs(counts - 150).max() < 5 * np.sqrt(600 * 0.25 * 0.75)
