"""Does what is stored still say what the teacher says? A sample is asked again at each use."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bequeath.kernel.errors import Problem, RunError
from bequeath.kernel.files import digest
from bequeath.signals.cache import Cache, Rows
from bequeath.signals.outputs import TOP
from bequeath.signals.signal import Batch, Speak

SAMPLE = 32
# Largest difference allowed, as a share of the largest answer; and least cosine of an answer.
# A batch of another size takes other kernels: 1e-6 in fp32 on a CPU, 1e-3 with TF32 or bf16.
TOLERANCE = {"fp32": (2e-3, 0.9999), "bf16": (5e-2, 0.999), "fp16": (2e-2, 0.999)}


@dataclass(frozen=True)
class Difference:
    """Of one output, over the sample: absolute, as a share of the largest answer, and by angle."""

    output: str
    largest: float
    relative: float
    cosine: float

    def says(self) -> str:
        return (
            f"`{self.output}`: largest difference {self.largest:.3g} "
            f"({self.relative:.2g} of the largest answer), least cosine {self.cosine:.6f}"
        )


def chosen(cache: Cache, views: int, salt: int) -> tuple[np.ndarray, np.ndarray]:
    """(idx, view) of the sample: a function of the key and `salt`, of no global generator."""
    n = cache.parts["n"]
    rng = np.random.default_rng(int(digest(cache.key, str(salt)), 16))
    return rng.integers(0, n, SAMPLE), rng.integers(0, views, SAMPLE)


def verify(
    cache: Cache,
    stored: list[Rows],
    ask: Speak,
    fetch: Callable[[torch.Tensor, torch.Tensor], Batch],
    *,
    precision: str,
    made_with: Iterable[dict[str, Any]] = (),
    device: Any = "cpu",
    salt: int = 0,
) -> list[Difference]:
    """Ask the live teacher about a sample of (idx, view) and compare with what is stored.

    made_with: the surroundings in which it was stored, to name a cause. Returns the measured
    differences. RunError S703 when they are beyond rounding.
    """
    idx, view = chosen(cache, len(stored), salt)
    said = ask(fetch(torch.from_numpy(idx), torch.from_numpy(view))).outputs()
    found = []
    for name, values in said.items():
        old = np.stack([stored[v][name][i] for i, v in zip(idx, view)])
        now = values.cpu().numpy()
        if name == TOP[1]:
            old, now = _in_order(old, now)
        found.append(difference(name, old, now))
    allowed, cosine = TOLERANCE[precision]
    if any(not (d.relative <= allowed and d.cosine >= cosine) for d in found):
        raise RunError(_not_the_same(cache, found, made_with, surroundings(device)))
    return found


def _in_order(old: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which words [B, ..., k] were the likeliest, each row sorted; 1 where a row agrees, else 0.

    Rounding swaps words that are as likely as each other, the last also with one that is not
    there: a row agrees when all its words but one are the same. With k = 1 the log_p decides.
    """
    a, b = (np.sort(x, axis=-1) for x in (old, new))
    same = np.array([len(np.setdiff1d(p, q)) <= 1 for p, q in zip(_rows(a), _rows(b))], dtype=float)
    return np.ones((1, len(same))), same[None]


def _rows(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, x.shape[-1])


def difference(name: str, old: np.ndarray, new: np.ndarray) -> Difference:
    """Compare two arrays [B, ...] of answers."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (old, new))
    scale = max(np.abs(a).max(), np.abs(b).max(), 1e-30)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    # an answer of almost nothing has no direction to speak of
    told = lengths > (1e-3 * scale) ** 2
    cosine = (a * b).sum(1)[told] / lengths[told]
    largest = float(np.abs(a - b).max())
    return Difference(name, largest, largest / scale, float(cosine.min()) if told.any() else 1.0)


def surroundings(device: Any) -> dict[str, Any]:
    """What else can change a number: library, device, threads, kernels."""
    kind = torch.device(device).type
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if kind == "cuda" else kind,
        "threads": torch.get_num_threads(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }


def _not_the_same(
    cache: Cache, found: list[Difference], made_with: Iterable[dict[str, Any]], now: dict[str, Any]
) -> Problem:
    differ = (
        f"{k}: {then.get(k)} then, {now[k]} now"
        for then in made_with
        for k in now
        if then.get(k) != now[k]
    )
    other = list(dict.fromkeys(differ))
    if other:
        cause = f"likely cause: it was made under other conditions ({'; '.join(other)})"
    else:
        cause = (
            "likely cause: the model's code changed, or its answer to a sample is random or "
            "depends on the rest of the batch (the tensors are the same)"
        )
    return Problem(
        "S703",
        f"the teacher no longer gives the answers kept in the cache `{cache.key}`",
        notes=(*(d.says() for d in found), cause),
        remedies=(
            f"remove it, it will be made again: `bequeath cache --clear {cache.key}`",
            "set `train.cache: off` if the teacher answers at random",
        ),
    )
