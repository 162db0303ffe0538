"""Filtered realistic ranks: against a loop over entities, and against PyKEEN's evaluator."""

from __future__ import annotations

import pytest
import torch

from bequeath.metrics.ranking import adjusted, exact_ranks, filtered_ranks, hits, reciprocal

N, R = 12, 3


def table(seed: int = 0, values: int = 6) -> torch.Tensor:
    """float64 [N, R, N] of few different scores, so that ties are common."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(values, (N, R, N), generator=generator).to(torch.float64)


def triples(count: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    high = torch.tensor([N, R, N])
    drawn = (torch.rand(count, 3, generator=generator) * high).to(torch.int64)
    return torch.unique(drawn, dim=0)


def scorer(scores: torch.Tensor):
    def score(side: str, entity: torch.Tensor, relation: torch.Tensor) -> torch.Tensor:
        return scores[entity, relation] if side == "tail" else scores[:, relation, entity].T

    return score


def by_hand(scores, test, known):
    """(optimistic, pessimistic, candidates) of each side and triple, one entity at a time."""
    true = {tuple(row) for row in known.tolist()}
    found = []
    for side in ("tail", "head"):
        for h, r, t in test.tolist():
            own, better, same, ranked = scores[h, r, t], 0, 0, 1
            for e in range(N):
                other = (h, r, e) if side == "tail" else (e, r, t)
                if other in true or other == (h, r, t):
                    continue
                ranked += 1
                better += int(scores[other] > own)
                same += int(scores[other] == own)
            found.append((1 + better, 1 + better + same, ranked))
    return torch.tensor(found).T.reshape(3, 2, -1)


@pytest.mark.parametrize("batch", [1, 5, None])
def test_ranks_are_those_of_a_loop_over_entities(batch):
    test, known = triples(30), triples(150, seed=2)
    ranks = filtered_ranks(scorer(table()), test, known, N, batch=batch)
    expected = by_hand(table(), test, known)
    assert torch.equal(ranks.optimistic, expected[0])
    assert torch.equal(ranks.pessimistic, expected[1])
    assert torch.equal(ranks.candidates, expected[2])
    assert torch.equal(ranks.realistic, (expected[0] + expected[1]) / 2)
    assert (ranks.pessimistic > ranks.optimistic).any(), "the case must have ties"


def test_pykeen_gives_the_same_ranks_and_measures():
    evaluation = pytest.importorskip("pykeen.evaluation")
    test, known = triples(30), torch.cat([triples(150, seed=2), triples(30)])
    scores, evaluator = table().float(), evaluation.RankBasedEvaluator()
    score = scorer(scores)
    for side, target, column in (("tail", "tail", 2), ("head", "head", 0)):
        asked = score(side, test[:, 2 - column], test[:, 1])
        own = asked.gather(1, test[:, column][:, None])
        true = {tuple(row) for row in known.tolist()}
        for i, row in enumerate(test.tolist()):
            for e in range(N):
                other = [*row]
                other[column] = e
                if tuple(other) in true and e != row[column]:
                    asked[i, e] = torch.nan
        evaluator.process_scores_(test, target, scores=asked, true_scores=own)
    theirs = evaluator.finalize()
    ours = filtered_ranks(score, test, known, N)
    ranks = ours.realistic
    for name, mine in (
        ("inverse_harmonic_mean_rank", reciprocal(ranks).mean()),
        ("hits_at_1", hits(ranks, 1).mean()),
        ("hits_at_3", hits(ranks, 3).mean()),
        ("adjusted_arithmetic_mean_rank_index", adjusted(ranks, ours.candidates).mean()),
    ):
        expected = theirs.get_metric(f"both.realistic.{name}")
        assert float(mine) == pytest.approx(float(expected), rel=1e-6), name


def test_known_answers():
    """All scores equal: the expected rank of chance, an adjusted index of zero."""
    test = triples(20)
    ranks = filtered_ranks(scorer(torch.zeros(N, R, N)), test, test[:0], N)
    assert torch.equal(
        ranks.realistic, torch.full((2, len(test)), (N + 1) / 2, dtype=torch.float64)
    )
    assert float(adjusted(ranks.realistic, ranks.candidates).mean()) == 0.0
    perfect = torch.zeros(N, R, N)
    perfect[test[:, 0], test[:, 1], test[:, 2]] = 1.0
    ranks = filtered_ranks(scorer(perfect), test, test, N)
    assert torch.equal(ranks.pessimistic, torch.ones_like(ranks.pessimistic))
    assert float(adjusted(ranks.realistic, ranks.candidates).mean()) == 1.0


def test_infinite_scores_are_ranked_and_nan_is_refused():
    scores = table()
    scores[:, :, 3] = -torch.inf
    test = torch.tensor([[0, 0, 3], [1, 1, 4]])
    ranks = filtered_ranks(scorer(scores), test, test, N)
    assert ranks.pessimistic[0, 0] == N
    scores[0, 0, 5] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        filtered_ranks(scorer(scores), test, test, N)


def test_nothing_to_rank():
    ranks = filtered_ranks(scorer(table()), triples(5)[:0], triples(5), N)
    assert ranks.realistic.shape == (2, 0)


@pytest.mark.parametrize("batch", [7, None])
def test_rough_scores_and_exact_ones_where_they_cannot_tell(batch):
    """Scores shaken by as much as they say they may be, questions that repeat, known ones twice."""
    scores, test = table(values=40), triples(120)
    known = torch.cat([triples(200, seed=2), triples(200, seed=2)])
    shaken = scores + (torch.rand(scores.shape, generator=torch.Generator().manual_seed(5)) - 0.5)

    def rough(side, entity, relation):
        return scorer(shaken)(side, entity, relation), torch.full((len(entity),), 0.5)

    asked = []

    def exact(side, entity, relation, answer):
        asked.append(len(entity))
        ends = (entity, answer) if side == "tail" else (answer, entity)
        return scores[ends[0], relation, ends[1]]

    ranks = exact_ranks(rough, exact, test, known, N, batch=batch)
    expected = by_hand(scores, test, known)
    assert torch.equal(
        torch.stack([ranks.optimistic, ranks.pessimistic, ranks.candidates]), expected
    )
    wrong = filtered_ranks(scorer(shaken), test, known, N)
    assert not torch.equal(wrong.realistic, ranks.realistic), "the case must need the exact scores"
    assert sum(asked) < 2 * len(test) * N / 2, "most entities are decided by the rough scores"


def test_an_error_without_bound_is_refused():
    def rough(side, entity, relation):
        return scorer(table())(side, entity, relation), torch.full((len(entity),), torch.inf)

    with pytest.raises(ValueError, match="infinite"):
        exact_ranks(rough, None, triples(3), triples(3), N)
