"""How private a position of a text is, rho in 0..1, from three sources.

A row is a token to be predicted (see `blocks/targets.py`); rho says how likely it is to hold
something private. The detector and the memorisation signal look at the token itself, which is
there in training; the mass on a private vocabulary looks at the context alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bequeath.blocks.targets import Targets

# Numbers of three digits and more that are no years of 1900 to 2099, digits in groups (of cards, of
# telephones), and addresses of e-mail.
PATTERNS = (
    r"(?<!\d)(?!(?:19|20)\d\d(?!\d))\d{3,}",
    r"\+?\d[\d()-]*(?:[ ().-]+\d{2,}){2,}",
    r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
)


Batch = Mapping[str, Any]
Source = Callable[[Batch, Targets, Tensor, Tensor], Tensor]


def source(
    kind: str,
    preprocess: Any,
    *,
    patterns: Sequence[str] = (),
    private: str = "0123456789",
    scale: float = 2.0,
    reference: Callable[[Any], Tensor] | None = None,
) -> Source:
    """-> (batch, what it asks, rows of the student, of the teacher) -> rho of each row, [N].

    kind: detector, vocabulary, memorisation or none. patterns: of the detector (none: `PATTERNS`).
    private, scale: see `private_tokens`, `memorised`. reference: batch -> logits of a model that
    never saw the secrets; without one the student as it is stands for it.
    """
    if kind == "detector":
        detect = detector(preprocess, patterns or PATTERNS)
        return lambda batch, asked, z_s, z_t: asked.next_rows(detect(batch))
    if kind == "vocabulary":
        tokens = private_tokens(preprocess.words(), private)
        return lambda batch, asked, z_s, z_t: private_mass(z_t, tokens.to(z_t.device))
    if kind == "none":
        return lambda batch, asked, z_s, z_t: z_t.new_zeros(len(z_t), dtype=torch.float64)

    def knows_more(batch: Batch, asked: Targets, z_s: Tensor, z_t: Tensor) -> Tensor:
        z_r = z_s.detach() if reference is None else asked.rows(reference(batch))
        return memorised(z_t, z_r, asked.y, scale)

    return knows_more


def detector(preprocess: Any, patterns: Sequence[str]) -> Callable[[Batch], Tensor]:
    """-> batch -> 1 for each token with a character that a pattern matches, else 0: [B, T] float64.

    preprocess: of a language model, with `spans(texts)`. Found once for each text.
    """
    rules = [re.compile(pattern) for pattern in patterns]
    known: dict[str, list[float]] = {}

    def of_text(text: str, spans: list[tuple[int, int]]) -> list[float]:
        found = [match.span() for rule in rules for match in rule.finditer(text)]
        return [float(any(a < high and low < b for low, high in found)) for a, b in spans]

    def score(batch: Batch) -> Tensor:
        texts = batch["text"]
        fresh = list(dict.fromkeys(text for text in texts if text not in known))
        if fresh:
            known.update(zip(fresh, map(of_text, fresh, preprocess.spans(fresh))))
        rows = [known[text] for text in texts]
        length = max(len(row) for row in rows)
        filled = [row + [0.0] * (length - len(row)) for row in rows]
        return torch.tensor(filled, dtype=torch.float64, device=batch["idx"].device)

    return score


def private_tokens(words: Sequence[str], characters: Collection[str]) -> Tensor:
    """Which tokens are made of these characters alone, blanks around them aside: bool [V]."""
    said = [word.strip() for word in words]
    return torch.tensor([bool(word) and set(word) <= set(characters) for word in said])


def private_mass(teacher: Tensor, private: Tensor) -> Tensor:
    """rho = sum of p_T over the private tokens, [N]. teacher: logits [N, V]; private: bool [V]."""
    return teacher.double().softmax(1)[:, private].sum(1).clamp(0, 1)


def memorised(teacher: Tensor, reference: Tensor, y: Tensor, scale: float) -> Tensor:
    """rho = tanh(max(log p_T(y) - log p_R(y), 0) / scale): what the teacher knows and others don't.

    teacher, reference: logits [N, V]; y: the tokens [N]; scale: nats at which rho is 0.76; -> [N].
    """
    said = [z.double().log_softmax(1).gather(1, y[:, None])[:, 0] for z in (teacher, reference)]
    return torch.tanh((said[0] - said[1]).clamp_min(0) / scale)
