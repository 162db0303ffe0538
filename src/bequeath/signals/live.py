"""A teacher that answers as it is asked: frozen, in eval mode, in no graph and no optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from bequeath.blocks.taps import Tap, Taps
from bequeath.given.words import Speaker, likeliest, parts_of
from bequeath.losses.divergence import TopK, rest_of
from bequeath.losses.vocabulary import Projected
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

    length: of the answers of a language model that are to be kept: all [B, length, ...], zero where
    a text is over. None: as long as the longest of the batch.

    top_k: answer with the k likeliest words and the mass of all others; 0: with all logits.
    in_parts: let logits be made rows at a time, by who uses them; with `top_k` it is done here.

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
        top_k: int = 0,
        in_parts: bool = False,
    ):
        self.model = model
        self.top_k, self.in_parts = top_k, in_parts
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
        return asked(self._speak, batch)

    @torch.no_grad()
    def _speak(self, batch: Batch) -> Signal:
        home = batch["idx"].device
        self._stay_frozen()
        half = AUTOCAST.get(self._precision)
        kind = (self._device or home).type
        # said explicitly, off too: the student's autocast is on around this call
        with torch.autocast(kind, half or torch.bfloat16, enabled=half is not None):
            answer = self._answer(self._moved(batch))
        if isinstance(answer, TopK):
            parts = (getattr(answer, name) for name in TopK.__match_args__)
            answer = TopK(*(self._even(part, batch).to(home) for part in parts))
        elif isinstance(answer, Tensor):
            answer = self._even(answer, batch).float().to(home)
        features = self._taps.pop() if self._taps is not None else {}
        return Signal(
            answer,
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

    def speaker(self) -> Speaker:
        """The language model as one that goes on with texts, reading them anew."""
        model: Any = self.model
        found: Speaker = model.speaker() if hasattr(model, "speaker") else Speaker(model)
        return found

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

    def _answer(self, batch: Batch) -> Tensor | TopK | Projected:
        """Logits, the likeliest words, or logits to be made; in the type the model computes in."""
        model: Any = self.model
        parts = self._parts if self.in_parts else None
        said = model(batch) if parts is None else parts(batch)
        if not self.top_k:
            return said
        if isinstance(said, tuple):  # the likeliest are all that may be seen
            return TopK(said[0].float(), said[1], rest_of(said[0].float()))
        return likeliest(said, self.top_k)

    @cached_property
    def _parts(self) -> Callable[[Batch], Projected] | None:
        return parts_of(self.model)

    def _even(self, values: Tensor, batch: Batch) -> Tensor:
        """[B, T, ...] -> [B, length, ...]; what it says behind the end of a text is of no use."""
        if self.length is None:
            return values
        model: Any = self.model
        said = model.preprocess(batch, values.device)["attention_mask"].bool()
        values = torch.where(said.view(*said.shape, *(1,) * (values.dim() - 2)), values, 0)
        behind = (0, 0) * (values.dim() - 2) + (0, self.length - values.shape[1])
        return nn.functional.pad(values, behind)

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
