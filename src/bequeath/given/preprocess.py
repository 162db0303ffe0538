"""From what a batch holds to what a model eats. Belongs to the model; runs on its device.

Plain values all of them: they go into a saved model as JSON and come back equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bequeath.given import characters, pixels
from bequeath.given.facts import DataFacts
from bequeath.given.options import PreprocessOptions
from bequeath.given.tokens import ended, opened, remembered
from bequeath.kernel.errors import JobError, Problem
from bequeath.kernel.files import canonical, digest

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
GREY_MEAN, GREY_STD = (0.449,), (0.226,)


class _Plain:
    """to_dict and digest of a frozen dataclass whose comparable fields are JSON values."""

    kind: str

    def to_dict(self) -> dict[str, Any]:
        kept = {f.name for f in fields(self) if f.compare}  # type: ignore[arg-type]
        values = {k: v for k, v in asdict(self).items() if k in kept}  # type: ignore[call-overload]
        listed = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        return {"kind": self.kind, **listed}

    def digest(self) -> str:
        return digest(canonical(self.to_dict()))


@dataclass(frozen=True)
class ImagePreprocess(_Plain):
    """uint8 [B, H, W, C] -> float [B, channels, size, size]: scaled to 0..1, resized, normalised.

    size: (height, width) in pixels, None keeps what comes. crop: share of the resized image that
    is kept around its middle; below 1 the short side is resized to size / crop first.
    mean, std: of pixels in 0..1, one value a channel. channels: 1 or 3 turns grey into colour and
    colour into grey as needed; None takes the channels as they come.
    """

    size: tuple[int, int] | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: str = "bicubic"
    crop: float = 1.0
    channels: int | None = 3
    _constants: dict[Any, tuple[Tensor, Tensor]] = field(
        default_factory=dict, compare=False, repr=False
    )
    kind = "image"

    def __call__(self, batch: Mapping[str, Any], device: torch.device) -> Tensor:
        x = batch["x"]
        if x.dtype != torch.uint8 or x.ndim != 4:
            raise ValueError(f"images are uint8 [B, H, W, C], not {x.dtype} {list(x.shape)}")
        scale, shift = self._affine(device)
        x = x.to(device, non_blocking=True)
        return pixels.images(
            x, self.size, self.crop, self.interpolation, self.channels, scale, shift
        )

    def _affine(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._constants:
            scale, shift = pixels.affine(self.mean, self.std)
            self._constants[device] = (scale.to(device), shift.to(device))
        return self._constants[device]

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(H, W, C) of a sample -> (C, H, W) of what the model eats."""
        height, width = self.size or shape[:2]
        return (self.channels or shape[2], height, width)


@dataclass(frozen=True)
class VectorPreprocess(_Plain):
    """float [B, D] -> (x - mean) / std; images are flattened and scaled to 0..1 first.

    mean, std: D values, or one for all; None leaves the vectors as they are. standard: they are to
    be measured on the training data (`fit`) before the first use.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    standard: bool = False
    _constants: dict[Any, tuple[Tensor, Tensor]] = field(
        default_factory=dict, compare=False, repr=False
    )
    kind = "vector"

    def __call__(self, batch: Mapping[str, Any], device: torch.device) -> Tensor:
        x = pixels.flat(batch["x"].to(device, non_blocking=True))
        if self.mean is None or self.std is None:
            if self.standard:
                raise ValueError("this preprocessing has not been fitted to training data")
            return x
        if x.device not in self._constants:
            mean, std = (torch.tensor(t, dtype=torch.float32) for t in (self.mean, self.std))
            self._constants[x.device] = (mean.to(x.device), std.to(x.device))
        mean, std = self._constants[x.device]
        return (x - mean) / std

    def fit(self, samples: Any) -> VectorPreprocess:
        """Measure mean and deviation over all samples, in float64. Constant features get std 1."""
        count, pooled = 0, False
        centre = total = squares = torch.empty(0, dtype=torch.float64)
        n = len(samples)
        for first in range(0, n, 4096):
            raw = samples.fetch(torch.arange(first, min(first + 4096, n)))["x"]
            pooled = raw.dtype == torch.uint8
            x = pixels.flat(raw).to("cpu", torch.float64)
            if not count:
                # Around the first chunk's mean, so that large offsets do not drown the variance.
                centre = x.mean(0)
                total, squares = torch.zeros_like(centre), torch.zeros_like(centre)
            count += len(x)
            total += (x - centre).sum(0)
            squares += (x - centre).square().sum(0)
        if not count:
            raise ValueError("there are no samples to fit to")
        if pooled:  # pixels share one mean and deviation: a corner is no feature of its own
            mean = (centre + total / count).mean()
            second = (squares / count + 2 * centre * total / count + centre.square()).mean()
            mean, variance = mean[None], (second - mean.square())[None]
        else:
            mean = centre + total / count
            variance = squares / count - (total / count).square()
        std = variance.clamp(min=0).sqrt()
        std = torch.where(std > 1e-8 * (1 + mean.abs()), std, torch.ones_like(std))
        return replace(self, mean=_floats(mean), std=_floats(std), _constants={})

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        size = 1
        for side in shape:
            size *= side
        return (size,)


@dataclass(frozen=True)
class TextPreprocess(_Plain):
    """list of str -> {"input_ids", "attention_mask", ...}: int64 [B, T], T the longest of them.

    A text that answers a prompt ends with the token that ends texts.

    tokenizer: folder or hub name, opened by transformers. max_length: tokens kept of a text.
    fingerprint: digest of the tokenizer's files, so that the same path with other files differs.
    """

    tokenizer: str
    max_length: int = 512
    revision: str | None = None
    fingerprint: str = ""
    kind = "text"

    def __call__(self, batch: Mapping[str, Any], device: torch.device) -> dict[str, Tensor]:
        if "tokens" in batch:  # what a model has said is not text yet
            return {key: value.to(device) for key, value in batch["tokens"].items()}
        tokenizer, memo, _ = self._opened()

        def code(fresh: list[str]) -> list[dict[str, list[int]]]:
            coded = tokenizer(fresh, truncation=True, max_length=self.max_length, padding=False)
            return [{key: value[row] for key, value in coded.items()} for row in range(len(fresh))]

        rows = remembered(memo, batch["text"], code)
        if "prompt" in batch and (end := tokenizer.eos_token_id) is not None:
            rows = [ended(row, end, self.max_length) for row in rows]
        length = max(1, *(len(row["input_ids"]) for row in rows))
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        return {
            key: torch.tensor(
                [
                    row[key] + [pad if key == "input_ids" else 0] * (length - len(row[key]))
                    for row in rows
                ]
            ).to(device, non_blocking=True)
            for key in rows[0]
        }

    def spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """For each token of each text the characters it stands for, from, to (none: equal).

        NotImplementedError of a tokenizer in plain Python.
        """
        tokenizer, _, memo = self._opened()

        def code(fresh: list[str]) -> list[list[tuple[int, int]]]:
            coded = tokenizer(
                fresh, truncation=True, max_length=self.max_length, return_offsets_mapping=True
            )
            return [[(int(a), int(b)) for a, b in row] for row in coded["offset_mapping"]]

        return remembered(memo, texts, code)

    def _opened(self) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        return opened(self.tokenizer, self.revision, self.fingerprint, self.max_length)

    def words(self) -> list[str]:
        """What each token stands for, in order; nothing for those that are no text."""
        tokenizer, _, _ = self._opened()
        special = set(tokenizer.all_special_ids)
        return ["" if i in special else tokenizer.decode([i]) for i in range(len(tokenizer))]

    @property
    def end(self) -> int | None:
        """The token that ends a text; None where there is none."""
        tokenizer, _, _ = self._opened()
        found: int | None = tokenizer.eos_token_id
        return found

    def digest(self) -> str:
        """The tokenizer's content counts, not the place it lies in."""
        values = self.to_dict()
        if self.fingerprint:
            values.pop("tokenizer")
            values.pop("revision")
        return digest(canonical(values))

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.max_length,)


@dataclass(frozen=True)
class CharacterPreprocess(_Plain):
    """list of str -> {"input_ids", "attention_mask"}: int64 [B, T], a token a character.

    characters: those that are known, in the order of their tokens (see `characters.encode`).
    max_length: tokens kept of a text, its beginning and end among them.
    """

    characters: str
    max_length: int = 128
    kind = "text"

    def __call__(self, batch: Mapping[str, Any], device: torch.device) -> dict[str, Tensor]:
        if "tokens" in batch:  # what a model has said is not text yet
            return {key: value.to(device) for key, value in batch["tokens"].items()}
        tokens, mask = characters.encode(batch["text"], self.characters, self.max_length)
        return {"input_ids": tokens.to(device), "attention_mask": mask.to(device)}

    def spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """For each token of each text the characters it stands for, from, to (none: equal)."""
        return [
            [(0, 0), *((i, i + 1) for i in range(len(t))), (len(t), len(t))][: self.max_length]
            for t in texts
        ]

    def words(self) -> list[str]:
        """What each token stands for, in order; nothing for those that are no text."""
        return [""] * characters.SPECIAL + list(self.characters)

    @property
    def end(self) -> int | None:
        """The token that ends a text."""
        return characters.END

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.max_length,)


def tokenizer_fingerprint(folder: Path) -> str:
    """Digest of the files that decide how texts become tokens; empty when there are none."""
    names = ["tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model"]
    names += ["tokenizer.model", "sentencepiece.bpe.model", "added_tokens.json"]
    found = [(name, folder / name) for name in names if (folder / name).is_file()]
    return digest(*(part for n, p in found for part in (n, p.read_bytes()))) if found else ""


Preprocess = ImagePreprocess | VectorPreprocess | TextPreprocess | CharacterPreprocess


def from_dict(values: Mapping[str, Any]) -> Preprocess:
    """What `to_dict` wrote. ValueError for an unknown kind or field."""
    kinds: dict[str, type] = {
        "image": ImagePreprocess,
        "vector": VectorPreprocess,
        "text": TextPreprocess,
    }
    rest = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k != "kind"}
    if values.get("kind") not in kinds:
        raise ValueError(f"unknown kind of preprocessing `{values.get('kind')}`")
    maker = kinds[values["kind"]]
    if maker is TextPreprocess and "characters" in values:
        maker = CharacterPreprocess
    known = {f.name for f in fields(maker) if f.compare}
    if unknown := sorted(set(rest) - known):
        raise ValueError(f"unknown preprocessing setting `{unknown[0]}`")
    for key, value in rest.items():
        if value is not None and key in _MAY_BE and not _MAY_BE[key](value):
            raise ValueError(f"`{key}` of the preprocessing cannot be {str(value)[:60]!r}")
    return maker(**rest)


def _numbers(value: Any) -> bool:
    """Finite numbers, at least one. A file may say anything."""
    whole = isinstance(value, tuple) and len(value) > 0
    return whole and all(type(v) in (int, float) and math.isfinite(v) for v in value)


_MAY_BE: dict[str, Callable[[Any], bool]] = {
    "mean": _numbers,
    "std": lambda v: _numbers(v) and min(v) > 0,
    "size": lambda v: (
        _numbers(v)
        and len(v) == 2
        and all(type(s) is int for s in v)
        and 1 <= min(v) <= max(v) <= 4096
    ),
    "crop": lambda v: type(v) in (int, float) and 0 < v <= 1,
    "channels": lambda v: type(v) is int and 1 <= v <= 64,
    "interpolation": lambda v: v in ("nearest", "bilinear", "bicubic"),
    "standard": lambda v: isinstance(v, bool),
    "characters": lambda v: isinstance(v, str) and 0 < len(v) == len(set(v)),
    "max_length": lambda v: type(v) is int and 1 <= v <= 131_072,
}


def default_preprocess(data: DataFacts, options: PreprocessOptions) -> Preprocess:
    """For a model that brings none (`zoo:`, `py:`): ImageNet's mean and deviation, or vectors."""
    if data.kind == "vector":
        return VectorPreprocess()
    channels = data.shape[2] if data.shape and len(data.shape) == 3 else 3
    grey = channels == 1
    plain = ImagePreprocess(
        None,
        GREY_MEAN if grey else IMAGENET_MEAN,
        GREY_STD if grey else IMAGENET_STD,
        channels=channels,
    )
    if channels not in (1, 3) and options.mean is None:
        plain = replace(plain, mean=(0.5,) * channels, std=(0.25,) * channels)
    return plain


def override(plain: Preprocess, options: PreprocessOptions, *, trained: bool) -> Preprocess:
    """The model's own preprocessing with what the job replaces."""
    if isinstance(plain, VectorPreprocess):
        if (options.mean is None) != (options.std is None):
            message = "vectors need `mean` and `std` together"
            raise JobError(Problem("M312", message, at=("preprocess",)))
        if options.mean is not None:
            return VectorPreprocess(options.mean, options.std)
        if options.scale == "none":
            return VectorPreprocess()
        if (options.scale == "standard" and plain.mean is None) or not trained:
            return VectorPreprocess(standard=True)
        return plain
    if isinstance(plain, ImagePreprocess):
        changes: dict[str, Any] = {
            name: value
            for name in ("mean", "std", "interpolation")
            if (value := getattr(options, name)) is not None
        }
        if options.size is not None:
            changes |= {"size": (options.size, options.size), "crop": 1.0}
        return replace(plain, **changes, _constants={})
    return plain


def _floats(t: Tensor) -> tuple[float, ...]:
    """Rounded to float32, the precision in which they will be used."""
    return tuple(t.to(torch.float32).tolist())
