"""What a checkpoint holds, from its headers: a safetensors file, or a folder with an index.

Nothing is read but headers and small JSON files, and torch is not imported.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from bequeath.kernel.errors import JobError, JobPath, Problem, Problems
from bequeath.kernel.read_json import read_json
from bequeath.kernel.safetensors_header import Header, read_header

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_PICKLES = ("pytorch_model*.bin*", "*.bin", "*.pt", "*.pth", "*.ckpt")


class Slot(NamedTuple):
    """Where a tensor lies: `length` bytes from byte `offset` of `file` on."""

    file: Path
    offset: int
    length: int
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Checkpoint:
    """A model's tensors on disk. folder: what else belongs to the model, None for a bare file."""

    path: Path
    slots: Mapping[str, Slot]
    files: tuple[Path, ...]
    folder: Path | None
    config: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def nbytes(self) -> int:
        return sum(slot.length for slot in self.slots.values())

    @cached_property
    def dtypes(self) -> dict[str, int]:
        """Number of tensors of each type, most frequent first."""
        return dict(Counter(slot.dtype for slot in self.slots.values()).most_common())

    @property
    def architecture(self) -> str | None:
        """The class that config.json names, else its model type."""
        named = self.config.get("architectures")
        if isinstance(named, list) and named:
            return str(named[0])
        kind = self.config.get("model_type")
        return str(kind) if kind else None


def open_checkpoint(path: Path | str, *, at: JobPath = ()) -> Checkpoint:
    """A .safetensors file, or a folder that holds one or an index of several.

    JobError: M301 nothing there, M302 a file is cut short, W801 no safetensors in the folder,
    W802 an index that cannot be followed, W803 a shard is missing, M313 broken JSON.
    """
    path = Path(path)
    if path.is_file():
        if path.name.endswith(".index.json"):
            return _sharded(path.parent, path, at)
        return _single(path, None, at)
    if not path.is_dir():
        raise JobError(
            Problem(
                "M301",
                f"model `{path}` is not there",
                at=at,
                remedies=("correct the path; it counts from the folder the command runs in",),
            )
        )
    indexes = sorted(path.glob("*.safetensors.index.json"))
    index = path / INDEX if path / INDEX in indexes else next(iter(indexes), None)
    files = sorted(path.glob("*.safetensors"))
    if index is not None:
        return _sharded(path, index, at)
    if path / SINGLE in files or len(files) == 1:
        return _single(path / SINGLE if path / SINGLE in files else files[0], path, at)
    raise JobError(_no_weights(path, files, at))


def _single(file: Path, folder: Path | None, at: JobPath) -> Checkpoint:
    slots = _slots(file, _header(file, at))
    return Checkpoint(folder or file, slots, (file,), folder, _config(folder, at))


def _sharded(folder: Path, index: Path, at: JobPath) -> Checkpoint:
    names = _weight_map(index, at)
    shards = {shard: folder / shard for shard in sorted(set(names.values()))}
    problems = Problems()
    missing = [shard for shard, file in shards.items() if not file.is_file()]
    if missing:
        problems.add(
            "W803",
            f"`{folder}` lacks {len(missing)} of the {len(shards)} files that its index names: "
            f"{some(missing)}",
            at=at,
            remedies=("copy or download the missing files again",),
        )
    slots: dict[str, Slot] = {}
    for shard, file in shards.items():
        if shard in missing:
            continue
        try:
            found = _slots(file, _header(file, at))
        except JobError as error:
            problems.extend(error.problems)
            continue
        named = {name for name, where in names.items() if where == shard}
        if named != set(found):
            problems.extend([_disagree(index, shard, named, set(found), at)])
        slots |= found
    problems.raise_if_any()
    return Checkpoint(folder, slots, tuple(shards.values()), folder, _config(folder, at))


def _weight_map(index: Path, at: JobPath) -> dict[str, str]:
    """name -> file name, every file in the index's own folder."""

    def wrong(message: str, *notes: str) -> JobError:
        remedies = ("copy or download the index again",)
        return JobError(
            Problem("W802", f"index `{index}` {message}", at=at, notes=notes, remedies=remedies)
        )

    value = read_json(index, at=at)
    names = value.get("weight_map")
    if not isinstance(names, dict) or not names:
        raise wrong("has no `weight_map`")
    for name, shard in names.items():
        if not isinstance(shard, str) or not shard.endswith(".safetensors"):
            raise wrong(f"names no safetensors file for tensor `{name}`", f"it says {shard!r}")
        pure = PurePosixPath(shard)
        if pure.is_absolute() or ".." in pure.parts or "\\" in shard or ":" in shard:
            raise wrong("points out of its own folder", f"tensor `{name}` in `{shard}`")
    return names


def _disagree(index: Path, shard: str, named: set[str], found: set[str], at: JobPath) -> Problem:
    notes = []
    if named - found:
        notes.append(f"named but not in the file: {some(sorted(named - found))}")
    if found - named:
        notes.append(f"in the file but not named: {some(sorted(found - named))}")
    return Problem(
        "W802",
        f"index `{index}` and its file `{shard}` do not hold the same tensors",
        at=at,
        notes=tuple(notes),
        remedies=("copy or download both again, from the same revision",),
    )


def _slots(file: Path, header: Header) -> dict[str, Slot]:
    """In the order of the file, so that reading them one after another reads straight on."""
    places = sorted(header.tensors.items(), key=lambda entry: (entry[1].offset, entry[0]))
    return {
        name: Slot(file, place.offset, place.length, place.fact.shape, place.fact.dtype)
        for name, place in places
    }


def _header(file: Path, at: JobPath) -> Header:
    try:
        return read_header(file, at=tuple(str(part) for part in at))
    except OSError as error:
        raise JobError(
            Problem("M301", f"`{file}` cannot be read: {error.strerror}", at=at)
        ) from None


def _no_weights(folder: Path, files: list[Path], at: JobPath) -> Problem:
    if files:
        message = f"`{folder}` holds several safetensors files and no index"
        remedies: tuple[str, ...] = (
            "name the file itself",
            f"add the `{INDEX}` that belongs to them",
        )
        return Problem(
            "W801", message, at=at, notes=(some([f.name for f in files]),), remedies=remedies
        )
    pickles = sorted({file.name for glob in _PICKLES for file in folder.glob(glob)})
    if pickles:
        message = f"`{folder}` holds no safetensors file, only `{pickles[0]}`"
        remedies = ("save the model again with save_pretrained(..., safe_serialization=True)",)
        return Problem("W801", message, at=at, remedies=remedies)
    return Problem("W801", f"`{folder}` holds no safetensors file", at=at)


def _config(folder: Path | None, at: JobPath) -> dict[str, Any]:
    file = folder / "config.json" if folder else None
    return read_json(file, at=at) if file is not None and os.path.lexists(file) else {}


def some(names: list[str], most: int = 3) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
