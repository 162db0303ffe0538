"""Small checkpoints on disk."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bequeath.weights.recipe import Model, Recipe

# Sizes around ALIGN (16384), odd ones, one element, none.
SHAPES = {
    "embed.weight": (257, 65),
    "layers.0.mlp.weight": (129, 127),
    "layers.0.norm.weight": (17,),
    "layers.1.mlp.weight": (128, 128),
    "layers.1.norm.weight": (1,),
    "layers.2.mlp.weight": (31, 1057),
    "layers.2.norm.weight": (0, 3),
    "scale": (),
}


def tensors(
    seed: int,
    near: dict[str, Tensor] | None = None,
    dtype: torch.dtype = torch.bfloat16,
    step: float = 0.02,
) -> dict[str, Tensor]:
    """Random, or a random step away from `near`; with a tensor of whole numbers."""
    draw = torch.Generator().manual_seed(seed)
    made = {}
    for name, shape in SHAPES.items():
        x = torch.randn(shape, generator=draw)
        made[name] = (x if near is None else near[name].float() + step * x).to(dtype)
    made["positions"] = torch.arange(11)
    return made


def save(folder: Path, state: dict[str, Tensor], **config: object) -> str:
    folder.mkdir(parents=True)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    said = {"architectures": ["Net"], "torch_dtype": "bfloat16", **config}
    (folder / "config.json").write_text(json.dumps(said))
    return str(folder)


def save_sharded(folder: Path, state: dict[str, Tensor], n: int = 3) -> str:
    folder.mkdir(parents=True)
    names = sorted(state)
    where = {name: f"model-{i % n + 1:05d}-of-{n:05d}.safetensors" for i, name in enumerate(names)}
    for shard in set(where.values()):
        save_file({k: state[k] for k in names if where[k] == shard}, folder / shard)
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({"architectures": ["Net"]}))
    return str(folder)


def load(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        state |= load_file(file)
    return state


def recipe(rule: str, paths: list[str], base: str | None = None, **details) -> Recipe:
    return Recipe(rule=rule, models=tuple(Model(path) for path in paths), base=base, **details)


def same(a: Tensor, b: Tensor) -> bool:
    """To the last bit: the sign of a zero too."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.reshape(-1).view(torch.uint8).equal(b.reshape(-1).view(torch.uint8))
