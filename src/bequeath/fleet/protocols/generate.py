"""Generators are judged by what they make, seen through a classifier that no method sees.

Each makes the same number of samples from the same noise. Real and made samples pass through the
same eyes: real ones are brought to what the generator works on and back, so that a generator of
small images is held against small images, both resized to what the judge sees.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bequeath.blocks.diffusion import generator
from bequeath.evidence.record import SHARE, Metric, Table
from bequeath.fleet.evaluate import describe, predict
from bequeath.fleet.gates import Opened
from bequeath.fleet.measured import Measured
from bequeath.given.bound import BoundModel
from bequeath.given.samples import ArraySamples, Samples
from bequeath.job.job import Arm
from bequeath.kernel.errors import Problem
from bequeath.methods.contract import Outcome
from bequeath.methods.generate import FAMILY, Protocol
from bequeath.metrics import generation
from bequeath.train.context import Context

SHEET, SHEET_SIDE, ZOOM = "samples.png", 10, 3
SAMPLES = "samples.npz"
SHARES = ("precision", "recall", "coverage", "class_entropy", "class_gap", "confidence")
REAL = ("recall", "coverage")  # these are means over real samples
TRAINED_ELSEWHERE = ("file", "py")


def problems(opened: Opened) -> Iterator[Problem]:
    """G471 to G474."""
    said: Any = opened.job.protocol
    judge = opened.model_facts["judge"]
    ref = opened.job.models["judge"].ref
    if judge.head is None:
        yield Problem("G471", "the classifier of `models.judge` is not known", ("models", "judge"))
    elif judge.hash is None and ref.partition(":")[0] not in TRAINED_ELSEWHERE:
        yield Problem("G471", "`models.judge` has not been trained", ("models", "judge"))
    if "trajectory_error" in opened.job.evaluate.metrics and "teacher" not in opened.model_facts:
        at = opened.job.evaluate.metrics.index("trajectory_error")
        message = "`trajectory_error` needs a teacher"
        yield Problem("G472", message, ("evaluate", "metrics", at))
    fewest = min(said.samples, len(opened.judge))
    if fewest <= said.neighbours:
        message = f"{fewest} samples are too few for {said.neighbours} neighbours"
        at_role: tuple[str, ...] = ("data", opened.job.evaluate.data)
        yield Problem("G473", message, ("protocol",) if fewest == said.samples else at_role)
    shapes = {role: opened.model_facts[role].input for role in ("teacher", "student")
              if role in opened.model_facts}  # fmt: skip
    if len(set(shapes.values())) > 1:
        parts = [f"{role}: {list(shape or ())}" for role, shape in shapes.items()]
        message = f"samples differ in shape: {', '.join(parts)}"
        yield Problem("G474", message, ("models", "student"))


def measure_reference(opened: Opened, model: BoundModel) -> Measured:
    """The teacher as it came, in as many steps as it says, or as the protocol says."""
    said: Any = opened.job.protocol
    net = generator.diffusion(model, "teacher")
    if said.steps is not None and net.sampler == "ddim":
        generator.walking(model, sampler="ddim", steps=said.steps)
    return _measure(opened, model)


class Run:
    """One generator."""

    offer: Any = None

    def __init__(self, opened: Opened, arm: Arm, seed: int):
        self.opened = opened

    def measure(self, outcome: Outcome, ctx: Context) -> Measured:
        model: Any = outcome.models["model"]
        return _measure(self.opened, model)


def _measure(opened: Opened, model: BoundModel) -> Measured:
    said: Any = opened.job.protocol
    net = generator.diffusion(model, "model")
    noise = generator.noises(said.samples, net.shape, said.noise)
    generator.draw(model, noise[:2], opened.device)  # what only the first call costs
    began = time.perf_counter()
    made = generator.draw(model, noise, opened.device)
    seconds = (time.perf_counter() - began) / len(made)
    samples = generator.as_data(model, made, opened.judge.shape, opened.judge.kind)
    values, terms, table = _judged(opened, model, samples, said)
    values |= {"evaluations": float(net.evaluations), "seconds_per_sample": seconds}
    names = opened.job.evaluate.metrics
    if "trajectory_error" in names:
        terms["trajectory_error"] = _apart(opened, made, noise, said.walk)
        values["trajectory_error"] = float(terms["trajectory_error"].mean())
    measured = {name: _metric(name, values[name], terms, opened, said) for name in names}
    return Measured(
        metrics=measured,
        idx=torch.arange(len(made)),
        terms={name: terms[name] for name in names if name in terms},
        model=describe(model, opened.judge, opened.device),
        tables={"classes": table},
        notes=_notes(values, names),
        save=lambda folder: _save(samples, folder),
    )


def _notes(values: dict[str, float], names: tuple[str, ...]) -> dict[str, float]:
    """What was measured and not asked for; and the Frechet distance as a logarithm, since what is
    said of it is said in times."""
    notes = {name: value for name, value in values.items() if name not in names}
    return notes | {"log_frechet": math.log(max(values["frechet"], 1e-12))}


def _judged(
    opened: Opened, model: BoundModel, samples: ArraySamples, said: Protocol
) -> tuple[dict[str, float], dict[str, Tensor], Table]:
    """(values by metric, terms [N] of those that are means over made samples, classes)."""
    judge = opened.load("judge")
    real = _through(model, opened.judge, opened.device)
    answers, features = predict(judge, samples.to(opened.device), opened.device, embedding=True)
    theirs, real_features = predict(judge, real.to(opened.device), opened.device, embedding=True)
    assert features is not None and real_features is not None
    some = torch.linspace(0, len(real) - 1, min(len(real), len(samples))).round().long()
    balls = generation.neighbourhoods(real_features[some], features, said.neighbours)
    p, q = answers.double().softmax(1), theirs.double().softmax(1)
    terms = {
        "precision": balls.precision,
        "density": balls.density,
        "confidence": p.max(dim=1).values,
    }
    values = {name: float(term.mean()) for name, term in terms.items()}
    values |= {
        "frechet": generation.frechet(real_features, features),
        "recall": float(balls.recall.mean()),
        "coverage": float(balls.coverage.mean()),
        "class_entropy": generation.class_entropy(p),
        "class_gap": generation.class_gap(q.argmax(1), p.argmax(1)),
    }
    return values, terms, _classes(judge, p, q)


def _classes(judge: BoundModel, p: Tensor, q: Tensor) -> Table:
    k = p.shape[1]
    shares = [torch.bincount(x.argmax(1), minlength=k).double() / len(x) for x in (q, p)]
    names = judge.facts.classes or tuple(str(i) for i in range(k))
    return Table(
        columns=[str(name)[:200] for name in names[:200]],
        rows=[share[:200].tolist() for share in shares],
        row_names=["real", "made"],
        kind="matrix",
        title="What the judge takes the samples for",
        unit=SHARE,
    )


def _through(model: BoundModel, samples: Samples, device: torch.device) -> ArraySamples:
    """Real samples as the generator works on them, as data again."""
    seen = []
    for idx in torch.arange(len(samples), device=device).split(generator.BATCH):
        eaten: Any = model.preprocess(samples.fetch(idx), device)
        seen.append(eaten.cpu())
    return generator.as_data(model, torch.cat(seen), samples.shape, samples.kind)


def _apart(opened: Opened, made: Tensor, noise: Tensor, steps: int) -> Tensor:
    """Root mean square difference [N] to the end of the teacher's walk from the same noise."""
    teacher = generator.walking(opened.load("teacher"), sampler="ddim", steps=steps)
    ends = generator.draw(teacher, noise, opened.device)
    return (made - ends).double().square().flatten(1).mean(1).sqrt()


def _metric(
    name: str, value: float, terms: dict[str, Tensor], opened: Opened, said: Protocol
) -> Metric:
    real = min(said.samples, len(opened.judge))
    unit = SHARE if name in SHARES else {"seconds_per_sample": "s"}.get(name)
    return Metric(
        value=value,
        direction=FAMILY.metrics[name],
        n=real if name in REAL else said.samples,
        counts="real samples" if name in REAL else "made samples",
        unit=unit,
        label={"frechet": "Frechet distance", "evaluations": "calls of the network"}.get(name),
        terms=name in terms,
    )


def _save(samples: ArraySamples, folder: Path) -> None:
    """A sheet of the first samples; vectors as numbers."""
    first = samples.fetch(torch.arange(min(len(samples), SHEET_SIDE**2)))["x"].cpu().numpy()
    if samples.kind != "image" or first.shape[-1] not in (1, 3):
        np.savez(folder / SAMPLES, x=first)
        return
    n, height, width, channels = first.shape
    rows = -(-n // SHEET_SIDE)
    sheet = np.zeros((rows * (height + 1), SHEET_SIDE * (width + 1), channels), np.uint8)
    for i, one in enumerate(first):
        top, left = i // SHEET_SIDE * (height + 1), i % SHEET_SIDE * (width + 1)
        sheet[top : top + height, left : left + width] = one
    image = Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
    zoom = ZOOM if max(height, width) <= 64 else 1
    size = (image.width * zoom, image.height * zoom)
    image.resize(size, Image.Resampling.NEAREST).save(folder / SHEET)
