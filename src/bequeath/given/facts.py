"""What is known of models and data before weights load: facts, and the headers they come from.

Nothing here imports torch.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bequeath.kernel.errors import JobError, Problem
from bequeath.kernel.read_json import read_json
from bequeath.kernel.safetensors_header import MAX_HEADER, TensorFact, safetensors_header

MOST_LAYERS = 10_000


@dataclass(frozen=True)
class ModelFacts:
    """All optional: what is not known yet is None.

    kind: what it eats, `image`, `vector` or `text`. architecture: as its library names it.
    parameters: number of weights that can be trained. n_classes: width of the output.
    head: module path of the final classifier; what goes into it is the model's embedding.
    input: shape of one preprocessed sample. preprocess: `Preprocess.to_dict()`.
    licence: as the source states it. hash: digest of all tensors. tensors: name -> TensorFact.
    classes: names of the outputs, in order. made_of: digest of the files it is made from: weights
    (also where the classifier is replaced), configuration, code. per_token: it is a language model:
    logits [B, T, n_classes], at each token for the next one, and n_classes is its vocabulary.
    generates: it is a diffusion model: it makes samples of noise, and has no classes.
    """

    kind: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    n_classes: int | None = None
    head: str | None = None
    input: tuple[int, ...] | None = None
    preprocess: Mapping[str, Any] | None = None
    licence: str | None = None
    hash: str | None = None
    tensors: Mapping[str, TensorFact] | None = None
    classes: tuple[str, ...] | None = None
    made_of: str | None = None
    per_token: bool = False
    generates: bool = False


@dataclass(frozen=True)
class DataFacts:
    """kind: `image`, `vector` or `text`; n: samples; shape: of one, (H, W, C) or (D,).

    classes: their names in the order of the labels. hash: digest of the content. alphabet: of open
    texts, the characters that occur, in the order of their numbers.
    """

    kind: str | None = None
    n: int | None = None
    shape: tuple[int, ...] | None = None
    classes: tuple[str, ...] | None = None
    n_classes: int | None = None
    hash: str | None = None
    labelled: bool | None = None
    alphabet: str | None = None


def absurd(settings: Mapping[str, Any]) -> str | None:
    """What asks for more layers than any model has: building them would never end."""
    for key, value in settings.items():
        layers = len(value) if isinstance(value, list) else value if "layer" in str(key) else 0
        if isinstance(layers, int) and layers > MOST_LAYERS:
            return f"`{key}` asks for {layers} layers, and no model has more than {MOST_LAYERS}"
    return None


def weights_format(path: Path) -> str | None:
    """`safetensors`, `torch` or None, by the first bytes (a suffix may lie)."""
    with path.open("rb") as file:
        first = file.read(9)
    # A header of 128 bytes, or of 256 more, begins as a pickle does: its length is looked at first.
    if first[8:9] == b"{" and int.from_bytes(first[:8], "little") <= MAX_HEADER:
        return "safetensors"
    if first[:2] == b"PK" or first[:1] == b"\x80":
        return "torch"
    return "safetensors" if path.suffix == ".safetensors" else None


def weights_problem(path: Path, *, at: tuple[str, ...]) -> Problem | None:
    """What can be seen to be wrong with a weights file without opening it as a model."""
    try:
        if not path.is_file():
            what = "is a folder, not a weights file" if path.is_dir() else "is not there"
            what = "is a device or a pipe" if path.exists() and not path.is_dir() else what
            return missing(f"weights file `{path}` {what}", path, at)
        form = weights_format(path)
        if form == "safetensors":
            safetensors_header(path, at=at)
        elif form is None:
            return Problem(
                "M304",
                f"`{path}` is neither a safetensors nor a torch file",
                at=at,
                remedies=("give a .safetensors file, or one written by torch.save",),
            )
        elif _begins(path, b"PK") and not zipfile.is_zipfile(path):
            return truncated(path, at)
    except JobError as error:
        return error.problems[0]
    except zipfile.BadZipFile:
        return truncated(path, at)
    except OSError as error:
        return Problem("M301", f"`{path}` cannot be read: {error.strerror}", at=at)
    return None


def _begins(path: Path, mark: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(mark)) == mark


def truncated(path: Path, at: tuple[str, ...]) -> Problem:
    return Problem(
        "M302",
        f"`{path}` is cut short or damaged",
        at=at,
        notes=(f"it has {path.stat().st_size} bytes",),
        remedies=("copy or download the file again",),
    )


def missing(message: str, path: Path, at: tuple[str, ...]) -> Problem:
    """M301, with files of a like name in the same folder."""
    import difflib

    label = ""
    if path.parent.is_dir():
        names = [entry.name for entry in path.parent.iterdir() if entry.name != path.name]
        if near := difflib.get_close_matches(path.name, names, n=1):
            label = f"did you mean `{path.with_name(near[0])}`?"
    return Problem(
        "M301",
        message,
        at=at,
        label=label,
        remedies=("correct the path; it counts from the folder the command runs in",),
    )


__all__ = [
    "DataFacts",
    "ModelFacts",
    "TensorFact",
    "absurd",
    "missing",
    "read_json",
    "safetensors_header",
    "truncated",
    "weights_format",
    "weights_problem",
]
