"""A disk that takes no more, whoever writes: the system's number and our file, and nothing left."""

from __future__ import annotations

import errno
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from safetensors.torch import save_file

from bequeath.blocks import text_encoder
from bequeath.blocks.manifest import Kept, save_manifest
from bequeath.fleet.folder import writing
from bequeath.kernel.errors import RunError
from bequeath.kernel.files import whole_folder, write_json, write_whole
from bequeath.train import checkpoint

MUCH = np.random.default_rng(0).normal(size=30_000).astype(np.float32)


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, MUCH)


def header(path: Path) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array(file, MUCH)


WRITERS: dict[str, Callable[[Path], object]] = {
    "np.save": array,
    "np.lib.format": header,
    "np.savez": lambda path: np.savez(path.open("wb"), x=MUCH),
    "safetensors": lambda path: save_file({"a": torch.tensor(MUCH)}, path),
    "parquet": lambda path: parquet.write_table(pa.table({"a": MUCH}), path),
    "text": lambda path: path.write_text("x" * 100_000),
    "picture": lambda path: Image.fromarray(MUCH.reshape(200, 150).view("u1")).save(path, "PNG"),
}


@pytest.mark.parametrize("size", [0, 5_000])
@pytest.mark.parametrize("name", WRITERS)
def test_the_systems_number_whoever_writes(tmp_path, name, size):
    path = tmp_path / "made"
    with room(size), pytest.raises(OSError) as caught:
        write_whole(path, WRITERS[name])
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    with room(size), pytest.raises(OSError) as caught, whole_folder(path) as folder:
        WRITERS[name](folder / "one")
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert list(tmp_path.iterdir()) == []


def test_other_errors_go_on_as_they_are(tmp_path):
    for raised in (OSError("a file became shorter"), ValueError("error 28"), KeyError()):
        with pytest.raises(type(raised)) as caught, whole_folder(tmp_path / "made"):
            raise raised
        assert caught.value is raised
    with pytest.raises(RunError) as told, whole_folder(tmp_path / "made"), room(0):
        checkpoint.save(tmp_path / "c", {"a": torch.zeros(3)})
    assert told.value.problem.code == "R521"


class Encoder:
    def encode(self, texts: list[str], **how: object) -> np.ndarray:
        return np.zeros((len(texts), 2_000))


def test_what_is_kept_of_a_selection_and_of_texts(tmp_path, monkeypatch):
    out = tmp_path / "out"
    kept = {"train": Kept(np.arange(2_000), "ab" * 16, 5_000)}
    with room(3_000), pytest.raises(RunError) as caught, writing(out):
        save_manifest(out / "selection", kept)
    assert caught.value.problem.code == "R522" and caught.value.problem.notes == ()
    assert list((out / "selection").iterdir()) == []
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "cache"))
    with room(3_000), pytest.raises(RunError) as caught, writing(out):
        text_encoder._block(["a", "b"], Encoder(), "e")
    assert caught.value.problem.code == "R523"
    assert str(tmp_path / "cache") in caught.value.problem.notes[0]


def test_a_file_elsewhere_is_named(tmp_path):
    with room(10), pytest.raises(RunError) as caught, writing(tmp_path / "out"):
        write_json(tmp_path / "other.json", {"a": "x" * 100})
    assert caught.value.problem.code == "R522"
    assert str(tmp_path / "other.json") in caught.value.problem.notes[0]
