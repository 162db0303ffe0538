"""The header of a safetensors file, read without trusting it: JSON behind eight bytes of length.

Every length is checked against the file's size before it is believed. Nothing here imports torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bequeath.kernel.errors import JobError, Problem


class TensorFact(NamedTuple):
    """shape in elements; dtype as safetensors writes it (`F32`, `I64`, ...)."""

    shape: tuple[int, ...]
    dtype: str


class TensorPlace(NamedTuple):
    """A tensor in a file: `length` bytes from byte `offset` of the file on."""

    fact: TensorFact
    offset: int
    length: int


@dataclass(frozen=True)
class Header:
    """tensors: name -> place, in the order of the header. metadata: the file's own remarks."""

    tensors: Mapping[str, TensorPlace]
    metadata: Mapping[str, str]


MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors library too
BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "U16": 16,
    "I16": 16,
    "U32": 32,
    "I32": 32,
    "U64": 64,
    "I64": 64,
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "C64": 64,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
}


def safetensors_header(path: Path, *, at: tuple[str, ...] = ()) -> dict[str, TensorFact]:
    """Names, shapes and dtypes of the tensors in a safetensors file.

    Raises JobError (M302) for a file that is cut short or is something else.
    """
    return {name: place.fact for name, place in read_header(path, at=at).tensors.items()}


def read_header(path: Path, *, at: tuple[str, ...] = ()) -> Header:
    """The same with every tensor's place. Raises JobError (M302); OSError where it cannot read."""

    def broken(message: str, *notes: str) -> JobError:
        remedies = ("copy or download the file again", "check its size at the source")
        return JobError(
            Problem("M302", f"`{path}` {message}", at=at, notes=notes, remedies=remedies)
        )

    total = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        if len(first) < 8:
            raise broken(f"is {total} bytes long, too short for a safetensors file")
        length = int.from_bytes(first, "little")
        if not 2 <= length <= MAX_HEADER:
            raise broken("is not a safetensors file", f"it claims a header of {length} bytes")
        if 8 + length > total:
            raise broken(
                "is cut short", f"its header should take {length} bytes, the file has {total}"
            )
        try:
            header = json.loads(file.read(length).decode("utf-8"))
        except (ValueError, RecursionError):
            raise broken("is not a safetensors file: its header is not JSON") from None
    if not isinstance(header, dict):
        raise broken("is not a safetensors file: its header is not a mapping")
    metadata = header.pop("__metadata__", None)
    tensors: dict[str, TensorPlace] = {}
    for name, entry in header.items():
        place = _place(entry, 8 + length, total)
        if isinstance(place, str):
            raise broken(f"is cut short or damaged: tensor `{name}` {place}")
        tensors[name] = place
    if not tensors:
        raise broken("holds no tensors")
    return Header(tensors, metadata if isinstance(metadata, dict) else {})


def _place(entry: Any, start: int, total: int) -> TensorPlace | str:
    """The place, or what is wrong with the entry. `start`: the byte at which the tensors begin."""
    try:
        shape = tuple(int(size) for size in entry["shape"])
        dtype = str(entry["dtype"])
        begin, end = (int(offset) for offset in entry["data_offsets"])
    except (TypeError, KeyError, ValueError):
        return "has no shape, dtype or place"
    if min(shape, default=0) < 0 or not 0 <= begin <= end:
        return "has a negative size"
    if end > total - start:
        return f"should end at byte {end}, but there are only {total - start}"
    bits = BITS.get(dtype)
    if bits is not None and (math.prod(shape) * bits + 7) // 8 != end - begin:
        return f"of shape {list(shape)} and type {dtype} takes {end - begin} bytes"
    return TensorPlace(TensorFact(shape, dtype), start + begin, end - begin)
