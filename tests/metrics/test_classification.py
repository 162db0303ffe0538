from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from bequeath.metrics.classification import Predictions, agreement, confusion, evaluate
from bequeath.metrics.names import NAMES


def random_predictions(n: int = 400, k: int = 7, seed: int = 0) -> Predictions:
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, k, generator=g) * 2
    y = torch.randint(0, k - 1, (n,), generator=g)  # the last class never occurs as a label
    return Predictions(logits, y)


ORACLES = {
    "accuracy": lambda y, p, pred: sk.accuracy_score(y, pred),
    "top5_accuracy": lambda y, p, pred: sk.top_k_accuracy_score(
        y, p, k=5, labels=range(p.shape[1])
    ),
    "macro_f1": lambda y, p, pred: sk.f1_score(y, pred, average="macro"),
    "nll": lambda y, p, pred: sk.log_loss(y, p, labels=range(p.shape[1])),
    "brier": lambda y, p, pred: float(((p - np.eye(p.shape[1])[y]) ** 2).sum(1).mean()),
}


@pytest.mark.parametrize("name", sorted(ORACLES))
@pytest.mark.parametrize("seed", [0, 1])
def test_agrees_with_an_independent_computation(name: str, seed: int) -> None:
    predictions = random_predictions(seed=seed)
    p = predictions.logits.double().softmax(1).numpy()
    expected = ORACLES[name](predictions.y.numpy(), p, p.argmax(1))
    assert evaluate(name, predictions).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_balanced_accuracy_ignores_classes_that_do_not_occur() -> None:
    predictions = random_predictions()
    expected = sk.balanced_accuracy_score(predictions.y, predictions.logits.argmax(1))
    assert evaluate("balanced_accuracy", predictions).value == pytest.approx(expected, abs=1e-12)


def test_ece_by_hand() -> None:
    # two samples at confidence 0.8 (one right), one at 0.6 (right): (|1 - 1.6| + |1 - 0.6|) / 3
    p = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.6, 0.4]], dtype=torch.float64)
    predictions = Predictions(p.log(), torch.tensor([0, 1, 0]))
    assert evaluate("ece", predictions).value == pytest.approx((0.6 + 0.4) / 3, abs=1e-12)


def test_ece_of_a_calibrated_model_is_small_and_of_a_boastful_one_is_not() -> None:
    g = torch.Generator().manual_seed(3)
    logits = torch.randn(20_000, 4, generator=g)
    y = torch.multinomial(logits.softmax(1), 1, generator=g)[:, 0]
    assert evaluate("ece", Predictions(logits, y)).value < 0.02
    assert evaluate("ece", Predictions(logits * 5, y)).value > 0.2


def test_closed_forms_of_a_uniform_model() -> None:
    k = 10
    predictions = Predictions(torch.zeros(20, k), torch.arange(20) % k)
    assert evaluate("nll", predictions).value == pytest.approx(math.log(k), abs=1e-12)
    assert evaluate("brier", predictions).value == pytest.approx(1 - 1 / k, abs=1e-12)
    # ties go to the lower index: constant answers are right as often as those indices occur
    assert evaluate("accuracy", predictions).value == pytest.approx(1 / k)
    assert evaluate("top5_accuracy", predictions).value == pytest.approx(5 / k)


def test_perfect_and_extreme_logits_stay_finite() -> None:
    y = torch.tensor([0, 1, 2])
    predictions = Predictions(torch.eye(3) * 1e4, y)
    assert evaluate("nll", predictions).value == 0
    assert evaluate("accuracy", predictions).value == 1
    assert evaluate("macro_f1", predictions).value == 1
    wrong = Predictions(torch.eye(3) * 1e4, y.roll(1))
    assert evaluate("nll", wrong).value == pytest.approx(1e4)
    assert evaluate("brier", wrong).value == pytest.approx(2)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_terms_average_to_the_value_and_order_does_not_matter(name: str) -> None:
    predictions = random_predictions(101)
    found = evaluate(name, predictions)
    assert found.n == 101 and found.direction == NAMES[name]
    if found.terms is not None:
        assert found.terms.shape == (101,)
        assert found.terms.mean().item() == pytest.approx(found.value, abs=1e-12)
    assert (found.terms is None) == (name in {"balanced_accuracy", "macro_f1", "ece"})
    order = torch.randperm(101, generator=torch.Generator().manual_seed(0))
    shuffled = evaluate(name, Predictions(predictions.logits[order], predictions.y[order]))
    assert shuffled.value == pytest.approx(found.value, abs=1e-12)


def test_confusion_counts_rows_as_truth() -> None:
    predictions = random_predictions()
    expected = sk.confusion_matrix(
        predictions.y, predictions.logits.argmax(1), labels=range(predictions.k)
    )
    assert (confusion(predictions).numpy() == expected).all()


def test_agreement() -> None:
    model, reference = random_predictions(seed=0), random_predictions(seed=1)
    reference = Predictions(reference.logits, model.y)
    found = agreement(model, reference)
    assert found.same == pytest.approx((model.pred == reference.pred).double().mean().item())
    kl = torch.nn.functional.kl_div(
        model.logits.double().log_softmax(1),
        reference.logits.double().softmax(1),
        reduction="batchmean",
    )
    assert found.kl == pytest.approx(kl.item())
    gain = found.mended.sum() - found.broken.sum()
    assert gain == model.correct.sum() - reference.correct.sum()
    same = agreement(model, model)
    assert same.same == 1 and same.kl == 0 and not same.mended.any() and not same.broken.any()


def test_agreement_refuses_other_samples() -> None:
    a, b = random_predictions(seed=0), random_predictions(seed=1)
    with pytest.raises(ValueError, match="not about the same samples"):
        agreement(a, b)
    with pytest.raises(ValueError, match="reference"):
        agreement(a, random_predictions(n=10))


@pytest.mark.parametrize(
    ("logits", "y", "says"),
    [
        (torch.zeros(3, 2), torch.zeros(2, dtype=torch.long), r"\[3, 2\] and \[2\]"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.long), "no predictions"),
        (torch.zeros(2, 2), torch.tensor([0, 2]), r"0\.\.1"),
        (torch.zeros(2, 2), torch.tensor([0, -1]), r"0\.\.1"),
        (torch.tensor([[0.0, 1.0], [float("nan"), 0.0]]), torch.tensor([0, 1]), r"e\.g\. \[1\]"),
    ],
)
def test_bad_predictions_are_refused(logits: torch.Tensor, y: torch.Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Predictions(logits, y)


def test_unknown_metric_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="macro_f1"):
        evaluate("f1", random_predictions())


def test_the_names_are_known_without_torch() -> None:
    code = "import sys, bequeath.metrics.names; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
