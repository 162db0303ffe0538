"""What each scheme of a reference takes besides. Never imports torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from bequeath.given.option_types import (
    Bytes,
    Integers,
    Names,
    Numbers,
    Options,
    Positive,
    Prompted,
    Words,
)
from bequeath.given.option_types import Ref as Ref
from bequeath.given.option_types import parse_ref as parse_ref
from bequeath.given.pool_options import PoolData, SyntheticData


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
    bottleneck: int | None = Field(
        default=None,
        ge=1,
        le=65536,
        description="before a fresh classifier, a linear layer to so many numbers with batch norm, "
        "and weight norm on the classifier: what source-free adaptation starts from",
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
    """hf:FOLDER or hf:ORG/NAME, classifiers and causal language models of transformers."""

    pretrained: bool = Field(
        default=True, description="false: only its config is read, weights are fresh"
    )
    task: Literal["auto", "image", "text", "language"] = Field(
        default="auto", description="classifies images or text, or is a causal language model"
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
    """zoo:NAME, small reference models: resnet8..110, wrn-40-1.., lenet, mlp, gpt,
    random_features; diffusion models: denoiser, unet."""

    hidden: Integers | None = Field(
        default=None, description="mlp: widths of the hidden layers (default: 256,256)"
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="mlp, wrn and gpt: share of units dropped"
    )
    layers: int | None = Field(
        default=None,
        ge=1,
        le=96,
        description="gpt: blocks (default: 4); denoiser: blocks (3); unet: halvings (as fit, to 2)",
    )
    width: int | None = Field(
        default=None,
        ge=4,
        le=8192,
        description="gpt: numbers a token is made of (default: 128); denoiser: of a layer (256); "
        "unet: channels at full size (32)",
    )
    predicts: Literal["v", "x0", "eps"] = Field(
        default="v", description="denoiser, unet: what the network says of a noisy sample"
    )
    schedule: Literal["cosine", "linear"] = Field(
        default="cosine", description="denoiser, unet: how data turn into noise over time"
    )
    heads: int | None = Field(
        default=None, ge=1, le=128, description="gpt: attention heads (default: one for 32 numbers)"
    )
    context: int | None = Field(
        default=None, ge=4, le=8192, description="gpt: tokens it reads at once (default: 128)"
    )
    vocabulary: str = Field(
        default="data",
        min_length=1,
        description="gpt: what a token is: `data`, the characters of the training text; `ascii`, "
        "those of printable ASCII; or the folder of a saved model, whose tokens are taken over",
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
    only: Words | None = Field(
        default=None,
        description="only samples of these of the classes, which all keep their numbers",
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
    turn: float = Field(
        default=0.0,
        ge=-360,
        le=360,
        description="images: turned so many degrees counter-clockwise, as another domain",
    )
    invert: bool = Field(default=False, description="images: light and dark exchanged")
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


class TableData(Prompted, DataOptions):
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


class JsonlData(TableData):
    """jsonl:FILE, a table: a JSON object a line."""


class NpzData(DataOptions):
    """npz:FILE, arrays x (uint8 images or float vectors) and y."""

    x_key: str = Field(default="x", description="name of the array of samples")
    y_key: str = Field(default="y", description="name of the array of classes")
    names_key: str | None = Field(
        default=None,
        description="name of the array of class names (default: names, if there is one)",
    )


class HfData(Prompted, PictureOptions):
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


class CorpusData(DataOptions):
    """What every source of text for language models takes."""

    labels: bool = Field(default=False, description="such texts have no classes")
    canaries: str | None = Field(
        default=None,
        description="secrets to hide in the text, as `audit` looks for them: canaries:digits?...",
    )


class TextData(CorpusData):
    """text:FILE or text:FOLDER of .txt files, plain UTF-8 text for language models."""

    by: Literal["line", "paragraph", "file", "block"] = Field(
        default="line", description="what a sample is; a block is `length` characters"
    )
    length: int = Field(default=126, ge=2, le=1_000_000, description="characters in a block")


class SentencesData(CorpusData):
    """sentences:COUNT, made-up sentences of people, places and dates, for trials."""

    seed: int = Field(default=0, ge=0, lt=2**62, description="which sentences")


class CanariesData(DataOptions):
    """canaries:FILE.csv (prefix, secret) or canaries:digits, secrets to look for in a model."""

    labels: bool = Field(default=False, description="such texts have no classes")
    count: int = Field(default=20, ge=1, le=10_000, description="digits: how many canaries")
    length: int = Field(default=6, ge=1, le=18, description="digits: of a secret")
    repeat: Integers = Field(default=(1, 10, 100), description="how often each is in the text")
    prefix: str = Field(default="the pin of {name} is ", description="digits: what comes before")
    seed: int = Field(default=0, ge=0, lt=2**62, description="digits: which secrets")


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

DATA_OPTIONS: dict[str, type[Options]] = {
    "canaries": CanariesData,
    "csv": CsvData,
    "folder": FolderData,
    "hf": HfData,
    "jsonl": JsonlData,
    "npz": NpzData,
    "parquet": ParquetData,
    "pool": PoolData,
    "py": PyData,
    "sentences": SentencesData,
    "sklearn": SklearnData,
    "synthetic": SyntheticData,
    "text": TextData,
    "torchvision": TorchvisionData,
}
