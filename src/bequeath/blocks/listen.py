"""What a model says of every sample of a data set: of each text, or a loss for each sample."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bequeath.blocks.targets import rows_of, targets
from bequeath.given.words import answering
from bequeath.losses.vocabulary import rows_at_once
from bequeath.metrics.language import Spoken, joined, spoken
from bequeath.metrics.membership import cross_entropy

NUMBERS = 2**24  # in the answers to one batch, 64 MB in float32
IN_PARTS = 16  # texts at a time, where the answers to so many would be more


@torch.no_grad()
def hear(model: Any, data: Any, device: torch.device | str = "cpu") -> Spoken:
    """What a language model (a BoundModel in eval mode, or a Predictor) says of each text."""
    words, answer = model.facts.n_classes or 1, answering(model, IN_PARTS)
    size = min(256, NUMBERS // (model.preprocess.max_length * words))
    found = []
    for idx in torch.arange(len(data)).split(IN_PARTS if answer is not model else max(1, size)):
        batch = data.fetch(idx)
        batch["idx"] = batch["idx"].to(device)
        asked = targets(model, batch)
        said = rows_of(asked, answer(batch))
        found.append(spoken(said, asked.y, asked.sample, len(idx), rows_at_once(words)))
    return joined(found)


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
