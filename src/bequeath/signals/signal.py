"""What a teacher says about a batch. A loss does not know whether it was said now or stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from bequeath.kernel.errors import Problem, RunError

Batch = dict[str, Any]


@dataclass(frozen=True)
class Signal:
    """logits: float32 [B, K]. features: name -> float32 tensor [B, ...]. No gradients."""

    logits: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)

    def outputs(self) -> dict[str, Tensor]:
        """Everything by one name each: `logits` and the features."""
        return {"logits": self.logits, **self.features}


class Teacher(Protocol):
    """What `signals.teacher.teacher` returns, live or cached.

    stats: {"hit": bool, "saved_s": float, "bytes": int} of the cache, kept up to date while
    answers are served; None when the teacher is live.
    """

    @property
    def stats(self) -> dict[str, Any] | None: ...

    def __call__(self, batch: Batch) -> Signal:
        """The answers to a batch of the training data, on the batch's device."""

    def over_data(self) -> Iterator[tuple[Batch, Signal]]:
        """Every training sample once, in order, without augmentation."""


Speak = Callable[[Batch], Signal]


def finite(signal: Signal, batch: Batch) -> Signal:
    """The signal, if every number in it is finite; RunError S708 names the samples otherwise."""
    for name, values in signal.outputs().items():
        good = values.isfinite().flatten(1).all(1)
        if not good.all():
            wrong = batch["idx"].to(good.device)[~good].tolist()
            raise RunError(
                Problem(
                    "S708",
                    f"the teacher's `{name}` are not finite for {len(wrong)} samples of a batch",
                    notes=(f"samples: {', '.join(map(str, wrong[:10]))}",),
                    remedies=(
                        "look at these samples, and at the teacher's weights and preprocessing",
                        "set `train.precision: fp32` if the teacher overflows in half precision",
                    ),
                )
            )
    return signal
