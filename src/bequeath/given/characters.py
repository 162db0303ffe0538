"""Texts as characters. Needs torch alone; a copy is saved beside the models that read this way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

END, OTHER = 0, 1  # begins, ends and pads a text; stands for a character that is not known
SPECIAL = 2


def encode(texts: Sequence[str], characters: str, most: int) -> tuple[Tensor, Tensor]:
    """Texts -> (tokens, mask), int64 [B, T], T the longest of them and at most `most`.

    A text is END, one token a character, END; what is longer than `most` loses its end. Token
    SPECIAL + i is characters[i]. mask: 1 for tokens of the text, 0 for padding.
    """
    table = {character: SPECIAL + i for i, character in enumerate(characters)}
    rows = [[END, *(table.get(c, OTHER) for c in text[:most]), END][:most] for text in texts]
    length = max((len(row) for row in rows), default=1)
    tokens = torch.tensor([row + [END] * (length - len(row)) for row in rows], dtype=torch.long)
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    return tokens.view(len(rows), length), mask.view(len(rows), length)


def decode(tokens: Sequence[int], characters: str) -> str:
    """The text of tokens; END is left out, OTHER becomes U+FFFD."""
    known = ["", "\ufffd", *characters]
    return "".join(known[token] for token in tokens)
