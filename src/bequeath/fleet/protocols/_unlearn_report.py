"""The figures of unlearning, from what two runs left: this one and the gold's. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from bequeath.evidence.record import Curve, Metric, Table
from bequeath.methods.unlearn import METRICS, Step
from bequeath.metrics import membership

Found = Mapping[str, Tensor]

LABELS = {
    "gold_gap": "largest relative distance of the head from the retrained one",
    "agreement": "agreement with the retrained model",
    "gold_divergence": "total variation from the retrained model's probabilities",
    "retain_accuracy": "accuracy on what is held",
    "forget_accuracy": "accuracy on what was forgotten",
    "forget_accuracy_gap": "accuracy on the forgotten, distance from retrained",
    "mia_advantage": "advantage of the loss attack on the forgotten",
    "mia_auc": "AUC of the loss attack on the forgotten",
    "mia_gap": "advantage of the loss attack, distance from retrained",
    "lira_auc": "AUC of LiRA (offline) on the forgotten",
    "lira_gap": "AUC of LiRA, distance from retrained",
    "seconds_per_request": "time per request",
}
UNITS = {"seconds_per_request": "s", "gold_gap": "", "gold_divergence": "share"}
SHARES = ("retain_accuracy", "forget_accuracy", "agreement", "forget_accuracy_gap")
MOST_ROWS = 500


@dataclass
class Stage:
    """What a method had after a step: its seconds, predictions of the probe, W if it has one."""

    step: Step
    seconds: float
    pred: Tensor
    head: Tensor | None

    def tensors(self) -> dict[str, Tensor]:
        kept = {f"{self.step.name}/pred": self.pred}
        return kept if self.head is None else {**kept, f"{self.step.name}/head": self.head}

    def gap(self, gold: Found | None) -> float | None:
        """max |W - W_gold| / max |W_gold|."""
        theirs = None if gold is None else gold.get(f"{self.step.name}/head")
        if self.head is None or theirs is None or theirs.shape != self.head.shape:
            return None
        return float((self.head - theirs).abs().max() / theirs.abs().max())

    def agreement(self, gold: Found | None) -> float | None:
        theirs = None if gold is None else gold.get(f"{self.step.name}/pred")
        return None if theirs is None else float((self.pred == theirs).double().mean())


def attacks(
    logits: Tensor, y_in: Tensor, y_out: Tensor, shadows: Tensor | None
) -> dict[str, Tensor]:
    """How well an attacker tells the forgotten from samples never seen, classes balanced.

    logits: [F + N, K], the forgotten first. y_in [F], y_out [N]. shadows: [S, F + N, K] of models
    that saw neither. Nothing when no class is on both sides.
    """
    inside, outside = membership.balanced(y_in, y_out)
    if not len(inside):
        return {}
    y = torch.cat([y_in, y_out])
    outside = outside + len(y_in)
    scores = {"mia": -membership.cross_entropy(logits, y)}
    if shadows is not None:
        others = torch.stack([membership.scaled_confidence(one, y) for one in shadows])
        scores["lira"] = membership.lira_offline(membership.scaled_confidence(logits, y), others)
    found = {}
    for name, score in scores.items():
        told = membership.attack(score[inside], score[outside], at=(0.01,))
        found[f"{name}_auc"] = torch.tensor(told.auc)
        found[f"{name}_advantage"] = torch.tensor(told.advantage)
        found[f"{name}_tpr_at_1"] = torch.tensor(told.tpr_at[0.01])
    found["attacked"] = torch.tensor(float(len(inside)))
    return found


def figures(
    mine: Found, gold: Found | None, stages: Sequence[Stage], *, resumed: bool
) -> dict[str, tuple[float, Tensor | None]]:
    """metric -> (value, its terms over the judging samples or None). The unknown is absent."""
    found: dict[str, tuple[float, Tensor | None]] = {}
    for name in ("retain", "forget"):
        if len(mine[name]):
            found[f"{name}_accuracy"] = (float(mine[name].mean()), None)
    for name in ("mia_advantage", "mia_auc", "lira_auc"):
        if name in mine:
            found[name] = (float(mine[name]), None)
    if not resumed and (usual := seconds(stages)) is not None:
        found["seconds_per_request"] = (usual, None)  # what a stopped run had done comes at once
    if gold is None:
        return found
    for name, terms in _beside(mine["logits"], gold["logits"]).items():
        found[name] = (float(terms.mean()), terms)
    for name, of in (("mia_gap", "mia_advantage"), ("lira_gap", "lira_auc")):
        if of in mine and of in gold:
            found[name] = (abs(float(mine[of]) - float(gold[of])), None)
    if len(mine["forget"]):
        apart = float((mine["forget"].mean() - gold["forget"].mean()).abs())
        found["forget_accuracy_gap"] = (apart, None)
    if gaps := _gaps(stages, gold):
        found["gold_gap"] = (max(gaps), None)
    return found


def seconds(stages: Sequence[Stage]) -> float | None:
    """The median time of a request."""
    forgot = [stage.seconds for stage in stages if not stage.step.learns]
    return median(forgot) if forgot else None


def _beside(mine: Tensor, gold: Tensor) -> dict[str, Tensor]:
    apart = (mine.double().softmax(1) - gold.double().softmax(1)).abs().sum(1) / 2
    return {
        "agreement": (mine.argmax(1) == gold.argmax(1)).double(),
        "gold_divergence": apart,
    }


def _gaps(stages: Sequence[Stage], gold: Found | None) -> list[float]:
    """From the first request on, in order."""
    began = next((i for i, stage in enumerate(stages) if not stage.step.learns), len(stages))
    known = (stage.gap(gold) for stage in stages[began:])
    return [gap for gap in known if gap is not None]


def metrics(
    found: Mapping[str, tuple[float, Tensor | None]], stages: Sequence[Stage], mine: Found
) -> dict[str, Metric]:
    requests = sum(not stage.step.learns for stage in stages)
    counted = {
        "gold_gap": (requests, "requests"),
        "seconds_per_request": (requests, "requests"),
        "retain_accuracy": (len(mine["retain"]), "samples held"),
        "forget_accuracy": (len(mine["forget"]), "samples forgotten"),
        "forget_accuracy_gap": (len(mine["forget"]), "samples forgotten"),
    }
    attacked = (int(mine.get("attacked", torch.tensor(0.0))), "samples forgotten, as many unseen")
    said = {}
    for name, (value, terms) in found.items():
        n, counts = counted.get(name, attacked if terms is None else (len(terms), "test samples"))
        said[name] = Metric(
            value=value,
            direction=METRICS[name],
            n=n,
            counts=counts,
            unit="share" if name in SHARES else UNITS.get(name),
            label=LABELS[name],
            terms=terms is not None,
        )
    return said


def notes(
    found: Mapping[str, tuple[float, Any]],
    stages: Sequence[Stage],
    mine: Found,
    gold: Found | None,
) -> dict[str, Any]:
    """Numbers that a claim may ask for besides the metrics."""
    said: dict[str, Any] = {f"measured_{name}": value for name, (value, _) in found.items()}
    if gaps := _gaps(stages, gold):
        said |= {"gap_first": gaps[0], "gap_last": gaps[-1]}
        said["gap_growth"] = gaps[-1] / gaps[0] if gaps[0] > 0 else 0.0
    theirs = (gold or {}).get("seconds")
    if "seconds_per_request" in found and theirs is not None and float(theirs) > 0:
        said["speedup"] = float(theirs) / found["seconds_per_request"][0]
    agreed = [a for stage in stages if (a := stage.agreement(gold)) is not None]
    if agreed:
        said["least_agreement"] = min(agreed)
    for name in ("mia_tpr_at_1", "lira_tpr_at_1"):
        if name in mine:
            said[name] = float(mine[name])
    said["requests"] = sum(not stage.step.learns for stage in stages)
    said["forgotten"] = sum(len(stage.step.idx) for stage in stages if not stage.step.learns)
    return said


def tables(stages: Sequence[Stage], gold: Found | None) -> dict[str, Table]:
    rows: list[list[float | str | None]] = [
        [
            "learn" if stage.step.learns else "forget",
            float(len(stage.step.idx)),
            stage.seconds,
            stage.gap(gold),
            stage.agreement(gold),
        ]
        for stage in stages[:MOST_ROWS]
    ]
    if not rows:
        return {}
    return {
        "requests": Table(
            columns=["step", "samples", "seconds", "gap of the head", "agreement"],
            rows=rows,
            row_names=[stage.step.name for stage in stages[:MOST_ROWS]],
            title="Request by request, beside the retrained model",
            note="gap: max |W - W'| / max |W'|; agreement: share of equal predictions on a probe "
            "of the judging data. Seconds are those of the method, its measurement left out.",
        )
    }


def curves(stages: Sequence[Stage], gold: Found | None) -> dict[str, Curve]:
    """The gap over the requests, where it is known throughout."""
    gaps = [stage.gap(gold) for stage in stages]
    if len(stages) < 2 or any(gap is None for gap in gaps):
        return {}
    drawn = [gap if gap else None for gap in gaps]  # a gap of 0 has no place on a log scale
    return {
        "gap": Curve(
            x=[float(i) for i in range(len(stages))],
            y=drawn,
            x_label="steps since all tasks were learnt",
            y_label="gap of the head",
            title="Distance from the retrained head",
            note="max |W - W'| / max |W'|, W' retrained without what was forgotten by then",
            y_log=True,
        )
    }
