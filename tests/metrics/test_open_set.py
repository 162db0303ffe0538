"""Open-set metrics beside sklearn and beside counts by hand."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from bequeath.metrics.open_set import auroc, h_score, known_terms, rejected, unknown_terms

G = torch.Generator().manual_seed(0)
Y = torch.randint(-1, 4, (200,), generator=G)
PRED = torch.randint(-1, 4, (200,), generator=G)


def test_known_terms_average_to_the_mean_of_the_classes_recalls():
    terms = known_terms(PRED, Y)
    known = Y >= 0
    with_unknown_wrong = balanced_accuracy_score(Y[known], PRED[known].clamp(min=-1))
    assert float(terms.nanmean()) == pytest.approx(with_unknown_wrong)
    assert bool(terms[~known].isnan().all()) and not bool(terms[known].isnan().any())


def test_classes_that_do_not_occur_do_not_count():
    y, pred = torch.tensor([0, 0, 0, 5]), torch.tensor([0, 0, 1, 5])
    assert float(known_terms(pred, y).nanmean()) == pytest.approx((2 / 3 + 1) / 2)


def test_unknown_terms():
    assert float(unknown_terms(PRED, Y).nanmean()) == pytest.approx(
        float((PRED[Y < 0] < 0).double().mean())
    )


def test_one_sort_of_samples_only_is_refused():
    with pytest.raises(ValueError, match="known class"):
        known_terms(PRED, torch.full_like(Y, -1))
    with pytest.raises(ValueError, match="unknown class"):
        unknown_terms(PRED, Y.clamp(min=0))
    with pytest.raises(ValueError, match="both sorts"):
        auroc(torch.ones(3), torch.ones(3, dtype=torch.bool))


@pytest.mark.parametrize(
    ("known", "unknown", "h"), [(1, 1, 1), (0, 1, 0), (1, 0, 0), (0, 0, 0), (0.5, 1, 2 / 3)]
)
def test_h_score(known, unknown, h):
    assert h_score(known, unknown) == pytest.approx(h)


def test_auroc_is_sklearns_with_ties():
    score = torch.randint(0, 12, (200,), generator=G).double()
    assert auroc(score, Y < 0) == pytest.approx(roc_auc_score((Y < 0).numpy(), score.numpy()))
    assert auroc(torch.arange(4.0), torch.tensor([False, False, True, True])) == 1.0


def test_rejected_is_strictly_above_and_takes_no_nan():
    assert rejected(torch.tensor([0.5, 0.55, 0.6]), 0.55).tolist() == [False, False, True]
    with pytest.raises(ValueError, match="not a number"):
        rejected(torch.tensor([torch.nan]), 0.5)
