"""What goes along with a merged model: its configuration, its tokenizer, its code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bequeath.kernel.files import write_json
from bequeath.weights.header import Checkpoint

_TOKENIZER = ("tokenizer", "vocab", "merges", "special_tokens", "added_tokens", "chat_template")
_TOKENIZER_SUFFIXES = (".model", ".spm", ".tiktoken", ".jinja")
_KEPT_SUFFIXES = (".json", ".txt", ".py", *_TOKENIZER_SUFFIXES)
_LEGAL = ("license", "notice")
_LEFT = ("readme", "requirements", "trainer_state", "training_args", "all_results")
_LARGEST = 200_000_000  # bytes; the largest tokenizers have tens of millions


def carry(source: Checkpoint, tokenizer: Checkpoint, out: Path, dtype: str | None) -> list[str]:
    """Copy what belongs to a model but is no weight; returns the names.

    The tokenizer's files come from `tokenizer`, all others from `source`. dtype: the result's
    (`bfloat16`), which config.json has to say; None leaves it. Bare files carry nothing along.
    """
    names = []
    for model, wanted in ((source, False), (tokenizer, True)):
        for file in sorted(model.folder.iterdir()) if model.folder else ():
            if belongs(file) and is_tokenizer(file) == wanted:
                shutil.copyfile(file, out / file.name)
                names.append(file.name)
    if dtype is not None and (out / "config.json").is_file():
        config = json.loads((out / "config.json").read_text(encoding="utf-8"))
        for key in ("torch_dtype", "dtype"):
            if key in config:
                config[key] = dtype
        write_json(out / "config.json", config)
    return sorted(names)


def belongs(file: Path) -> bool:
    """Part of the model: small, of a known kind, no weights and no record of a training."""
    name = file.name.lower()
    return (
        file.is_file()
        and (name.endswith(_KEPT_SUFFIXES) or name.startswith(_LEGAL))
        and not name.startswith((".", *_LEFT))
        and not name.endswith(".index.json")
        and file.stat().st_size <= _LARGEST
    )


def is_tokenizer(file: Path) -> bool:
    name = file.name.lower()
    return name.startswith(_TOKENIZER) or name.endswith(_TOKENIZER_SUFFIXES)
