"""Hostile weights, model folders, and models that are somebody's code."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bad_files as make
import torch
from bad_files import GOOD, entry, tensors
from hostile_case import Case, job

FULL = {"body.0.weight": entry([8, 6], 0, 192), "body.0.bias": entry([8], 192, 224),
        "out.weight": entry([3, 8], 224, 320), "out.bias": entry([3], 320, 332)}  # fmt: skip
BODY = bytes(332)


def weights(name: str, what: str, codes: str, made: make.Make, *says: str, **more: Any) -> Case:
    return Case(name, f"weights: {what}", codes, job(GOOD, made), says=says, **more)


def raw_header(text: str, data: bytes = BODY) -> make.Make:
    return tensors(text.encode(), data)


def changed(name: str, place: dict[str, Any], data: bytes = BODY) -> make.Make:
    return tensors(FULL | {name: place}, data)


def repeated(unit: str, count: int, head: str = '{"a":[', tail: str = "]}") -> make.Make:
    return lambda folder: tensors((head + unit * count + tail).encode())(folder)


HEADERS = [
    weights("st-big-deep", "a header of 100 MB that is one mapping of empty lists", "M302",
            repeated("[],", 33_000_000, tail="[]]}")),
    weights("st-big-texts", "a header of 30 MB of short texts", "M302",
            repeated('"ab",', 6_000_000, tail='""]}')),
    weights("st-big-numbers", "a header of 30 MB of numbers in one shape", "M302",
            repeated("1,", 15_000_000, '{"out.bias":{"dtype":"F32","data_offsets":[0,4],"shape":[',
                     "1]}}")),
    weights("st-10k", "10,000 tensors that nobody asked for", "M306",
            tensors({f"t{i}": entry([0], 0, 0) for i in range(10_000)}, b"")),
    weights("st-inf-shape", "a shape of infinity", "M302",
            raw_header('{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,332]}}')),
    weights("st-nan-offset", "an offset that is no number", "M302",
            raw_header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[NaN,4]}}')),
    weights("st-text-shape", "a shape that is a text", "M302",
            tensors({"a": {"dtype": "F32", "shape": "83", "data_offsets": [0, 96]}})),
    weights("st-float-shape", "a shape of fractions", "M302", changed("out.bias", entry([3.7], 320,
         332))),
    weights("st-bool-shape", "a shape of true", "M302", changed("out.bias", entry([True, 3], 320,
         332))),
    weights("st-long-shape", "a shape of 10,000 axes", "M302",
            changed("out.bias", entry([2**62] * 10_000, 320, 332))),
    weights("st-digits", "a shape of 5000 digits", "M302",
            raw_header(f'{{"a":{{"dtype":"F32","shape":[{"9" * 5000}],"data_offsets":[0,4]}}}}')),
    weights("st-overflow", "a shape whose product is 0 in 64 bits", "M302",
            changed("out.bias", entry([2**32, 2**32], 320, 332))),
    weights("st-zero-times-much", "a shape of nothing, many times", "M302",
            changed("out.bias", entry([0, 2**62], 320, 332))),
    weights("st-same-name", "a tensor named twice", "M302",
            raw_header(json.dumps(FULL)[:-1] + ',"out.bias":' + json.dumps(entry([3], 0,
            12)) + "}"),
            "twice"),
    weights("st-overlap", "two tensors in the same bytes", "M302",
            changed("out.bias", entry([3], 0, 12), bytes(320))),
    weights("st-hole", "bytes that belong to no tensor", "M302",
            changed("out.bias", entry([3], 400, 412), bytes(412))),
    weights("st-tail", "megabytes behind the last tensor", "M302",
            tensors(FULL, BODY + bytes(3_000_000))),
    weights("st-unsorted", "tensors out of order, one twice as long as it says", "M302",
            tensors({"out.bias": entry([3], 0, 24), "out.weight": entry([3, 8], 24, 120)},
            bytes(120))),
    weights("st-nul-name", "a name with a null", "M306", changed("out\0bias", entry([0], 332, 332)),
            r"out\x00bias"),
    weights("st-path-name", "a name that climbs out of its folder", "M306",
            changed("../../../tmp/x", entry([0], 332, 332))),
    weights("st-rtl-name", "a name written from right to left", "M306",
            changed("\u202etuo", entry([0], 332, 332)), r"\u202e"),
    weights("st-surrogate-name", "a name of half a character", "M306",
            tensors(json.dumps(FULL | {"\ud800": entry([0], 332, 332)}).encode(), BODY)),
    weights("st-long-name", "a name of a megabyte", "M306",
            changed("n" * 1_000_000, entry([0], 332, 332))),
    weights("st-metadata-list", "metadata that are a list", "M302",
            tensors(FULL | {"__metadata__": [1, 2]}, BODY)),
    weights("st-metadata-deep", "metadata that are a tree", "M302",
            tensors(FULL | {"__metadata__": {"a": {"b": "c"}}}, BODY)),
    weights("st-offset-three", "three offsets", "M302",
            changed("out.bias", {"dtype": "F32", "shape": [3], "data_offsets": [320, 332, 332]})),
    weights("st-type-list", "a type that is a list", "M302",
            changed("out.bias", {"dtype": ["F32"], "shape": [3], "data_offsets": [320, 332]})),
    weights("st-utf16", "a header in UTF-16", "M302", tensors(json.dumps(FULL).encode("utf-16"),
         BODY)),
    weights("st-trailing", "a header with a second mapping behind the first", "M302",
            raw_header(json.dumps(FULL) + "{}")),
    weights("st-empty-header", "a header of two spaces", "M302", tensors(b"  ", BODY)),
        weights("st-sparse-file", "a file of 1 TB that is all hole", "M302",
            lambda f: os.truncate(f / "teacher.safetensors", 1 << 40)),
]  # fmt: skip


def torch_zip(**members: bytes) -> Callable[[Path], None]:
    """What torch.save would have written, with members replaced or added."""

    def build(folder: Path) -> None:
        file = io.BytesIO()
        torch.save({k: torch.zeros(s) for k, s in make.WEIGHTS.items()}, file)
        with zipfile.ZipFile(file) as old:
            kept = {i.filename: old.read(i) for i in old.infolist()}
        root = next(iter(kept)).split("/")[0]
        kept |= {f"{root}/{name.replace('__', '/')}": data for name, data in members.items()}
        path = folder / "teacher.safetensors"
        with zipfile.ZipFile(path, "w") as new:
            for name, data in kept.items():
                new.writestr(name, data)

    return build


def calls(function: str, *arguments: Any) -> bytes:
    """A pickle that calls `module name` with arguments."""
    packed = b"".join(pickle.dumps(a, 2)[2:-1] for a in arguments)
    return b"\x80\x02c" + function.replace(" ", "\n").encode() + b"\n(" + packed + b"tR."


def pickle_file(data: bytes) -> make.Make:
    return make.text("teacher.safetensors", data)


def _big_zip(folder: Path) -> None:
    """A torch file whose storage is 500 MB of zeros, packed into 2 MB."""
    path = folder / "teacher.safetensors"
    size = 500_000_000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        file = io.BytesIO()
        torch.save({"a": torch.zeros(4, dtype=torch.uint8)}, file)
        with zipfile.ZipFile(file) as old:
            for info in old.infolist():
                if info.filename.endswith("data/0"):
                    with new.open(info.filename, "w", force_zip64=True) as member:
                        for _ in range(size // 10_000_000):
                            member.write(bytes(10_000_000))
                else:
                    new.writestr(info.filename, old.read(info))


def _many_members(folder: Path) -> None:
    with zipfile.ZipFile(folder / "teacher.safetensors", "w") as new:
        for i in range(70_000):
            new.writestr(f"a/{i}", b"")


PICKLES = [
    weights("pt-bomb", "a torch file of 2 MB that unpacks to 500 MB", "M302", _big_zip),
    weights("pt-bytearray", "a pickle that asks for 8 GB", "M303",
            pickle_file(calls("__builtin__ bytearray", 8_000_000_000))),
    weights("pt-eval", "a pickle that calls eval", "M303",
            pickle_file(calls("builtins eval", "__import__('os').mkdir('ran')"))),
    weights("pt-system", "a pickle that calls a shell", "M303",
            pickle_file(calls("posix system", "mkdir ran"))),
    weights("pt-getattr", "a pickle that reaches through getattr", "M303",
            pickle_file(calls("builtins getattr", 1, "real"))),
    weights("pt-torch-load", "a pickle that opens another without a guard", "M303",
            pickle_file(calls("torch load", "evil.pt"))),
    weights("pt-numpy-scalar", "a pickle of NumPy objects", "M303",
            pickle_file(calls("numpy._core.multiarray _reconstruct", 1))),
    weights("pt-zip-code", "code inside a torch file", "M303",
            torch_zip(**{"data.pkl": calls("os mkdir", "ran")})),
    weights("pt-deep", "a pickle of 100,000 lists in each other", "M302 ",
            pickle_file(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")),
    weights("pt-memo", "a pickle that puts its answer at place 2^31", "M302",
            pickle_file(b"\x80\x02]r\xff\xff\xff\x7f.")),
    weights("pt-long", "a pickle of a number of 2 GB", "M303",
            pickle_file(b"\x80\x02\x8b\xff\xff\xff\x7f" + bytes(100) + b".")),
    weights("pt-frames", "a pickle of a later protocol with a frame of 2^60 bytes", "M303",
            pickle_file(b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"}.")),
    weights("pt-stop", "a pickle that is only its end", "M302", pickle_file(b"\x80\x02.")),
    weights("pt-members", "a zip of 70,000 members", "M302", _many_members),
    weights("pt-no-data", "a zip without what torch writes", "M302",
            lambda f: zipfile.ZipFile(f / "teacher.safetensors", "w").writestr("x", b"y")),
    weights("pt-nested-zip", "a zip inside a zip where a storage belongs", "M302",
            torch_zip(data__0=b"PK\3\4" + bytes(26))),
    weights("pt-gzip", "a gzip file", "M302", make.text("teacher.safetensors",
         b"\x1f\x8b\x08" + bytes(99))),
]  # fmt: skip


SPECIAL = [
    weights("file-zero", "a link to a device without end", "M301",
            make.link("teacher.safetensors", "/dev/zero")),
    weights("file-random", "a link to a device of noise", "M301",
            make.link("teacher.safetensors", "/dev/urandom")),
    weights("file-passwd", "a link to /etc/passwd", "M302",
            make.link("teacher.safetensors", "/etc/passwd")),
    weights("file-dangling", "a link to nothing", "M301", make.link("teacher.safetensors", "gone")),
]  # fmt: skip
CASES = [*HEADERS, *PICKLES, *SPECIAL]
