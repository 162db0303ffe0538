"""What is known of models and data before weights load: facts, and the headers they come from.

Nothing here imports torch; a safetensors header is JSON behind eight bytes of length.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bequeath.kernel.errors import JobError, Problem


class TensorFact(NamedTuple):
    """shape in elements; dtype as safetensors writes it (`F32`, `I64`, ...)."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class ModelFacts:
    """All optional: what is not known yet is None.

    kind: what it eats, `image`, `vector` or `text`. architecture: as its library names it.
    parameters: number of weights that can be trained. n_classes: width of the output.
    head: module path of the final classifier; what goes into it is the model's embedding.
    input: shape of one preprocessed sample. preprocess: `Preprocess.to_dict()`.
    licence: as the source states it. hash: digest of all tensors. tensors: name -> TensorFact.
    """

    kind: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    n_classes: int | None = None
    head: str | None = None
    input: tuple[int, ...] | None = None
    preprocess: Mapping[str, Any] | None = None
    licence: str | None = None
    hash: str | None = None
    tensors: Mapping[str, TensorFact] | None = None


@dataclass(frozen=True)
class DataFacts:
    """kind: `image`, `vector` or `text`; n: samples; shape: of one, (H, W, C) or (D,).

    classes: their names in the order of the labels. hash: digest of the content.
    """

    kind: str | None = None
    n: int | None = None
    shape: tuple[int, ...] | None = None
    classes: tuple[str, ...] | None = None
    n_classes: int | None = None
    hash: str | None = None
    labelled: bool | None = None


_MAX_HEADER = 100_000_000
_BITS = {
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

    Every length is checked against the file's size before it is believed. Raises JobError (M302)
    for a file that is cut short or is something else.
    """

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
        if not 2 <= length <= _MAX_HEADER:
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
    tensors: dict[str, TensorFact] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        fact = _tensor_fact(entry, total - 8 - length)
        if isinstance(fact, str):
            raise broken(f"is cut short or damaged: tensor `{name}` {fact}")
        tensors[name] = fact
    if not tensors:
        raise broken("holds no tensors")
    return tensors


def _tensor_fact(entry: Any, room: int) -> TensorFact | str:
    """The fact, or what is wrong with the entry. `room`: bytes that the tensors may take."""
    try:
        shape = tuple(int(size) for size in entry["shape"])
        dtype = str(entry["dtype"])
        begin, end = (int(offset) for offset in entry["data_offsets"])
    except (TypeError, KeyError, ValueError):
        return "has no shape, dtype or place"
    if min(shape, default=0) < 0 or not 0 <= begin <= end:
        return "has a negative size"
    if end > room:
        return f"should end at byte {end}, but there are only {room}"
    bits = _BITS.get(dtype)
    if bits is not None and (math.prod(shape) * bits + 7) // 8 != end - begin:
        return f"of shape {list(shape)} and type {dtype} takes {end - begin} bytes"
    return TensorFact(shape, dtype)


def weights_format(path: Path) -> str | None:
    """`safetensors`, `torch` or None, by the first bytes (a suffix may lie)."""
    with path.open("rb") as file:
        first = file.read(9)
    if first[:2] == b"PK" or first[:1] == b"\x80":
        return "torch"
    return "safetensors" if first[8:9] == b"{" or path.suffix == ".safetensors" else None


def weights_problem(path: Path, *, at: tuple[str, ...]) -> Problem | None:
    """What can be seen to be wrong with a weights file without opening it as a model."""
    if not path.is_file():
        what = "is a folder, not a weights file" if path.is_dir() else "is not there"
        return missing(f"weights file `{path}` {what}", path, at)
    try:
        form = weights_format(path)
        if form == "safetensors":
            safetensors_header(path, at=at)
        elif form is None:
            return Problem(
                "M304",
                f"`{path}` is neither a safetensors nor a torch file",
                at=at,
                remedies=("give a .safetensors file, or one written by torch.save",),
            )
        elif path.open("rb").read(2) == b"PK" and not zipfile.is_zipfile(path):
            return truncated(path, at)
    except JobError as error:
        return error.problems[0]
    except OSError as error:
        return Problem("M301", f"`{path}` cannot be read: {error.strerror}", at=at)
    return None


def truncated(path: Path, at: tuple[str, ...]) -> Problem:
    return Problem(
        "M302",
        f"`{path}` is cut short or damaged",
        at=at,
        notes=(f"it has {path.stat().st_size} bytes",),
        remedies=("copy or download the file again",),
    )


def missing(message: str, path: Path, at: tuple[str, ...]) -> Problem:
    """M301, with files of a like name in the same folder."""
    import difflib

    label = ""
    if path.parent.is_dir():
        names = [entry.name for entry in path.parent.iterdir()]
        if near := difflib.get_close_matches(path.name, names, n=1):
            label = f"did you mean `{path.with_name(near[0])}`?"
    return Problem(
        "M301",
        message,
        at=at,
        label=label,
        remedies=("correct the path; it counts from the folder the command runs in",),
    )


def read_json(path: Path, *, at: tuple[str, ...]) -> dict[str, Any]:
    """A JSON mapping from a small file. JobError (M313) says what is wrong with it."""
    try:
        if path.stat().st_size > _MAX_HEADER:
            raise ValueError("it is larger than 100 MB")
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("it is not a mapping")
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise JobError(
            Problem("M313", f"`{path}` cannot be read as JSON", at=at, notes=(reason,))
        ) from None
    return value
