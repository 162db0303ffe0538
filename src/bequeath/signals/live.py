"""A teacher that answers as it is asked: frozen, in eval mode, in no graph and no optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bequeath.blocks.taps import Tap, Taps
from bequeath.signals.flat import asked
from bequeath.signals.signal import Batch, Signal, Teacher
from bequeath.signals.sweep import sweep

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class LiveTeacher:
    """`teacher(batch) -> Signal`, computed now.

    model: a `BoundModel` (then its parameters are frozen and it is put in eval mode, again at each
    call, whatever a container did to it) or any callable batch -> logits. taps: name -> where in
    `model.module` a feature is read; they need a model. data: what `over_data` goes through, unless
    `plain` hands over a teacher that has answered about all of it already (or None). precision:
    autocast of the teacher's own forward pass; its answers are float32 in any case.

    length: of the answers of a language model that are to be kept: all [B, length, K], zero where
    a text is over. None: as long as the longest of the batch.

    It is no `nn.Module`, so that no optimizer, checkpoint or `.train()` of a container finds it.
    """

    stats: dict[str, Any] | None = None
    length: int | None = None

    def __init__(
        self,
        model: nn.Module | Callable[[Batch], Tensor],
        taps: Mapping[str, Tap] | None = None,
        *,
        data: Any = None,
        device: torch.device | str | None = None,
        precision: str = "fp32",
        plain: Callable[[LiveTeacher], Teacher | None] | None = None,
    ):
        self.model = model
        self._module = model if isinstance(model, nn.Module) else None
        self._taps: Taps | None = None
        self._data = data
        self.plain = plain
        self._precision = precision
        self._device = None if device is None else torch.device(device)
        if self._module is not None:
            self._module.requires_grad_(False).eval()
            if device is not None:
                self._module.to(device)
        if taps:
            if self._module is None:
                raise TypeError("features can be read from a model only, not from its answers")
            self._taps = Taps(getattr(self._module, "module", self._module), dict(taps))

    def __call__(self, batch: Batch) -> Signal:
        return asked(self._answer, batch)

    @torch.no_grad()
    def _answer(self, batch: Batch) -> Signal:
        home = batch["idx"].device
        self._stay_frozen()
        half = AUTOCAST.get(self._precision)
        kind = (self._device or home).type
        # said explicitly, off too: the student's autocast is on around this call
        with torch.autocast(kind, half or torch.bfloat16, enabled=half is not None):
            logits = self.model(self._moved(batch))
        if self.length is not None:
            logits = self._padded(logits, batch)
        features = self._taps.pop() if self._taps is not None else {}
        return Signal(
            logits.float().to(home),
            {name: _as_answer(name, value).to(home) for name, value in features.items()},
        )

    def over_data(self) -> Iterator[tuple[Batch, Signal]]:
        """Every sample of `data` once, in order, without augmentation."""
        if self._data is None:
            raise TypeError("this teacher was made without data")
        kept = self.plain(self) if self.plain is not None else None
        if kept is not None:
            yield from kept.over_data()
            return
        for batch in sweep(self._data, self._device):
            yield batch, self(batch)

    def close(self) -> int:
        """Let the model go, after which nothing can be asked; -> the bytes of its tensors."""
        module, self._module, self.model = self._module, None, _gone
        if self._taps is not None:
            self._taps.close()
        self._taps = None
        tensors = () if module is None else module.state_dict().values()
        return sum(t.numel() * t.element_size() for t in tensors)

    def _stay_frozen(self) -> None:
        if self._module is not None and any(part.training for part in self._module.modules()):
            self._module.eval()

    def _padded(self, logits: Tensor, batch: Batch) -> Tensor:
        """[B, T, K] -> [B, length, K]; what it says behind the end of a text is of no use."""
        model: Any = self.model
        said = model.preprocess(batch, logits.device)["attention_mask"].bool()
        logits = torch.where(said[..., None], logits, 0.0)
        return nn.functional.pad(logits, (0, 0, 0, (self.length or 0) - logits.shape[1]))

    def _moved(self, batch: Batch) -> Batch:
        if self._device is None or batch["idx"].device == self._device:
            return batch
        return {
            key: value.to(self._device) if isinstance(value, Tensor) else value
            for key, value in batch.items()
        }


def _gone(batch: Batch) -> Tensor:
    raise RuntimeError("this teacher was closed")


def _as_answer(name: str, value: Tensor) -> Tensor:
    # the input of a classifier is a vector a sample, whatever 1 x 1 shape pooling has left on it
    value = value.detach().float()
    return value.flatten(1) if name == "embedding" else value
