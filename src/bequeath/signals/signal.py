"""What a teacher says about a batch. A loss does not know whether it was said now or stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from bequeath.kernel.errors import Problem, RunError
from bequeath.losses.divergence import TopK
from bequeath.losses.vocabulary import Projected
from bequeath.signals.outputs import LOGITS, TOP

Batch = dict[str, Any]


@dataclass(frozen=True)
class Signal:
    """answer: what it says of the classes or words: logits, float32 [B, K] or [B, T, K]; the
    likeliest of them (a TopK); or logits that are made rows at a time (a Projected).

    features: name -> float32 tensor [B, ...]. No gradients.
    """

    answer: Tensor | TopK | Projected
    features: dict[str, Tensor] = field(default_factory=dict)

    @property
    def logits(self) -> Tensor:
        """The answer of a teacher that was asked for all its logits."""
        assert isinstance(self.answer, Tensor), "this teacher was asked for something else"
        return self.answer

    def outputs(self) -> dict[str, Tensor]:
        """Everything by one name each: `logits`, or the parts of a TopK, and the features."""
        if isinstance(self.answer, TopK):
            # whole numbers are exact in float32 up to 2^24, more than any vocabulary has words
            parts = (self.answer.log_p, self.answer.index.float(), self.answer.log_rest)
            return {**dict(zip(TOP, parts)), **self.features}
        return {LOGITS: self.logits, **self.features}


def signal_of(outputs: dict[str, Tensor]) -> Signal:
    """The signal that has these outputs."""
    rest = {name: values for name, values in outputs.items() if name not in (LOGITS, *TOP)}
    if LOGITS in outputs:
        return Signal(outputs[LOGITS], rest)
    log_p, index, log_rest = (outputs[name] for name in TOP)
    return Signal(TopK(log_p, index.long(), log_rest), rest)


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
