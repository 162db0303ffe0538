"""Hostile folders of models: configs, indexes, records, and what is merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bad_files as make
import numpy as np
import torch
from bad_files import TEACHER, entry, swap, tensors
from hostile_case import RUN, Case, job
from safetensors.torch import save_file


def in_folder(name: str, what: str, codes: str, *makes: make.Make, ref: str = "file:m",
              extra: str = "", **more: Any) -> Case:  # fmt: skip
    """The teacher is the folder m."""
    text = swap(TEACHER, f'{{ref: "{ref}"{extra}}}')
    more["needs"] = "transformers" if ref.startswith("hf:") else ""
    return Case(
        name, f"folder: {what}", codes, job(text, lambda f: (f / "m").mkdir(), *makes), **more
    )


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
              said("config.json", VIT), make.pickled("m/pytorch_model.bin", torch_zip=True),
              ref="hf:m"),
    in_folder("dir-record-zero", "bequeath.json is a device without end", "M313",
              make.link("m/bequeath.json", "/dev/zero")),
    vit("hf-layers", "a thousand million layers", "M313", {"num_hidden_layers": 10**9},
         extra=FRESH),
    vit("hf-width", "layers a thousand million wide", "R503 R502", {"hidden_size": 10**9},
         extra=FRESH),
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
    vit("hf-dtype", "a config that asks for a type there is not", "M313",
         {"torch_dtype": "os.mkdir"}),
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


MERGE = """\
want: merge
method: linear
baselines: false
models: {one: "file:m", two: "file:n"}
out: out
"""


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
    merge("merge-fifo", "a pipe in the place of the weights", "M301",
         make.pipe("m/model.safetensors")),
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
CASES = [*FOLDERS, *MERGES]
