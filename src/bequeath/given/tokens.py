"""Texts as tokens, remembered: samples come back every epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T")

MOST = 500_000  # texts


@lru_cache(maxsize=16)
def opened(
    name: str, revision: str | None, fingerprint: str, max_length: int
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """A tokenizer and what it has said: text -> tokens, and text -> their spans."""
    from bequeath.given.model_schemes.hf import open_tokenizer

    return open_tokenizer(name, revision), {}, {}


def remembered(
    memo: dict[str, T], texts: Sequence[str], code: Callable[[list[str]], list[T]]
) -> list[T]:
    """What `code` makes of each text; it is asked about those that `memo` does not hold yet."""
    fresh = list(dict.fromkeys(text for text in texts if text not in memo))
    if len(memo) + len(fresh) > MOST:
        memo.clear()
        fresh = list(dict.fromkeys(texts))
    if fresh:
        memo.update(zip(fresh, code(fresh), strict=True))
    return [memo[text] for text in texts]


def ended(row: dict[str, list[int]], end: int, most: int) -> dict[str, list[int]]:
    """An answer is over where its text is, unless that was cut; a tokenizer need not say so."""
    ids = row["input_ids"]
    if len(ids) >= most or (ids and ids[-1] == end):
        return row
    last = {"input_ids": end, "attention_mask": 1}
    return {key: [*value, last.get(key, 0)] for key, value in row.items()}
