"""What a fit measures of itself as it runs: the terms, the first non-finite number, log lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bequeath.kernel.errors import Problem, RunError
from bequeath.train.gradient import Balance
from bequeath.train.terms import Term

_DEVICE_LAG = 16


class Meter:
    """Means of the terms since the last line of the log, and a guard against non-finite numbers.

    On the CPU every number is looked at before the optimizer uses it. On an accelerator looking
    would make the host wait, so numbers are kept there and looked at every sixteen steps; the error
    still names the first bad step.

    Of several runs at once every value is [runs], and so are the means.
    """

    def __init__(self, device: torch.device, precision: str):
        self.device = device
        self.lag = 1 if device.type == "cpu" else _DEVICE_LAG
        self.scaled = precision == "fp16"
        self.sums: dict[str, list[Any]] = {}
        self.samples = 0
        self.norm: Any = None
        self.balance = [Balance()]  # of each run
        self._waiting: list[tuple[int, Tensor, str, Tensor, float | Tensor, float | Tensor]] = []
        self._idx: list[Tensor] = []
        self._steps = 0

    def terms(self, step: int, idx: Tensor, terms: Mapping[str, Term]) -> None:
        """Take the terms of one micro-batch of step `step` (from 1)."""
        self.samples += idx.numel()
        self._idx.append(idx)
        for name, term in terms.items():
            value = term.value.detach()
            self._waiting.append((step, idx, name, value, term.count, term.weight))

    def step(self, step: int, norm: Tensor | None) -> None:
        """All of step `step` is in; norm: of its gradient. Raises RunError T601 or T602."""
        if norm is not None:
            idx = self._idx[0] if len(self._idx) == 1 else torch.cat(self._idx)
            self._waiting.append((step, idx, "", norm, 1.0, 1.0))
        self._idx = []
        self._steps += 1
        if self._steps >= self.lag:
            self.flush()

    def flush(self) -> None:
        """Look at every number that waits. Raises RunError T601 or T602."""
        waiting, self._waiting, self._steps = self._waiting, [], 0
        if not waiting:
            return
        values = _numbers([value for _, _, _, value, _, _ in waiting])
        for (step, idx, name, _, count, weight), value in zip(waiting, values):
            if not _finite(value) and not (self.scaled and not name):
                raise RunError(_problem(step, idx, name, value))
            if name:
                sums = self.sums.setdefault(name, [0.0, 0.0, 1.0])
                sums[0] = sums[0] + value
                sums[1] = sums[1] + _number(count)
                sums[2] = _number(weight)
            else:
                self.norm = value

    def means(self, add: Callable[[Tensor], Tensor] | None = None) -> dict[str, Any]:
        """Mean of each term since the last `reset`. add: sums a tensor over all processes."""
        self.flush()
        names = sorted(self.sums)
        if add is not None and names:
            rows = [self.sums[n][:2] for n in names]
            table = torch.tensor(rows, device=self.device, dtype=torch.float64)
            for name, (value, count) in zip(names, add(table).tolist()):
                self.sums[name][:2] = [value, count]
        return {name: _ratio(s[0], s[1]) for name, s in self.sums.items()}

    def line(self, means: Mapping[str, Any], run: int | None = None) -> dict[str, Any]:
        """The part of a log line that the meter knows. run: of which of several runs."""
        own = {name: _of(mean, run) for name, mean in means.items()}
        loss = sum(_of(self.sums[name][2], run) * mean for name, mean in own.items())
        terms: dict[str, dict[str, float]] = {name: {"value": mean} for name, mean in own.items()}
        balance = self.balance[(run or 0) % len(self.balance)]
        for name, share in balance.shares.items():
            if name in terms:
                terms[name]["share"] = share
        line: dict[str, Any] = {"loss": loss, "terms": terms}
        if balance.cosines:
            line["cosines"] = balance.cosines
        if self.norm is not None and math.isfinite(_of(self.norm, run)):
            line["grad_norm"] = _of(self.norm, run)
        return line

    def reset(self) -> None:
        self.sums, self.samples, self.balance = {}, 0, [Balance()]

    def state(self) -> dict[str, Any]:
        self.flush()
        sums = {name: [_listed(v) for v in s] for name, s in self.sums.items()}
        balance = [asdict(one) for one in self.balance]
        return {"sums": sums, "samples": self.samples, "balance": balance}

    def load(self, state: Mapping[str, Any]) -> None:
        self.sums = {name: [_unlisted(v) for v in s] for name, s in state["sums"].items()}
        self.samples = state["samples"]
        self.balance = [Balance(**one) for one in state["balance"]]


def _numbers(values: list[Tensor]) -> list[Any]:
    """Each as a number, or as an array [runs]; from another device in one transfer."""
    if values[0].device.type != "cpu":
        sizes = [value.numel() for value in values]
        flat = torch.cat([value.reshape(-1).float() for value in values]).cpu()
        values = [part.view(v.shape) for part, v in zip(flat.split(sizes), values)]
    return [value.item() if value.dim() == 0 else value.double().numpy() for value in values]


def _number(value: float | Tensor) -> Any:
    if isinstance(value, Tensor) and value.dim():
        return value.detach().cpu().double().numpy()
    return float(value)


def _finite(value: Any) -> bool:
    return math.isfinite(value) if isinstance(value, float) else bool(np.isfinite(value).all())


def _ratio(value: Any, count: Any) -> Any:
    if isinstance(count, float):
        return value / count if count else np.zeros(value.shape) if np.ndim(value) else 0.0
    return np.divide(value, count, out=np.zeros_like(count), where=count > 0)


def _of(value: Any, run: int | None) -> float:
    """The number of one run."""
    return float(value[run]) if isinstance(value, np.ndarray) else value


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _unlisted(value: Any) -> Any:
    return np.array(value) if isinstance(value, list) else value


def _problem(step: int, idx: Tensor, name: str, value: Any) -> Problem:
    idx = idx.reshape(-1)
    ids = idx[:10].tolist()
    more = f" and {idx.numel() - 10} more" if idx.numel() > 10 else ""
    notes = (f"samples of the batch (`idx`): {', '.join(map(str, ids))}{more}",)
    remedies = (
        "lower `train.optimizer.lr`, or set `train.clip: 1.0`",
        "look at these samples: a value far outside the others' range is enough",
    )
    if name:
        message = f"the loss term `{name}` became {value} at step {step}"
        return Problem("T601", message, notes=notes, remedies=remedies)
    message = f"the gradient became non-finite at step {step} while the loss was finite"
    return Problem("T602", message, notes=notes, remedies=remedies)
