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
import numpy as np
import torch
from bad_files import GOOD, TEACHER, TEACHER_REF, entry, swap, tensors
from hostile_case import CHECK, RUN, Case, job
from safetensors.torch import save_file

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
    weights("st-float-shape", "a shape of fractions", "M302", changed("out.bias", entry([3.7], 320, 332))),
    weights("st-bool-shape", "a shape of true", "M302", changed("out.bias", entry([True, 3], 320, 332))),
    weights("st-long-shape", "a shape of 10,000 axes", "M302",
            changed("out.bias", entry([2**62] * 10_000, 320, 332))),
    weights("st-digits", "a shape of 5000 digits", "M302",
            raw_header(f'{{"a":{{"dtype":"F32","shape":[{"9" * 5000}],"data_offsets":[0,4]}}}}')),
    weights("st-overflow", "a shape whose product is 0 in 64 bits", "M302",
            changed("out.bias", entry([2**32, 2**32], 320, 332))),
    weights("st-zero-times-much", "a shape of nothing, many times", "M302",
            changed("out.bias", entry([0, 2**62], 320, 332))),
    weights("st-same-name", "a tensor named twice", "M302",
            raw_header(json.dumps(FULL)[:-1] + ',"out.bias":' + json.dumps(entry([3], 0, 12)) + "}"),
            "twice"),
    weights("st-overlap", "two tensors in the same bytes", "M302",
            changed("out.bias", entry([3], 0, 12), bytes(320))),
    weights("st-hole", "bytes that belong to no tensor", "M302",
            changed("out.bias", entry([3], 400, 412), bytes(412))),
    weights("st-tail", "megabytes behind the last tensor", "M302",
            tensors(FULL, BODY + bytes(3_000_000))),
    weights("st-unsorted", "tensors out of order, one twice as long as it says", "M302",
            tensors({"out.bias": entry([3], 0, 24), "out.weight": entry([3, 8], 24, 120)}, bytes(120))),
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
    weights("st-utf16", "a header in UTF-16", "M302", tensors(json.dumps(FULL).encode("utf-16"), BODY)),
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
    """A torch file whose storage is 2 GB of zeros, packed into 2 MB."""
    path = folder / "teacher.safetensors"
    size = 2_000_000_000
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
    weights("pt-bomb", "a torch file of 2 MB that unpacks to 2 GB", "M302", _big_zip),
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
    weights("pt-gzip", "a gzip file", "M302", make.text("teacher.safetensors", b"\x1f\x8b\x08" + bytes(99))),
]  # fmt: skip


def in_folder(name: str, what: str, codes: str, *makes: make.Make, ref: str = "file:m",
              extra: str = "", **more: Any) -> Case:  # fmt: skip
    """The teacher is the folder m."""
    text = swap(TEACHER, f'{{ref: "{ref}"{extra}}}')
    return Case(name, f"folder: {what}", codes, job(text, lambda f: (f / "m").mkdir(), *makes), **more)


VIT = {
    "architectures": ["ViTForImageClassification"], "model_type": "vit", "image_size": 8,
    "patch_size": 4, "num_channels": 3, "hidden_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 1, "intermediate_size": 8, "id2label": {"0": "a", "1": "b", "2": "c"},
    "label2id": {"a": 0, "b": 1, "c": 2},
}  # fmt: skip
SAVED: dict[str, Any] = {
    "format": 1, "scheme": "zoo", "name": "mlp", "kind": "vector", "n_classes": 3,
    "kwargs": {"in_features": 6, "hidden": [8], "dropout": 0.0}, "classes": [], "head": "out",
    "input": [6], "preprocess": {"kind": "vector", "mean": None, "std": None, "standard": False},
}  # fmt: skip


def said(name: str, value: Any) -> make.Make:
    text = value if isinstance(value, str | bytes) else json.dumps(value)
    return make.text(f"m/{name}", text)


def one_weight(folder: Path) -> None:
    save_file({"a": torch.zeros(1)}, folder / "m/model.safetensors")


def vit(name: str, what: str, codes: str, change: dict[str, Any], *makes: make.Make,
        extra: str = "", **more: Any) -> Case:  # fmt: skip
    made = [said("config.json", VIT | change), one_weight, images, *makes]
    return in_folder(name, what, codes, *made, ref="hf:m", extra=extra, **more)


def record(name: str, what: str, codes: str, change: dict[str, Any]) -> Case:
    return in_folder(name, what, codes, said("bequeath.json", SAVED | change),
                     make.moved("teacher.safetensors", "m/model.safetensors"))  # fmt: skip


def images(folder: Path) -> None:
    """The data are images, as the model wants them."""
    for seed, name in enumerate(("train", "test")):
        pixels = np.random.default_rng(seed).integers(0, 256, (12, 8, 8, 3), np.uint8)
        np.savez(folder / f"{name}.npz", x=pixels, y=np.arange(12) % 3)


def index(*shards: str) -> make.Make:
    names = {f"t{i}": shard for i, shard in enumerate(shards)}
    return said("model.safetensors.index.json", {"weight_map": names})


FRESH = ", pretrained: false, task: image"
FOLDERS = [
    in_folder("dir-zero", "config.json is a device without end", "M313",
              make.link("m/config.json", "/dev/zero"), ref="hf:m"),
    in_folder("dir-fifo", "config.json is a pipe", "M313", make.pipe("m/config.json"), ref="hf:m"),
    in_folder("dir-loop", "config.json is a link to itself", "M313",
              make.link("m/config.json", "config.json"), ref="hf:m"),
    in_folder("dir-passwd", "config.json is a link to /etc/passwd", "M313",
              make.link("m/config.json", "/etc/passwd"), ref="hf:m"),
    in_folder("dir-config-folder", "config.json is a folder", "M313",
              make.folder("m/config.json"), ref="hf:m"),
    in_folder("dir-config-40mb", "config.json of 40 MB", "M313",
              said("config.json", '{"a": "' + "x" * 40_000_000 + '"}'), ref="hf:m"),
    in_folder("dir-config-lists", "config.json of ten million lists", "M313",
              said("config.json", '{"a": [' + "[]," * 10_000_000 + "[]]}"), ref="hf:m"),
    in_folder("dir-config-deep", "config.json nested 100,000 deep", "M313",
              said("config.json", '{"a":' * 100_000), ref="hf:m"),
    in_folder("dir-weights-fifo", "the weights are a pipe", "M301", said("config.json", VIT),
              make.pipe("m/model.safetensors"), ref="hf:m"),
    in_folder("dir-index-absolute", "an index that names a file by its full path", "M313",
              said("config.json", VIT), index("/etc/passwd"), ref="hf:m"),
    in_folder("dir-index-up", "an index that climbs out", "M313", said("config.json", VIT),
              index("x/../../teacher.safetensors"), ref="hf:m"),
    in_folder("dir-index-self", "an index that names itself", "M302", said("config.json", VIT),
              index("model.safetensors.index.json"), ref="hf:m"),
    in_folder("dir-index-nul", "an index that names a null", "M301", said("config.json", VIT),
              index("a\0b.safetensors"), ref="hf:m"),
    in_folder("dir-index-fifo", "an index that names a pipe", "M301", said("config.json", VIT),
              index("p.safetensors"), make.pipe("m/p.safetensors"), ref="hf:m"),
    in_folder("dir-index-dots", "an index that names the folder above", "M301",
              said("config.json", VIT), index(".."), ref="hf:m"),
    in_folder("dir-nothing", "an empty folder", "M313"),
    in_folder("dir-pickle-only", "a folder with pickled weights that hold code", "M303",
              said("config.json", VIT), make.pickled("m/pytorch_model.bin", torch_zip=True), ref="hf:m"),
    in_folder("dir-record-zero", "bequeath.json is a device without end", "M313",
              make.link("m/bequeath.json", "/dev/zero")),
    vit("hf-layers", "a thousand million layers", "M313", {"num_hidden_layers": 10**9}, extra=FRESH),
    vit("hf-width", "layers a thousand million wide", "R503 R502", {"hidden_size": 10**9}, extra=FRESH),
    vit("hf-image", "images of 10^9 pixels a side", "M313", {"image_size": 10**9}, extra=FRESH),
    vit("hf-patch", "patches of 0 pixels", "M312", {"patch_size": 0}, extra=FRESH),
    vit("hf-negative", "layers of width -8", "M312", {"hidden_size": -8}, extra=FRESH),
    vit("hf-auto-map", "a config that asks for its own code", "M313",
        {"model_type": "own", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}},
        make.text("m/evil.py", "import os\nos.mkdir('ran')\n")),
    vit("hf-auto-map-remote", "a config that asks for code from the network", "M313",
        {"model_type": "own", "auto_map": {"AutoConfig": "nobody/evil--evil.C"}}),
    vit("hf-known-auto-map", "code beside a model type that is known", "M306",
        {"auto_map": {"AutoConfig": "evil.C", "AutoModelForImageClassification": "evil.M"}},
        make.text("m/evil.py", "import os\nos.mkdir('ran')\n"), arguments=RUN),
    vit("hf-text-size", "a width that is a text", "M313", {"hidden_size": "8; import os"}),
    vit("hf-quantized", "a config that asks for a quantiser", "M313",
        {"quantization_config": {"quant_method": "evil", "load_in_8bit": True}}, arguments=RUN),
    vit("hf-dtype", "a config that asks for a type there is not", "M313", {"torch_dtype": "os.mkdir"}),
    vit("hf-labels-list", "class names that are lists", "M313", {"id2label": {"a": [], "b": {}}}),
    record("rec-layers", "a saved gpt of a thousand million layers", "M313",
           {"name": "gpt", "kwargs": {"layers": 10**9, "heads": 1, "context": 8}}),
    record("rec-hidden", "a saved mlp of a million layers", "M313",
           {"kwargs": {"in_features": 6, "hidden": [1] * 1_000_000, "dropout": 0.0}}),
    record("rec-dropout", "a saved mlp with a dropout that is no number", "M312",
           {"kwargs": {"in_features": 6, "hidden": [8], "dropout": "x"}}),
    record("rec-graft", "a saved model grafted from outside", "M313",
           {"graft": {"from": "../../etc", "head": "out"}}),
    record("rec-mean", "a mean of a million numbers", "G409",
           {"preprocess": {"kind": "vector", "mean": [0.0] * 10**6, "std": [1.0] * 10**6,
                           "standard": False}}),
]  # fmt: skip


HEAD = "import os, sys, torch\nfrom torch import nn\n\n"


def code(name: str, what: str, codes: str, model: str, *says: str, arguments: tuple[str, ...] = RUN,
         exit: int = 1, train: str = "", method: str = "ce", head: str = HEAD,
         placed: bool = True) -> Case:  # fmt: skip
    """own.py is the user's: a model and, in place of the data, perhaps a function."""
    text = swap(f"  teacher: {TEACHER}\n", "").replace("kd", method)
    text = text.replace('{ref: "zoo:mlp", hidden: [4]}', '"py:own.py:net"')
    text = text.replace('"npz:train.npz"', f'"{train or "npz:train.npz"}"')
    return Case(name, f"own code: {what}", codes, job(text, make.text("own.py", head + model)),
                (*arguments, "--allow-code"), exit=exit, says=says, placed=placed)  # fmt: skip


NET = "def net(k):\n    return nn.Linear(6, k)\n"
FORWARD = "class N(nn.Module):\n    def __init__(self, k):\n        super().__init__()\n" \
    "        self.f = nn.Linear(6, k)\n    def forward(self, x):\n{}\ndef net(k):\n    return N(k)\n"  # fmt: skip
METHOD = """\
'''A method of the user's.'''
import torch
from torch import nn
from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, method
class C(MethodConfig):
    pass
def net(k):
    return nn.Linear(6, k)
NEEDS = Needs(models={"student": ModelNeed(Access.WEIGHTS, trains=True)}, data={"train": DataNeed(Labels.ALL)})
@method(want="distill", paper="none", needs=NEEDS, identity=(Identity("nothing", "start"),))
def mine(ctx, given, cfg: C):
    '''Fail.'''
    return [][1]
"""
OWN = [
    Case("own-not-allowed", "own code: without leave", "J110",
         job(swap(TEACHER, '"py:own.py:net"'), make.text("own.py", "import os\nos.mkdir('ran')\n"))),
    code("own-import", "raises when it is imported", "M311", NET + "1 / 0\n", "own.py:6", exit=2),
    code("own-import-exit", "stops the program when it is imported", "M311", NET + "sys.exit(0)\n", exit=2),
    code("own-build", "raises when it builds", "M311", "def net(k):\n    raise RuntimeError('no')\n",
         "own.py:5", exit=2),
    code("own-build-exit", "stops the program when it builds", "M311",
         "def net(k):\n    sys.exit(0)\n", exit=2),
    code("own-returns", "builds something else", "M311", "def net(k):\n    return k\n", exit=2),
    code("own-deep", "an expression nested too deep to read", "M311",
         "def net(k):\n    return " + "(" * 5000 + ")" * 5000 + "\n", exit=2),
    code("own-sum", "a sum of 100,000 terms", "M311",
         "x = " + "+".join(["1"] * 100_000) + "\n" + NET, exit=2),
    code("own-latin", "a file that is not UTF-8", "M311", "x = '\udce9'\n" + NET, exit=2),
    code("own-forward", "raises in the middle of training", "T690",
         FORWARD.format("        if self.training and torch.is_grad_enabled():\n"
                        "            return self.f(x) + self.missing\n        return self.f(x)"),
         "own.py:10", "self.missing"),
    code("own-forward-first", "raises at the first batch it is shown", "T690",
         FORWARD.format("        raise KeyError('x')"), "own.py:9", exit=2),
    code("own-forward-exit", "stops the program while it trains", "T690",
         FORWARD.format("        if self.training and torch.is_grad_enabled():\n            sys.exit(0)\n"
                        "        return self.f(x)"), "own.py:10"),
    code("own-shape", "answers in another shape", "T690", FORWARD.format(
        "        return self.f(x)[:2]"), placed=False),
    code("own-data", "data whose function raises", "D219",
         NET + "def train():\n    return 1 / 0\n", "own.py:7", train="py:own.py:train", exit=2),
    code("own-data-exit", "data whose function stops the program", "D219",
         NET + "def train():\n    sys.exit(0)\n", train="py:own.py:train", exit=2),
    code("own-data-items", "a data set that raises at its third item", "D219",
         NET + "class D:\n    def __len__(self):\n        return 9\n    def __getitem__(self, i):\n"
         "        return (torch.zeros(6), i % 3) if i < 2 else [][i]\ndef train():\n    return D()\n",
         "own.py:10", train="py:own.py:train", exit=2),
    code("own-data-endless", "a data set that says it is 10^18 long", "D219",
         NET + "class D:\n    def __len__(self):\n        return 10**18\n    def __getitem__(self, i):\n"
         "        raise IndexError(i)\ndef train():\n    return D()\n",
         train="py:own.py:train", exit=2),
    code("own-data-mixed", "data of pieces that do not fit together", "D213",
         NET + "def train():\n    return {'x': [[1, 2], [3]], 'y': [0, 1]}\n",
         train="py:own.py:train", exit=2),
    code("own-data-labels", "labels that are pieces of all sizes", "D207",
         NET + "def train():\n    return {'x': torch.zeros(2, 6).numpy(), 'y': [[1], [1, 2]]}\n",
         train="py:own.py:train", exit=2),
    code("own-method", "a method that raises", "T690", METHOD, "own.py:14",
         method="./own.py:mine", head=""),
    code("own-method-import", "a method whose file raises", "J123", "raise ValueError('x')\n",
         "own.py:4", method="./own.py:mine", exit=2),
    code("own-method-exit", "a method whose file stops the program", "J123", "sys.exit(0)\n",
         method="./own.py:mine", exit=2),
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
MERGE = "want: merge\nmethod: linear\nbaselines: false\nmodels: {one: \"file:m\", two: \"file:n\"}\nout: out\n"


def merge(name: str, what: str, codes: str, *makes: make.Make, **more: Any) -> Case:
    """Two folders to merge, m and n; n is good."""

    def both(folder: Path) -> None:
        for one in ("m", "n"):
            (folder / one).mkdir()
        save_file({"a": torch.ones(4)}, folder / "n/model.safetensors")

    return Case(name, f"merge: {what}", codes, job(MERGE, both, *makes), RUN, **more)


def same(folder: Path) -> None:
    save_file({"a": torch.ones(4)}, folder / "m/model.safetensors")


MERGES = [
    merge("merge-fifo", "a pipe in the place of the weights", "M301", make.pipe("m/model.safetensors")),
    merge("merge-traversal", "an index that climbs out of its folder", "W802",
          index("../n/model.safetensors")),
    merge("merge-absolute", "an index with a full path", "W802", index("/etc/x.safetensors")),
    merge("merge-windows", "an index with a path of Windows", "W802",
          index("C:\\x.safetensors")),
    merge("merge-missing", "an index of 10,000 files that are not there", "W803",
          index(*[f"m-{i}.safetensors" for i in range(10_000)])),
    merge("merge-index-zero", "an index that is a device without end", "M313",
          make.link("m/model.safetensors.index.json", "/dev/zero")),
    merge("merge-lies", "an index that disagrees with its file", "W802", same,
          index("model.safetensors")),
    merge("merge-overlap", "two tensors in the same bytes", "M302",
          lambda f: tensors({"a": entry([4], 0, 16), "b": entry([4], 0, 16)}, bytes(16))(f),
          make.moved("teacher.safetensors", "m/model.safetensors")),
    merge("merge-huge", "a tensor of 10^18 numbers", "M302",
          lambda f: tensors({"a": entry([10**9, 10**9], 0, 16)}, bytes(16))(f),
          make.moved("teacher.safetensors", "m/model.safetensors")),
    merge("merge-config", "a config that is no mapping", "M313", same, said("config.json", "[1]")),
    merge("merge-config-fifo", "a config that is a pipe", "M313", same, make.pipe("m/config.json")),
    merge("merge-nan", "weights that are no numbers", "W850",
          lambda f: save_file({"a": torch.tensor([1, 2, float("nan"), 4])},
                              f / "m/model.safetensors"), exit=1, placed=False),
    merge("merge-shapes", "tensors of other shapes", "W811",
          lambda f: save_file({"a": torch.ones(5)}, f / "m/model.safetensors")),
    merge("merge-pickles", "pickles only", "W801", make.pickled("m/pytorch_model.bin")),
]  # fmt: skip
CASES = [*HEADERS, *PICKLES, *FOLDERS, *OWN, *SPECIAL, *MERGES]
