"""What a finished model is worth: predictions on sealed labels, metrics, size, latency.

Only this room opens the evaluation labels, and only after the predictions exist.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bequeath.blocks.prototypes import class_means
from bequeath.blocks.taps import Tap, Taps
from bequeath.evidence.record import Metric, Model
from bequeath.given.bound import BoundModel, hash_tensors
from bequeath.kernel.errors import Problem, RunError
from bequeath.kernel.own_code import place_in
from bequeath.metrics.classification import Predictions, evaluate

if TYPE_CHECKING:
    from bequeath.given.samples import Samples

BATCH = 256
LATENCY_SECONDS = 0.3


def predict(
    model: BoundModel, samples: Samples, device: torch.device, *, embedding: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Logits [N, K] and, if asked and the head is known, the head's inputs [N, d]; on the CPU.

    RunError T692 where they are not finite.
    """
    taps = {"embedding": Tap(model.facts.head, "input")} if embedding and model.facts.head else {}
    logits, features = [], []
    was_training = model.training
    model.eval()
    with torch.inference_mode(), Taps(model.module, taps) as tap:
        for idx in torch.arange(len(samples), device=device).split(BATCH):
            logits.append(model(samples.fetch(idx)).float().cpu())
            if taps:
                features.append(tap["embedding"].flatten(1).float().cpu())
    model.train(was_training)
    found = torch.cat(logits)
    bad = (~found.isfinite()).flatten(1).any(dim=1).nonzero().flatten()
    if len(bad):
        message = f"the model's answers are not finite for {len(bad)} of {len(found)} samples"
        place = place_in(type(model.module).forward)
        notes = (f"the first are {bad[:10].tolist()}",)
        raise RunError(Problem("T692", message, notes=notes, place=place))
    return found, torch.cat(features) if features else None


def measure(logits: Tensor, y: Tensor, names: tuple[str, ...]) -> dict[str, Metric]:
    """metric name -> its record entry. logits [N, K], y [N], both on the CPU."""
    predictions = Predictions(logits, y)
    measured = {name: evaluate(name, predictions) for name in names}
    return {
        name: Metric(value=float(m.value), direction=m.direction, n=m.n, terms=m.terms is not None)
        for name, m in measured.items()
    }


def sample_terms(logits: Tensor, y: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
    """metric name -> its per-sample terms [N], for those metrics that are a mean over samples."""
    predictions = Predictions(logits, y)
    measured = {name: evaluate(name, predictions).terms for name in names}
    return {name: terms for name, terms in measured.items() if terms is not None}


def scores(logits: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The answers kept in `predictions.parquet`, and their `idx`. logits [N, K], y [N], CPU."""
    log_p = logits.double().log_softmax(dim=1)
    confidence, pred = log_p.max(dim=1)
    nll = -log_p.gather(1, y[:, None])[:, 0]
    return {
        "idx": torch.arange(len(y)),
        "label": y,
        "pred": pred,
        "confidence": confidence.exp(),
        "p_label": (-nll).exp(),
        "nll": nll,
    }


def describe(model: BoundModel, samples: Samples, device: torch.device) -> Model:
    """Size and latency of a model on the machine it ran on."""
    batch = min(64, len(samples))
    return Model(
        architecture=model.facts.architecture or type(model.module).__name__,
        parameters=sum(p.numel() for p in model.module.parameters()),
        bytes=sum(t.numel() * t.element_size() for t in model.module.state_dict().values()),
        latency_ms=_latency(model, samples, 1, device),
        latency_batch_ms=_latency(model, samples, batch, device),
        batch=batch,
        hash=hash_tensors(model.module),
    )


def _latency(model: BoundModel, samples: Samples, batch: int, device: torch.device) -> float:
    """Median milliseconds of a forward pass, the model's own preprocessing included."""
    inputs = samples.fetch(torch.arange(batch, device=device))
    model.eval()

    def once() -> float:
        start = time.perf_counter()
        model(inputs)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return 1000 * (time.perf_counter() - start)

    with torch.inference_mode():
        once()
        return _median_within(once, LATENCY_SECONDS)


def _median_within(once: Callable[[], float], seconds: float) -> float:
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < 3 or (time.perf_counter() < until and len(times) < 50):
        times.append(once())
    return sorted(times)[len(times) // 2]


def feature_geometry(f_s: Tensor, f_t: Tensor, y: Tensor, n_classes: int) -> dict[str, float]:
    """Norm and direction of student features beside the teacher's, on the evaluation data.

    f_s [N, d], f_t [N, d'], y [N]. `feature_norm_ratio`: mean |f_S| / mean |f_T|.
    `feature_cosine`: mean cos(f_S, c_y), c the teacher's class means there (only for d = d').
    `feature_scatter`: within-class variance of unit features over their total variance, the
    share of the spread that is not between classes.
    """
    notes = {"feature_norm_ratio": float(f_s.norm(dim=1).mean() / f_t.norm(dim=1).mean())}
    if f_s.shape[1] == f_t.shape[1]:
        centres = class_means([(f_t, y)], n_classes)
        cosine = torch.nn.functional.cosine_similarity(f_s, centres[y], dim=1)
        notes["feature_cosine"] = float(cosine.mean())
    unit = torch.nn.functional.normalize(f_s.double(), dim=1)
    within = unit - class_means([(unit, y)], n_classes)[y]
    total = unit - unit.mean(dim=0)
    spread = float(total.square().sum())
    notes["feature_scatter"] = float(within.square().sum()) / spread if spread > 0 else 0.0
    return notes
