"""The membership ledger: which samples a model holds, as hashes, never the samples themselves.

A closed-form head cannot tell a stranger from a member: taking out what was never put in, or twice,
spoils it quietly. The ledger can. It knows a sample by its raw content (and its label), wherever
and in whatever order it comes, and it counts copies.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from bequeath.kernel.errors import Problem, RunError

_BATCH = 1024
_NAMED = 5


class Ledger:
    """What was learnt and not yet forgotten: digest -> how many copies."""

    def __init__(self) -> None:
        self._held: Counter[bytes] = Counter()
        self._gone: set[bytes] = set()

    def __len__(self) -> int:
        """Samples held, copies counted."""
        return self._held.total()

    def __contains__(self, digest: bytes) -> bool:
        return self._held[digest] > 0

    def learn(self, digests: Sequence[bytes]) -> None:
        """Enter samples; one that was forgotten before may be learnt again."""
        self._held.update(digests)
        self._gone.difference_update(digests)

    def forget(self, digests: Sequence[bytes], names: Sequence[Any] | None = None) -> None:
        """Strike samples out, all or none.

        names: what to call them in an error (default: their place in the request). RunError T650
        for samples never learnt, T651 for more copies than are held (forgotten before, or named
        twice in this request).
        """
        called = list(names) if names is not None else list(range(len(digests)))
        asked: Counter[bytes] = Counter()
        never: list[Any] = []
        twice: list[Any] = []
        for digest, name in zip(digests, called):
            asked[digest] += 1
            if asked[digest] > self._held[digest]:
                known = self._held[digest] > 0 or digest in self._gone
                (twice if known else never).append(name)
        if never or twice:
            raise RunError(_refusal(never, twice, len(called)))
        self._held -= asked
        self._gone.update(digest for digest in asked if self._held[digest] == 0)


def sample_digests(data: Any, *, labels: bool = True) -> list[bytes]:
    """A digest for each sample of a data set (`len`, `fetch(idx)`), of its raw content.

    labels: and of its label, where the data has one that may be seen: the same picture learnt under
    two labels is two samples. Without, as a request does that names pictures only.
    """
    return [digest for batch in _batches(data) for digest in batch_digests(batch, labels=labels)]


def batch_digests(batch: dict[str, Any], *, labels: bool = True) -> list[bytes]:
    """The same for a raw batch with `x` or `text`, and `y`."""
    if "x" in batch:
        rows = batch["x"].detach().cpu().contiguous().numpy()
        shape = repr((rows.dtype.str, rows.shape[1:])).encode()
        parts = (shape + row.tobytes() for row in rows)
    else:
        parts = (text.encode("utf-8", "surrogatepass") for text in batch["text"])
    if not labels:
        return [_digest(part) for part in parts]
    said = batch["y"].tolist()
    return [_digest(part + b"/" + str(label).encode()) for part, label in zip(parts, said)]


def _batches(data: Any) -> Iterator[dict[str, Any]]:
    idx: Tensor
    for idx in torch.arange(len(data)).split(_BATCH):
        yield data.fetch(idx)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _refusal(never: list[Any], twice: list[Any], n: int) -> Problem:
    if never:
        return Problem(
            "T650",
            f"{len(never)} of the {n} samples to forget were never learnt: {_listed(never)}",
            notes=("nothing was forgotten of this request",),
            remedies=("name samples as they were learnt: the same content under the same label",),
        )
    return Problem(
        "T651",
        f"{len(twice)} of the {n} samples to forget are forgotten already: {_listed(twice)}",
        notes=("forgetting a sample twice would take out something else",),
        remedies=("ask for each sample once",),
    )


def _listed(names: list[Any]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(f"`{name}`" for name in names[:_NAMED]) + more
