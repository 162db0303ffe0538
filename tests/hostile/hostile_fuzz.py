"""What is fuzzed: for each way in, values drawn by hypothesis, and the call that meets them.

A call ends well, or in a JobError or RunError with known codes. Anything else is a finding.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bad_files as make
import numpy as np
import pyarrow as pa
import torch
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet
from safetensors.torch import save

from bequeath.evidence.claims import load_claim
from bequeath.given.data import data_handle
from bequeath.given.graphs import graph_handle
from bequeath.given.weights_file import read_tensors
from bequeath.job.api import load_job
from bequeath.weights.header import open_checkpoint


@dataclass(frozen=True)
class Target:
    """values: what is drawn. call: what meets a value, in a folder of its own."""

    values: st.SearchStrategy[Any]
    call: Callable[[Any, Path], object]


INTERESTING = [b"\0", b"\xff", b"\x80", b"\x7f", b"\xff\xff\xff\xff", b"\0\0\0\0",
    b"\xff\xff\xff\x7f",
               b"\xff" * 8, b"9" * 20, b"-1", b"1e999", b"NaN", b'"', b"{", b"[", b"\n", b",",
               b"\t",
               b"'", b"\xef\xbb\xbf", b"\xed\xa0\x80"]  # fmt: skip
edits = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["replace", "insert", "delete", "repeat", "flip", "cut"]),
        st.one_of(st.sampled_from(INTERESTING), st.binary(min_size=1, max_size=8)),
        st.integers(1, 64),
    ),
    min_size=1,
    max_size=6,
)


def mutated(*seeds: bytes) -> st.SearchStrategy[bytes]:
    """A good file with some of its bytes replaced, left out, repeated or turned."""

    def apply(seed: bytes, changes: list[tuple[float, str, bytes, int]]) -> bytes:
        data = bytearray(seed)
        for share, kind, new, length in changes:
            at = int(share * len(data))
            if kind == "replace":
                data[at : at + len(new)] = new
            elif kind == "insert":
                data[at:at] = new
            elif kind == "delete":
                del data[at : at + length]
            elif kind == "repeat":
                data[at:at] = data[at : at + length] * 3
            elif kind == "flip" and data:
                data[at] ^= 1 << (length % 8)
            elif kind == "cut" and length > 56:
                del data[at:]
        return bytes(data)

    return st.builds(apply, st.sampled_from(seeds), edits)


def through(name: str, call: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    """The bytes as a file of this name."""

    def meet(data: bytes, folder: Path) -> object:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return call(path)

    return meet


def samples(scheme: str, path: Path | str, **options: Any) -> object:
    return data_handle("train", f"{scheme}:{path}", {"memory": "100MB", **options}).load()


WORDS = st.sampled_from(
    [
        "want",
        "method",
        "models",
        "data",
        "graphs",
        "seeds",
        "train",
        "out",
        "vars",
        "extends",
        "evaluate",
        "budget",
        "protocol",
        "baselines",
        "ref",
        "name",
        "as",
        "kd",
        "nd",
        "distill",
        "merge",
        "student",
        "teacher",
        "test",
        "epochs",
        "optimizer",
        "lr",
        "temperature",
        "hidden",
        "zoo:mlp",
        "npz:x.npz",
        "file:x",
        "hf:x",
        "py:a.py:f",
        "${a}",
        "{",
        "[",
        "null",
        "true",
    ]
)
scalars = st.one_of(
    WORDS, st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
    st.integers(10**18, 10**40),
)  # fmt: skip
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(WORDS, st.text(max_size=6)), inner,
        max_size=5)
    ),
    max_leaves=20,
)  # fmt: skip
JOB = {
    "want": "distill", "method": "kd", "models": {"teacher": "zoo:mlp", "student": "zoo:mlp"},
    "data": {"train": "sklearn:digits?split=train", "test": "sklearn:digits?split=test"},
    "seeds": 1, "train": {"epochs": 1, "batch_size": 16}, "out": "nowhere",
}  # fmt: skip
RECIPE = {
    "merge_method": "ties", "base_model": "b", "dtype": "float32",
    "models": [{"model": "one", "parameters": {"weight": 1, "density": 0.5}}, {"model": "two"}],
    "parameters": {"weight": 0.5, "normalize": True},
}  # fmt: skip


def regrown(good: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A good mapping in which some keys have other values, and some keys are new."""
    other = st.dictionaries(st.one_of(st.sampled_from(sorted(good)), WORDS), trees, max_size=3)
    return st.builds(lambda change: good | change, other)


def _archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, x=make.table(8)[0], y=np.arange(8) % 3, names=np.array(["a", "b", "c"]))
    return file.getvalue()


def _header(text: str, body: bytes, folder: Path) -> object:
    """A zip whose x has this header and body, and nothing else wrong."""
    path = folder / "train.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", make.npy(text.encode("latin1", "replace"), body))
    return samples("npz", path, labels=False)


numpy_headers = st.builds(
    lambda descr, order,
         shape: f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}",
    st.one_of(st.sampled_from(["'<f4'", "'|u1'", "'<U2'", "'|S0'", "'|O'", "'<f16'", "'>i8'",
         "'<M8[D]'",
                               "'|V3'", "'<c8'", "'|b1'", "[('a', '<f4')]"]),
              st.text(max_size=8).map(repr)),
    st.sampled_from(["False", "True", "None", "1"]),
    st.one_of(st.lists(st.integers(-2, 70), max_size=5).map(lambda s: repr(tuple(s))),
              st.lists(st.integers(), max_size=3).map(lambda s: repr(tuple(s))),
              st.text(max_size=8)),
)  # fmt: skip
tensor_headers = st.dictionaries(
    st.one_of(st.sampled_from([*make.WEIGHTS, "__metadata__"]), st.text(max_size=5)),
    st.one_of(
        trees,
        st.fixed_dictionaries({
            "dtype": st.one_of(st.sampled_from(["F32", "BF16", "I64", "F4", "BOOL"]), scalars),
            "shape": st.one_of(st.lists(st.integers(-1, 9), max_size=3), trees),
            "data_offsets": st.one_of(st.lists(st.integers(-1, 400), min_size=2, max_size=2),
            trees),
        }),
    ),
    max_size=4,
)  # fmt: skip


def _weights(path: Path) -> object:
    return read_tensors(path, at=("ref",)), open_checkpoint(path)


def _tensors(header: Any, folder: Path) -> object:
    make.tensors(json.dumps(header).encode(), bytes(400))(folder)
    return _weights(folder / "teacher.safetensors")


def _torch_file(legacy: bool) -> bytes:
    file = io.BytesIO()
    state = {name: torch.zeros(shape) for name, shape in make.WEIGHTS.items()}
    torch.save(state, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def _parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table({"label": [0, 1, 2, 0] * 3, **columns}), file)
    return file.getvalue()


def _picture(form: str) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((16, 16), 90).convert("RGB").save(file, form)
    return file.getvalue()


def _graph(data: bytes, folder: Path) -> object:
    (folder / "g.tsv").write_bytes(data)
    return graph_handle("kg", f"tsv:{folder / 'g.tsv'}", {"memory": "100MB"}).load()


JSONL = "".join(f'{{"a": {i}, "t": "{i}", "label": {i % 3}}}\n' for i in range(9)).encode()
CSV = ("a,b,label\n" + "".join(f"{i},{i / 7},{i % 3}\n" for i in range(9))).encode()
GRAPH = "".join(f"e{i % 7}\tr{i % 2}\te{(i * 3 + 1) % 7}\n" for i in range(14)).encode()
CLAIM = next(iter(sorted((Path(__file__).parents[2] / "claims").glob("*.yaml")))).read_bytes()
FLOATS = [float(i) for i in range(12)]
TARGETS = {
    "job bytes": Target(st.binary(max_size=300), through("job.yaml", load_job)),
    "job text": Target(st.text(max_size=300).map(lambda t: t.encode("utf-8", "surrogatepass")),
                       through("job.yaml", load_job)),
    "job mutated": Target(mutated(json.dumps(JOB, indent=1).encode(), make.GOOD.encode()),
                          through("job.yaml", load_job)),
    "job regrown": Target(regrown(JOB), lambda value, folder: load_job(value)),
    "job set": Target(st.lists(st.one_of(st.text(max_size=30), st.builds("{}.{}={}".format, WORDS,
         WORDS,
                      st.text(max_size=8))), max_size=3), lambda value, folder: load_job(JOB,
                      value)),
    "recipe regrown": Target(regrown(RECIPE), lambda value, folder: through("job.yaml", load_job)(
        json.dumps(value, default=str).encode(), folder)),
    "claim": Target(mutated(CLAIM), through("c.yaml", load_claim)),
    "safetensors mutated": Target(
        mutated(save({n: torch.zeros(s) for n, s in make.WEIGHTS.items()})),
        through("w.safetensors", _weights)),
    "safetensors header": Target(tensor_headers, _tensors),
    "torch zip": Target(mutated(_torch_file(False)), through("w.pt", lambda p: read_tensors(p,
         at=()))),
    "torch pickle": Target(mutated(_torch_file(True)), through("w.pt", lambda p: read_tensors(p,
         at=()))),
    "npz mutated": Target(mutated(_archive()), through("t.npz", lambda p: samples("npz", p))),
    "npy header": Target(st.tuples(numpy_headers, st.binary(max_size=64)),
                         lambda value, folder: _header(*value, folder)),
    "parquet": Target(
        mutated(_parquet(a=FLOATS), _parquet(a=FLOATS, b=[[1.0, 2.0]] * 12), _parquet(t=["x",
        "y"] * 6)),
        through("t.parquet", lambda p: samples("parquet", p))),
    "parquet text": Target(mutated(_parquet(t=["some text", None, "more"] * 4)),
                           through("t.parquet", lambda p: samples("parquet", p, text="t"))),
    "csv mutated": Target(mutated(CSV), through("t.csv", lambda p: samples("csv", p))),
    "csv text": Target(st.text(st.sampled_from('a1,."\'\n\t\0-e=\u202e\u00e9 '),
         max_size=80).map(str.encode),
                       through("t.csv", lambda p: samples("csv", p, labels=False))),
    "jsonl": Target(mutated(JSONL), through("t.jsonl", lambda p: samples("jsonl", p))),
    "image": Target(mutated(_picture("PNG"), _picture("JPEG"), _picture("GIF"), _picture("TIFF"),
                            _picture("BMP"), _picture("WEBP")),
                    through("p/9.png", lambda p: samples("folder", p.parent, labels=False,
                    size=8))),
    "graph": Target(mutated(GRAPH), _graph),
}  # fmt: skip
