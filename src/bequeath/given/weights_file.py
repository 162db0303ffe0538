"""Weights files opened: safetensors, or a torch file through `weights_only`, never otherwise."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import replace
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, TypeVar
from zipfile import ZIP_STORED, BadZipFile

import torch
from torch import Tensor

from bequeath.given.bound import DTYPES, hash_tensors
from bequeath.given.facts import (
    TensorFact,
    safetensors_header,
    truncated,
    weights_format,
    weights_problem,
)
from bequeath.kernel.archives import open_zip
from bequeath.kernel.errors import JobError, Problem

T = TypeVar("T")

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "params", "teacher", "student")
_PREFIXES = ("module.", "_orig_mod.")
_READ: dict[tuple[str, int, int], tuple[str, list[str]]] = {}


def read_tensors(path: Path, *, at: tuple[str, ...]) -> dict[str, Tensor]:
    """All tensors of a weights file, on the CPU, names without `module.` and `_orig_mod.`.

    JobError: M301 missing, M302 cut short, M303 refused because it holds code, M304 no weights.
    """
    if problem := weights_problem(path, at=at):
        raise JobError(problem)
    if weights_format(path) == "safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return strip(load_file(path))
        except (SafetensorError, OSError) as error:
            raise JobError(truncated(path, at)) from error
    return strip(_tensors_in(_open_torch(path, at), path, at))


def file_facts(path: Path, *, at: tuple[str, ...]) -> dict[str, TensorFact]:
    """Names, shapes and types of what `read_tensors` would give; headers only where there are."""
    if problem := weights_problem(path, at=at):
        raise JobError(problem)
    if weights_format(path) == "safetensors":
        return strip(safetensors_header(path, at=at))
    return {
        name: TensorFact(tuple(tensor.shape), DTYPES.get(tensor.dtype, str(tensor.dtype)))
        for name, tensor in read_tensors(path, at=at).items()
    }


def file_hash(path: Path, *, at: tuple[str, ...]) -> str:
    """`hash_tensors` of a file; remembered while its size and time of change stay the same."""
    return _read_once(path, at)[0]


def not_finite(path: Path, *, at: tuple[str, ...]) -> list[str]:
    """Names of the tensors that hold NaN or infinity; remembered like the hash."""
    return _read_once(path, at)[1]


def bad_tensors(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or infinity."""
    floats = {n: t for n, t in tensors.items() if t.is_floating_point() or t.is_complex()}
    return [name for name, tensor in floats.items() if not torch.isfinite(tensor).all()]


def _read_once(path: Path, at: tuple[str, ...]) -> tuple[str, list[str]]:
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _READ:
        tensors = read_tensors(path, at=at)
        _READ[key] = hash_tensors(tensors), bad_tensors(tensors)
    return _READ[key]


def strip(tensors: Mapping[str, T]) -> dict[str, T]:
    """Names without the prefixes that DataParallel and torch.compile put before them all."""
    names = dict(tensors)
    while names and (found := next((p for p in _PREFIXES if _all_begin(names, p)), None)):
        names = {name.removeprefix(found): value for name, value in names.items()}
    return names


def _all_begin(names: Mapping[str, T], prefix: str) -> bool:
    return all(name.startswith(prefix) for name in names)


def _open_torch(path: Path, at: tuple[str, ...]) -> Any:
    if _asks_for_memory(path, at):
        raise JobError(_refusal(path, at, "Unsupported: it asks for memory of any size"))
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of pickles that it then refuses
            # the open file: by its path, torch would go by its suffix
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "nsupported" not in str(error):
            raise JobError(truncated(path, at)) from error
        raise JobError(_refusal(path, at, str(error))) from error
    except Exception as error:  # a damaged pickle can end in any error there is
        raise JobError(truncated(path, at)) from error


def _asks_for_memory(path: Path, at: tuple[str, ...]) -> bool:
    """Whether the pickle calls the one thing `weights_only` allows that takes what it likes.

    JobError M302 for a zip whose members are packed: torch writes them as they are, and a packed
    one may unpack to any size.
    """
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        if data[:2] != b"PK":
            return data.find(b"bytearray") >= 0
    try:
        with open_zip(path, (ZIP_STORED,)) as archive:
            pickles = [info for info in archive.infolist() if info.filename.endswith(".pkl")]
            return any(b"bytearray" in archive.read(info) for info in pickles)
    except (BadZipFile, ValueError, OSError, EOFError, RuntimeError) as error:
        raise JobError(replace(truncated(path, at), notes=(f"{error}",))) from None


def _dense(value: Any) -> bool:
    """Whether this is a plain tensor whose every number lies in the file."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _refusal(path: Path, at: tuple[str, ...], reason: str) -> Problem:
    lines = [line.strip() for line in reason.splitlines() if "nsupported" in line]
    new = path.with_suffix(".safetensors").name
    return Problem(
        "M303",
        f"`{path}` holds more than tensors: opening it would run code",
        at=at,
        notes=tuple(line[:200] for line in lines[:1]),
        remedies=(
            "if you trust its source, write the tensors out once, where the model's code is: "
            f"save_file(torch.load('{path.name}', weights_only=False).state_dict(), '{new}')",
            "ask its author for a safetensors file",
        ),
    )


def _tensors_in(value: Any, path: Path, at: tuple[str, ...]) -> dict[str, Tensor]:
    """The mapping of tensors in a checkpoint: the value itself, or below a usual name."""
    places = [value]
    if isinstance(value, Mapping):
        places += [value[name] for name in _WRAPPERS if isinstance(value.get(name), Mapping)]
    for place in places:
        if isinstance(place, Mapping) and place:
            tensors = {str(k): v for k, v in place.items() if _dense(v)}
            if tensors and len(tensors) == len(place):
                return tensors
    keys = ", ".join(map(str, list(value)[:8])) if isinstance(value, Mapping) else ""
    raise JobError(
        Problem(
            "M304",
            f"`{path}` holds no state dict",
            at=at,
            notes=(f"it holds {type(value).__name__} {keys}".rstrip(),),
            remedies=("save model.state_dict(), or a mapping with it under `state_dict`",),
        )
    )
