"""Checkpoints: nested state in one safetensors file, no pickle, written whole or not at all.

Tensors lie in the file as tensors; everything else (dicts, lists, numbers, text) is a JSON skeleton
in the file's metadata, with a checksum over both, so that a damaged file is known as such.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bequeath.kernel.errors import Problem, RunError
from bequeath.kernel.files import write_whole

_VERSION = "bequeath-checkpoint-2"


class Damaged(ValueError):
    """The file is no checkpoint, or not a whole one."""


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write nested dicts, lists, tuples, tensors, numbers, text and None to `path`, whole.

    Tensors that share memory are stored once. TypeError for anything else; RunError R521 when the
    disk does not take it (the old file is still there).
    """
    tensors: dict[str, Tensor] = {}
    skeleton = json.dumps(_flatten(state, tensors, {}), ensure_ascii=True)
    crc = f"{_checksum(skeleton, tensors):08x}"
    metadata = {"format": _VERSION, "skeleton": skeleton, "crc32": crc}
    try:
        write_whole(path, lambda part: save_file(tensors, part, metadata=metadata))
    except OSError as error:
        problem = Problem(
            "R521",
            f"the checkpoint `{path.name}` could not be written: {error.strerror or error}",
            remedies=("free some space, then run the same command again: it goes on",),
        )
        raise RunError(problem) from error


def load(path: Path) -> dict[str, Any]:
    """What `save` wrote, tensors on the CPU. `Damaged` when the file is not whole."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        skeleton = metadata["skeleton"]
        if metadata.get("format") != _VERSION:
            raise Damaged(f"written by another version ({metadata.get('format')})")
        if metadata.get("crc32") != f"{_checksum(skeleton, tensors):08x}":
            raise Damaged("its checksum does not fit its content")
        return _rebuild(json.loads(skeleton), tensors)
    except (OSError, SafetensorError, KeyError, RecursionError, json.JSONDecodeError) as error:
        raise Damaged(f"it cannot be read: {error}") from error


def _checksum(skeleton: str, tensors: Mapping[str, Tensor]) -> int:
    crc = zlib.crc32(skeleton.encode())
    for name in sorted(tensors):
        if tensors[name].numel():
            crc = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, crc)
    return crc


def _flatten(value: Any, tensors: dict[str, Tensor], seen: dict[tuple, str]) -> Any:
    """The JSON skeleton of `value`; its tensors are put into `tensors`."""
    if isinstance(value, Tensor):
        return {"t": _store(value.detach(), tensors, seen)}
    if isinstance(value, Mapping):
        items = [[_key(k), _flatten(v, tensors, seen)] for k, v in value.items()]
        return {"d": items}
    if isinstance(value, list | tuple):
        kind = "l" if isinstance(value, list) else "u"
        return {kind: [_flatten(v, tensors, seen) for v in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint holds tensors, numbers and text, not {type(value).__name__}")


def _key(key: Any) -> Any:
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise TypeError(f"a checkpoint's keys are text or whole numbers, not {type(key).__name__}")
    return key


def _store(tensor: Tensor, tensors: dict[str, Tensor], seen: dict[tuple, str]) -> str:
    where = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
    if tensor.numel() and where in seen:
        return seen[where]
    name = str(len(tensors))
    # A copy: the file format refuses tensors that overlap in memory, and some views do.
    tensors[name] = tensor.to("cpu", copy=True).contiguous()
    seen[where] = name
    return name


def _rebuild(skeleton: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(skeleton, dict):
        return skeleton
    ((kind, content),) = skeleton.items()
    if kind == "t":
        return tensors[content]
    if kind == "d":
        return {key: _rebuild(value, tensors) for key, value in content}
    parts = [_rebuild(value, tensors) for value in content]
    return parts if kind == "l" else tuple(parts)
