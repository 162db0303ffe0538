"""References (`scheme:rest?key=value`) and what each scheme takes besides. Never imports torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from bequeath.kernel import units


@dataclass(frozen=True)
class Ref:
    """`zoo:mlp?hidden=64` taken apart: scheme `zoo`, rest `mlp`, query {"hidden": "64"}."""

    scheme: str
    rest: str
    query: dict[str, str] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        pairs = "&".join(f"{key}={value}" for key, value in self.query.items())
        return f"{self.scheme}:{self.rest}" + (f"?{pairs}" if pairs else "")


def parse_ref(text: str) -> Ref:
    """Take a reference apart. ValueError says what would be right; schemes are not looked up.

    A `?` begins the settings; the rest is kept as written (a path may hold colons and spaces).
    """
    scheme, colon, tail = text.strip().partition(":")
    if not colon or not scheme.isidentifier():
        raise ValueError(f"`{text}` is not a reference; write scheme:name, for example zoo:resnet8")
    rest, mark, asked = tail.partition("?")
    if not rest:
        raise ValueError(f"`{text}` names nothing after `{scheme}:`")
    pairs = parse_qsl(asked, keep_blank_values=True)
    if mark and not pairs:
        raise ValueError(f"`{text}` has nothing after `?`; write ?key=value&key=value")
    query: dict[str, str] = {}
    for key, value in pairs:
        if key in query:
            raise ValueError(f"`{text}` says `{key}` twice")
        query[key] = value
    return Ref(scheme, rest, query)


def _parts(value: Any) -> Any:
    """`256,256` (as a query says it) and a single number are lists too."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, Iterable):
        return value
    return [value]


Integers = Annotated[tuple[int, ...], BeforeValidator(_parts)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_parts)]
Positive = Annotated[tuple[Annotated[float, Field(gt=0)], ...], BeforeValidator(_parts)]
Names = Annotated[tuple[str, ...], BeforeValidator(_parts)]
Words = Annotated[
    tuple[str, ...], BeforeValidator(lambda value: [str(part) for part in _parts(value)])
]
Bytes = Annotated[int, BeforeValidator(units.size)]


class Options(BaseModel):
    """Base: unknown keys are refused, nothing changes after it is made."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


class PreprocessOptions(Options):
    """What of a model's own preprocessing to replace."""

    size: int | None = Field(
        default=None, ge=1, le=4096, description="side of the square image, pixels"
    )
    mean: Numbers | None = Field(default=None, description="mean for each channel, pixels in 0..1")
    std: Positive | None = Field(default=None, description="standard deviation for each channel")
    interpolation: Literal["nearest", "bilinear", "bicubic"] | None = Field(
        default=None, description="how images are resized"
    )
    scale: Literal["auto", "none", "standard"] = Field(
        default="auto",
        description="vectors: `standard` takes away the training data's mean and divides by its "
        "deviation; `auto` does so for a fresh model only",
    )


class ModelOptions(Options):
    """What every model scheme takes."""

    preprocess: PreprocessOptions = Field(
        default=PreprocessOptions(), description="replaces parts of the model's own preprocessing"
    )
    head: str | None = Field(
        default=None, description="module path of the final classifier, when it cannot be found"
    )
    weights: str | None = Field(
        default=None,
        description="local weights: safetensors, or a torch file opened with weights only",
    )
    classes: int | None = Field(
        default=None, ge=2, le=1_000_000, description="number of outputs (default: as the data has)"
    )


class PretrainedOptions(ModelOptions):
    pretrained: bool = Field(
        default=False,
        description="the library's trained weights (must be on this machine); else fresh ones",
    )


class TimmModel(PretrainedOptions):
    """timm:NAME, any image classifier of timm."""

    in_chans: int | None = Field(
        default=None, ge=1, le=64, description="input channels (default: 3)"
    )


class TorchvisionModel(PretrainedOptions):
    """torchvision:NAME, any classification model of torchvision."""

    variant: str | None = Field(
        default=None,
        description="name of the trained weights, e.g. IMAGENET1K_V2 (default: the newest)",
    )


class HfModel(ModelOptions):
    """hf:FOLDER or hf:ORG/NAME, image or text classification of transformers."""

    pretrained: bool = Field(
        default=True, description="false: only its config is read, weights are fresh"
    )
    task: Literal["auto", "image", "text"] = Field(
        default="auto", description="image or text classification (default: from the config)"
    )
    revision: str | None = Field(default=None, description="branch, tag or commit on the hub")
    tokenizer: str | None = Field(
        default=None, description="folder or hub name, when not the model's own"
    )
    max_length: int | None = Field(
        default=None,
        ge=2,
        le=131_072,
        description="tokens kept of a text (default: the model's, up to 512)",
    )


class FileModel(ModelOptions):
    """file:PATH, a folder saved by bequeath or transformers, or a bare weights file with `arch`."""

    arch: str | None = Field(
        default=None,
        description="architecture of a bare weights file, e.g. zoo:resnet56 or timm:resnet18",
    )


class ZooModel(ModelOptions):
    """zoo:NAME, small reference models: resnet8..110, wrn-40-1.., lenet, mlp."""

    hidden: Integers | None = Field(
        default=None, description="mlp: widths of the hidden layers (default: 256,256)"
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="mlp and wrn: share of units dropped"
    )


class PyModel(ModelOptions):
    """py:FILE.py:NAME or py:MODULE:NAME, a callable(n_classes) -> torch.nn.Module."""


class DataOptions(Options):
    """What every data scheme takes."""

    split: str | None = Field(
        default=None,
        min_length=1,
        description="which part: train, val, test, or the source's own names",
    )
    test_size: float = Field(
        default=0.3,
        gt=0,
        lt=1,
        description="share put aside for split=test where the source has no splits",
    )
    val_size: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share put aside for split=val where the source has no splits",
    )
    split_seed: int = Field(
        default=0,
        ge=0,
        lt=2**62,
        description="which of the random divisions (test_size, val_size, take)",
    )
    take: int | None = Field(
        default=None, ge=1, description="only so many samples, classes kept in balance"
    )
    classes: Words | None = Field(
        default=None,
        description="only these classes, numbered anew in this order: 0-4, or 0,2,5, or names",
    )
    n_classes: int | None = Field(
        default=None,
        ge=2,
        le=1_000_000,
        description="number of classes, when labels alone do not tell",
    )
    labels: bool = Field(
        default=True, description="false: the data set has no labels, or hides them"
    )
    memory: Bytes | None = Field(
        default=None,
        description="most memory the samples may take (default: half of what is free); images "
        "beyond it are decoded as they are needed",
    )


class SklearnData(DataOptions):
    """sklearn:NAME, a data set bundled with scikit-learn: digits, wine, iris, breast_cancer."""

    as_: Literal["vector", "image"] = Field(
        default="vector", alias="as", description="digits: as vectors or as 8x8 images"
    )


class PictureOptions(DataOptions):
    """What every source of image files takes."""

    size: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="side of the square an image is resized and cut to, pixels",
    )
    channels: Literal["auto", "grey", "rgb"] = Field(
        default="auto", description="auto: grey when every image is grey, else rgb"
    )
    skip_bad: bool = Field(default=False, description="go on without the images that do not decode")


class FolderData(PictureOptions):
    """folder:PATH, a folder for each class with images in it."""


class TableData(DataOptions):
    label: str | None = Field(
        default=None, description="column of the class (default: label, class or y)"
    )
    features: Names | None = Field(
        default=None,
        description="columns of numbers, or one column of lists (default: all other numbers)",
    )
    text: str | None = Field(default=None, description="column of text, instead of features")


class CsvData(TableData):
    """csv:FILE, a table with a header, UTF-8."""

    sep: str = Field(
        default=",", min_length=1, max_length=3, description="the character between columns, or tab"
    )

    @field_validator("sep")
    @classmethod
    def _one_character(cls, value: str) -> str:
        value = {"tab": "\t", "\\t": "\t"}.get(value, value)
        if len(value) != 1 or value in '"\r\n' or not value.isascii():
            raise ValueError("`sep` is one character, or the word tab")
        return value


class ParquetData(TableData):
    """parquet:FILE, a table."""


class NpzData(DataOptions):
    """npz:FILE, arrays x (uint8 images or float vectors) and y."""

    x_key: str = Field(default="x", description="name of the array of samples")
    y_key: str = Field(default="y", description="name of the array of classes")
    names_key: str | None = Field(
        default=None,
        description="name of the array of class names (default: names, if there is one)",
    )


class HfData(PictureOptions):
    """hf:FOLDER or hf:NAME, a data set of the library datasets, on this machine already."""

    image: str | None = Field(
        default=None, description="column of the image (default: found by its type)"
    )
    text: str | None = Field(
        default=None, description="column of the text (default: found by its type)"
    )
    label: str | None = Field(default=None, description="column of the class (default: label)")
    config: str | None = Field(
        default=None, description="configuration of a data set that has several"
    )


class TorchvisionData(PictureOptions):
    """torchvision:NAME, a data set of torchvision already on disk."""

    root: str = Field(default="data", description="folder that holds it; nothing is downloaded")


class PyData(DataOptions):
    """py:FILE.py:NAME or py:MODULE:NAME, a callable() -> arrays by name, or a torch data set."""


MODEL_OPTIONS: dict[str, type[ModelOptions]] = {
    "file": FileModel,
    "hf": HfModel,
    "py": PyModel,
    "timm": TimmModel,
    "torchvision": TorchvisionModel,
    "zoo": ZooModel,
}

DATA_OPTIONS: dict[str, type[DataOptions]] = {
    "csv": CsvData,
    "folder": FolderData,
    "hf": HfData,
    "npz": NpzData,
    "parquet": ParquetData,
    "py": PyData,
    "sklearn": SklearnData,
    "torchvision": TorchvisionData,
}
