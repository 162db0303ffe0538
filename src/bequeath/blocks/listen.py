"""What a model says of every sample of a data set: of each text, or a loss for each sample."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bequeath.blocks.targets import targets
from bequeath.metrics.language import Spoken, joined, spoken
from bequeath.metrics.membership import cross_entropy

NUMBERS = 2**24  # in the answers to one batch, 64 MB in float32


@torch.no_grad()
def hear(model: Any, data: Any, device: torch.device | str = "cpu") -> Spoken:
    """What a language model (a BoundModel in eval mode, or a Predictor) says of each text."""
    longest = getattr(model.preprocess, "max_length", 512)
    size = max(1, min(256, NUMBERS // (longest * (model.facts.n_classes or 1))))
    parts = []
    for idx in torch.arange(len(data)).split(size):
        batch = data.fetch(idx)
        batch["idx"] = batch["idx"].to(device)
        asked = targets(model, batch)
        parts.append(spoken(asked.rows(model(batch)), asked.y, asked.sample, len(idx)))
    return joined(parts)


@torch.no_grad()
def losses(model: Any, data: Any, device: torch.device | str = "cpu") -> Tensor:
    """The loss of each sample, float64 [N]: cross-entropy with its label, or of a text's token.

    A text without a next token has none and is left out.
    """
    if model.facts.per_token:
        each = hear(model, data, device).mean_nll
        return each[each.isfinite()]
    parts = []
    for idx in torch.arange(len(data)).split(256):
        batch = data.fetch(idx)
        parts.append(cross_entropy(model(batch), batch["y"]))
    return torch.cat(parts)
