"""What a fit measures of itself as it runs: the terms, the first non-finite number, log lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

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
    """

    def __init__(self, device: torch.device, precision: str):
        self.device = device
        self.lag = 1 if device.type == "cpu" else _DEVICE_LAG
        self.scaled = precision == "fp16"
        self.sums: dict[str, list[float]] = {}
        self.samples = 0
        self.norm: float | None = None
        self.balance = Balance()
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
            if not math.isfinite(value) and not (self.scaled and not name):
                raise RunError(_problem(step, idx, name, value))
            if name:
                sums = self.sums.setdefault(name, [0.0, 0.0, 1.0])
                sums[0] += value
                sums[1] += float(count)
                sums[2] = float(weight)
            else:
                self.norm = value

    def means(self, add: Callable[[Tensor], Tensor] | None = None) -> dict[str, float]:
        """Mean of each term since the last `reset`. add: sums a tensor over all processes."""
        self.flush()
        names = sorted(self.sums)
        if add is not None and names:
            rows = [self.sums[n][:2] for n in names]
            table = torch.tensor(rows, device=self.device, dtype=torch.float64)
            for name, (value, count) in zip(names, add(table).tolist()):
                self.sums[name][:2] = [value, count]
        return {name: s[0] / s[1] if s[1] else 0.0 for name, s in self.sums.items()}

    def line(self, means: Mapping[str, float]) -> dict[str, Any]:
        """The part of a log line that the meter knows."""
        loss = sum(self.sums[name][2] * mean for name, mean in means.items())
        terms: dict[str, dict[str, float]] = {name: {"value": mean} for name, mean in means.items()}
        for name, share in self.balance.shares.items():
            if name in terms:
                terms[name]["share"] = share
        line: dict[str, Any] = {"loss": loss, "terms": terms}
        if self.balance.cosines:
            line["cosines"] = self.balance.cosines
        if self.norm is not None and math.isfinite(self.norm):
            line["grad_norm"] = self.norm
        return line

    def reset(self) -> None:
        self.sums, self.samples, self.balance = {}, 0, Balance()

    def state(self) -> dict[str, Any]:
        self.flush()
        return {"sums": self.sums, "samples": self.samples, "balance": asdict(self.balance)}

    def load(self, state: Mapping[str, Any]) -> None:
        self.sums, self.samples = dict(state["sums"]), state["samples"]
        self.balance = Balance(**state["balance"])


def _numbers(values: list[Tensor]) -> list[float]:
    if values[0].device.type == "cpu":
        return [value.item() for value in values]
    return torch.stack([value.float() for value in values]).tolist()


def _problem(step: int, idx: Tensor, name: str, value: float) -> Problem:
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
