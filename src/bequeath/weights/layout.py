"""Where each tensor of a result will lie: files, headers and offsets, known before any is made.

The layout is that of the safetensors library (larger types first, then by name; the header padded
to eight bytes), so a file is the one `save_file` would have written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bequeath.kernel.safetensors_header import BITS, TensorFact


@dataclass(frozen=True)
class OutputFile:
    """name: of the file in its folder. header: its first bytes. offsets: tensor -> byte."""

    name: str
    header: bytes
    offsets: Mapping[str, int]
    nbytes: int


def nbytes(fact: TensorFact) -> int:
    return math.prod(fact.shape) * BITS[fact.dtype] // 8


def one_file(name: str, facts: Mapping[str, TensorFact]) -> OutputFile:
    """All tensors in one file."""
    order = sorted(facts, key=lambda each: (-BITS[facts[each].dtype], facts[each].dtype, each))
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    begins: dict[str, int] = {}
    end = 0
    for each in order:
        begins[each] = end
        end += nbytes(facts[each])
        entries[each] = {
            "dtype": facts[each].dtype,
            "shape": list(facts[each].shape),
            "data_offsets": [begins[each], end],
        }
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    header = len(text).to_bytes(8, "little") + text
    offsets = {each: start + begin for each, begin in begins.items()}
    return OutputFile(name, header, offsets, start + end)


def files(facts: Mapping[str, TensorFact], max_shard: int | None) -> list[OutputFile]:
    """One `model.safetensors`, or shards named as Hugging Face does.

    facts: in the order in which they are to be spread. max_shard: bytes of tensors in a file; a
    tensor that is larger has a file of its own.
    """
    groups: list[dict[str, TensorFact]] = [{}]
    room = float("inf") if max_shard is None else max_shard
    filled = 0
    for name, fact in facts.items():
        if groups[-1] and filled + nbytes(fact) > room:
            groups.append({})
            filled = 0
        groups[-1][name] = fact
        filled += nbytes(fact)
    if len(groups) == 1:
        return [one_file("model.safetensors", groups[0])]
    return [
        one_file(f"model-{i:05d}-of-{len(groups):05d}.safetensors", group)
        for i, group in enumerate(groups, 1)
    ]


def index(made: Iterable[OutputFile], facts: Mapping[str, TensorFact]) -> dict[str, object]:
    """The content of `model.safetensors.index.json`."""
    weight_map = {name: file.name for file in made for name in file.offsets}
    return {
        "metadata": {"total_size": sum(nbytes(fact) for fact in facts.values())},
        "weight_map": dict(sorted(weight_map.items())),
    }
