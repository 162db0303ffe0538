"""Makers of bad files for `test_bad_input.py`: each writes into the folder it is given."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

GOOD = """\
want: distill
method: kd
models:
  teacher: {ref: "file:teacher.safetensors", arch: "zoo:mlp?hidden=8"}
  student: {ref: "zoo:mlp", hidden: [4]}
data:
  train: {ref: "npz:train.npz"}
  test: {ref: "npz:test.npz"}
seeds: 1
train: {epochs: 1, batch_size: 16, threads: 1, cache: "off"}
out: out
"""
TEACHER = '{ref: "file:teacher.safetensors", arch: "zoo:mlp?hidden=8"}'
STUDENT = '{ref: "zoo:mlp", hidden: [4]}'
TRAIN = '{ref: "npz:train.npz"}'
TEACHER_REF, TRAIN_REF = '"file:teacher.safetensors"', '"npz:train.npz"'
Make = Callable[[Path], None]
N, WIDTH, CLASSES = 40, 6, 3
WEIGHTS = {"body.0.weight": (8, 6), "body.0.bias": (8,), "out.weight": (3, 8), "out.bias": (3,)}


def swap(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below with its kind and, of a file, size and time of change."""
    found = {}
    for path in folder.rglob("*"):
        stat = path.lstat()
        is_dir = path.is_dir() and not path.is_symlink()
        found[str(path.relative_to(folder))] = (
            (0, 0) if is_dir else (stat.st_size, stat.st_mtime_ns)
        )
    return found


def table(n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """float32 [n, 6] and int64 [n]: three classes in turn."""
    x = np.random.default_rng(seed).standard_normal((n, WIDTH)).astype(np.float32)
    return x, np.arange(n) % CLASSES


def good(folder: Path) -> None:
    """What the good job names: train, test, and a teacher of another width than the student."""
    for seed, name in enumerate(("train", "test")):
        x, y = table(seed=seed)
        np.savez(folder / f"{name}.npz", x=x, y=y)
    torch.manual_seed(0)
    save_file({k: torch.randn(s) for k, s in WEIGHTS.items()}, folder / "teacher.safetensors")


def text(name: str, content: str | bytes) -> Make:
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data) and None


def npz(**change: Any) -> Make:
    """train.npz with arrays replaced; None leaves one out; a function maps the good one."""

    def make(folder: Path) -> None:
        x, y = table()
        arrays: dict[str, Any] = {"x": x, "y": y}
        for key, value in change.items():
            arrays[key] = value(arrays[key].copy()) if callable(value) else value
        np.savez(folder / "train.npz", **{k: v for k, v in arrays.items() if v is not None})

    return make


def put(index: Any, value: Any) -> Callable[[np.ndarray], np.ndarray]:
    """A map for `npz`: one entry changed, as float."""

    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.float64)
        array[index] = value
        return array

    return change


def npy(header: str | bytes, data: bytes = b"", claim: int | None = None) -> bytes:
    raw = header.encode("latin1") if isinstance(header, str) else header
    return (
        b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw) if claim is None else claim) + raw + data
    )


def zipped(**members: bytes) -> Make:
    """train.npz of raw members, and four labels."""

    def make(folder: Path) -> None:
        y = io.BytesIO()
        np.save(y, np.zeros(4, np.int64))
        with zipfile.ZipFile(folder / "train.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in {**members, "y": y.getvalue()}.items():
                archive.writestr(f"{name}.npy", data)

    return make


def shaped(shape: str, descr: str = "'<f4'", data: bytes = b"") -> Make:
    """train.npz whose `x` says it has this shape and type."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    return zipped(x=npy(header, data))


def bomb(folder: Path) -> None:
    """64 MB of zeros in a file of 64 kB; the job allows 1 MB."""
    with zipfile.ZipFile(folder / "train.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x.npy", "w", force_zip64=True) as member:
            member.write(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (64, 1000000)}"))
            for _ in range(64):
                member.write(bytes(1_000_000))
        archive.writestr("y.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (64,)}",
                                      bytes(64)))  # fmt: skip


def shorter_zip(folder: Path) -> None:
    """A zip whose directory says a member is smaller than what it unpacks to."""
    npz()(folder)
    path = folder / "train.npz"
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 200)
    path.write_bytes(data)


def cut(name: str, keep: int) -> Make:
    """A good file that ends too early (`keep` < 0: so many bytes are missing)."""

    def make(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:keep])

    return make


class Code:
    """A pickle that makes a file when it is opened."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


def pickled(name: str, torch_zip: bool = False) -> Make:
    def make(folder: Path) -> None:
        if torch_zip:
            torch.save({"out.weight": torch.zeros(3, 8), "code": Code()}, folder / name)
        else:
            (folder / name).write_bytes(pickle.dumps(Code()))

    return make


def objects(folder: Path) -> None:
    array = np.empty(4, object)
    array[:] = [Code()] * 4
    np.savez(folder / "train.npz", x=array, y=np.zeros(4))


def tensors(header: Any, data: bytes = bytes(400), length: int | None = None) -> Make:
    """teacher.safetensors with this header; `length` is what it says of the header's size."""

    def make(folder: Path) -> None:
        raw = header if isinstance(header, bytes) else json.dumps(header).encode()
        size = len(raw) if length is None else length
        (folder / "teacher.safetensors").write_bytes(size.to_bytes(8, "little") + raw + data)

    return make


def entry(shape: Any, begin: Any, end: Any, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def weights(**shapes: tuple[int, ...]) -> Make:
    """teacher.safetensors with shapes changed or tensors added (`_` stands for `.`); () drops."""

    def make(folder: Path) -> None:
        wanted = WEIGHTS | {k.replace("_", "."): v for k, v in shapes.items()}
        state = {k: torch.zeros(s) for k, s in wanted.items() if s}
        save_file(state, folder / "teacher.safetensors")

    return make


def photos(
    folder: Path, *names: str, root: str = "photos", size: int = 8, each: int = 4, prefix: str = ""
) -> None:
    """`root/<class>/<i>.png`, the same noise each time."""
    noise = np.random.default_rng(0)
    for name in names or ("ant", "bee", "cat"):
        (folder / root / name).mkdir(parents=True)
        for i in range(each):
            pixels = noise.integers(0, 256, (size, size, 3), np.uint8)
            Image.fromarray(pixels).save(folder / root / name / f"{prefix}{i}.png")


def bad_photos(folder: Path) -> None:
    """Three that do not decode: no image, cut off, empty; one has a name that steers terminals."""
    photos(folder)
    (folder / "photos/ant/0.png").write_text("no image")
    whole = (folder / "photos/bee/1.png").read_bytes()
    (folder / "photos/bee/1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "photos/cat/\x1b[31mred\u202e.png").write_bytes(b"")


def no_photos(folder: Path) -> None:
    photos(folder)
    for path in (folder / "photos").rglob("*.png"):
        path.write_text("no image")


def empty_class(folder: Path) -> None:
    photos(folder)
    (folder / "photos/dog").mkdir()


def two_sizes(folder: Path) -> None:
    photos(folder, "ant", "bee")
    photos(folder, "cat", size=9)


def huge_photo(folder: Path) -> None:
    """A PNG whose header speaks of 2 gigapixels, and nothing behind it."""
    photos(folder)
    head = struct.pack(">IIBBBBB", 45_000, 45_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(head)) + chunk
    data += struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 0) + b"IDAT"
    (folder / "photos/ant/huge.png").write_bytes(data + struct.pack(">I", zlib.crc32(b"IDAT")))


def both(*makes: Make) -> Make:
    def make(folder: Path) -> None:
        for one in makes:
            one(folder)

    return make


def state(fill: Callable[[tuple[int, ...]], torch.Tensor], by_torch: bool = False) -> Make:
    """teacher.safetensors of the right names, filled; `by_torch`: by torch.save under that name."""

    def make(folder: Path) -> None:
        tensors = {name: fill(shape) for name, shape in WEIGHTS.items()}
        path = folder / "teacher.safetensors"
        torch.save(tensors, path) if by_torch else save_file(tensors, path)

    return make


def saved(value: Any) -> Make:
    return lambda folder: torch.save(value, folder / "teacher.safetensors")


def moved(old: str, new: str) -> Make:
    return lambda folder: (folder / old).rename(folder / new) and None


def same(source: str, target: str) -> Make:
    return lambda folder: (folder / target).write_bytes((folder / source).read_bytes()) and None


def _in_place_of(name: str, put_there: Callable[[Path], Any]) -> Make:
    def make(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        put_there(folder / name)

    return make


def link(name: str, target: str) -> Make:
    return _in_place_of(name, lambda path: path.symlink_to(target))


def folder(name: str) -> Make:
    return _in_place_of(name, lambda path: path.mkdir())


def pipe(name: str) -> Make:
    return _in_place_of(name, os.mkfifo)


def encrypted(folder: Path) -> None:
    """Every member says that it is encrypted."""
    path = folder / "train.npz"
    data = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + flags] |= 1
            at = data.find(mark, at + 4)
    path.write_bytes(data)


def strangers(folder: Path) -> None:
    (folder / "theirs").mkdir()
    (folder / "theirs/mine.txt").write_text("precious")


def look_alikes(folder: Path) -> None:
    """Files of someone else under names that a job would use, and `--fresh` would remove."""
    for name in ("runs", "work", "references"):
        (folder / "theirs" / name).mkdir(parents=True)
        (folder / "theirs" / name / "precious").write_text("x")
    (folder / "theirs/job.yaml").write_text("mine")
