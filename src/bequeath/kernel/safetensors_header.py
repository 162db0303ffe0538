"""The header of a safetensors file, read without trusting it: JSON behind eight bytes of length.

Every length is checked against the file's size before it is believed. Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from bequeath.kernel.errors import JobError, Problem
from bequeath.kernel.files import regular
from bequeath.kernel.read_json import LARGEST, parse_json


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


MAX_HEADER = LARGEST  # bytes; 200,000 tensors, and no model has a tenth of them in one file
MAX_AXES = 255
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

    total = regular(path).stat().st_size
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
            header = parse_json(file.read(length))
        except ValueError as error:
            what = "is not a safetensors file: its header cannot be read as JSON"
            raise broken(what, str(error)) from None
    if not isinstance(header, dict):
        raise broken("is not a safetensors file: its header is not a mapping")
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise broken("is not a safetensors file: its metadata are no texts by name")
    tensors: dict[str, TensorPlace] = {}
    for name, entry in header.items():
        place = _place(entry, 8 + length, total)
        if isinstance(place, str):
            raise broken(f"is cut short or damaged: tensor `{name}` {place}")
        tensors[name] = place
    if not tensors:
        raise broken("holds no tensors")
    if (wrong := _gap(tensors, 8 + length, total)) is not None:
        raise broken(f"is damaged: {wrong}")
    return Header(tensors, metadata)


def _gap(tensors: Mapping[str, TensorPlace], start: int, total: int) -> str | None:
    """Where the tensors do not fill the file one after another; each byte belongs to just one."""
    end = start
    places = sorted((place.offset, place.length, name) for name, place in tensors.items())
    for offset, length, name in places:
        if offset != end:
            what = "shares bytes with another" if offset < end else "follows a gap"
            return f"tensor `{name}` {what}"
        end += length
    return None if end == total else f"{total - end} bytes behind its last tensor are nobody's"


def _place(entry: Any, start: int, total: int) -> TensorPlace | str:
    """The place, or what is wrong with the entry. `start`: the byte at which the tensors begin."""
    if not isinstance(entry, dict):
        return "has no shape, dtype or place"
    shape, offsets, dtype = entry.get("shape"), entry.get("data_offsets"), entry.get("dtype")
    if not _whole(shape) or not _whole(offsets) or len(offsets) != 2 or not isinstance(dtype, str):
        return "has no shape, dtype or place"
    if len(shape) > MAX_AXES:
        return f"has {len(shape)} axes"
    begin, end = offsets
    if min(shape, default=0) < 0 or not 0 <= begin <= end:
        return "has a negative size"
    if end > total - start:
        return f"should end at byte {end}, but there are only {total - start}"
    bits = BITS.get(dtype)
    if bits is not None and (math.prod(shape) * bits + 7) // 8 != end - begin:
        return f"of shape {list(shape)} and type {dtype} takes {end - begin} bytes"
    return TensorPlace(TensorFact(tuple(shape), dtype), start + begin, end - begin)


def _whole(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and {*map(type, value)} <= {int}  # `true` is no number here
