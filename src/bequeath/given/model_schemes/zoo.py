"""`zoo:NAME`: small reference models that neither timm nor torchvision has."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bequeath.given.facts import DataFacts, ModelFacts, read_json
from bequeath.given.model_schemes import Blueprint, unknown_name
from bequeath.given.options import ZooModel
from bequeath.given.zoo import ZOO
from bequeath.kernel.errors import JobError, Problem

if TYPE_CHECKING:
    from torch import nn

    from bequeath.given.bound import BoundModel
    from bequeath.given.preprocess import Preprocess

MOST_HIDDEN = 1000
ASCII = "\n" + "".join(map(chr, range(32, 127)))


def describe(rest: str, options: ZooModel) -> tuple[ModelFacts, list[Problem]]:
    if rest not in ZOO:
        every = "the zoo has " + ", ".join(ZOO)
        return ModelFacts(architecture=rest), [unknown_name("the zoo", rest, ZOO, every)]
    entry = ZOO[rest]
    problems = []
    hidden = options.hidden or ()
    wrong = rest != "mlp" or min(hidden, default=0) < 1 or len(hidden) > MOST_HIDDEN
    if options.hidden is not None and wrong:
        what = f"at most {MOST_HIDDEN} widths of 1 or more, for example 256,128"
        what = what if rest == "mlp" else "for zoo:mlp only"
        problems.append(Problem("M312", f"`hidden` is {what}", at=("hidden",)))
    if options.dropout and entry.file not in ("mlp", "wide_resnet", "gpt"):
        problems.append(Problem("M312", f"zoo:{rest} has no dropout", at=("dropout",)))
    problems += _gpt_problems(rest, options) + _diffusion_problems(rest, options)
    facts = ModelFacts(
        kind=entry.kind,
        architecture=rest,
        n_classes=options.classes,
        head=options.head or entry.head,
        licence="Apache-2.0",
        per_token=entry.per_token,
        generates=entry.generates,
    )
    return facts, problems


def _gpt_problems(rest: str, options: ZooModel) -> list[Problem]:
    """What only a language model takes, and what does not work together there."""
    sizes = ("layers", "width", "heads", "context")
    said = [name for name in sizes if getattr(options, name) is not None]
    said += ["vocabulary"] if options.vocabulary != "data" else []
    if rest != "gpt":
        shared = {"layers", "width"} if ZOO[rest].generates else set()
        others = [name for name in said if name not in shared]
        return [Problem("M312", f"zoo:{rest} takes no `{name}`", at=(name,)) for name in others]
    if options.classes is not None:
        message = "zoo:gpt has no classes: its outputs are its vocabulary"
        return [Problem("M312", message, at=("classes",))]
    shape = gpt_shape(options)
    if shape["width"] % shape["heads"]:
        message = f"`width` ({shape['width']}) is no multiple of `heads` ({shape['heads']})"
        return [Problem("M312", message, at=("heads" if "heads" in said else "width",))]
    return []


def _diffusion_problems(rest: str, options: ZooModel) -> list[Problem]:
    """What only a diffusion model takes, and what it does not."""
    if ZOO[rest].generates:
        if options.classes is None:
            return []
        return [Problem("M312", f"zoo:{rest} makes samples, not classes", at=("classes",))]
    own = {"predicts": "v", "schedule": "cosine"}
    said = [name for name, usual in own.items() if getattr(options, name) != usual]
    return [Problem("M312", f"`{n}` is for zoo:denoiser and zoo:unet", at=(n,)) for n in said]


def gpt_shape(options: ZooModel) -> dict[str, int]:
    """layers, width, heads, context: as said, or the defaults."""
    width = options.width or 128
    return {
        "layers": options.layers or 4,
        "width": width,
        "heads": options.heads or max(1, width // 32),
        "context": options.context or 128,
    }


def blueprint(rest: str, options: ZooModel, data: DataFacts) -> Blueprint:
    from bequeath.given.preprocess import VectorPreprocess, default_preprocess, override

    entry, kwargs = ZOO[rest], dict[str, Any]()
    trained = options.weights is not None
    preprocess: Preprocess
    n_classes = None
    if entry.file == "gpt":
        kwargs |= gpt_shape(options)
        preprocess, n_classes = _tokens(options, data, kwargs["context"])
    elif entry.generates:
        preprocess, kwargs = _diffusion(rest, options, data, trained=trained)
    elif entry.file in ("mlp", "random_features"):
        kwargs["in_features"] = _features(data)
        if entry.file == "mlp":
            kwargs["hidden"] = list(options.hidden or (256, 256))
        preprocess = override(VectorPreprocess(), options.preprocess, trained=trained)
    else:
        plain = default_preprocess(data, options.preprocess)
        preprocess = override(plain, options.preprocess, trained=trained)
        shape = data.shape if data.shape and len(data.shape) == 3 else (32, 32, 3)
        if preprocess.kind == "image":
            kwargs["in_channels"], *size = preprocess.shape(shape)
            if entry.file == "lenet":
                kwargs["height"], kwargs["width"] = size
    if options.dropout:
        kwargs["dropout"] = options.dropout
    return Blueprint(
        scheme="zoo",
        name=rest,
        make=again(rest, kwargs, None),
        preprocess=preprocess,
        kwargs=kwargs,
        head=entry.head,
        licence="Apache-2.0",
        n_classes=n_classes,
        per_token=entry.per_token,
        generates=entry.generates,
    )


def _diffusion(
    rest: str, options: ZooModel, data: DataFacts, *, trained: bool
) -> tuple[Preprocess, dict[str, Any]]:
    """Pixels in -1..1 and vectors of deviation 1: about as large as the noise."""
    from bequeath.given.preprocess import ImagePreprocess, VectorPreprocess, override

    if data.shape is None:
        message = f"the shape of a sample is not known: zoo:{rest} takes it from the data"
        remedy = "name the data, or open a model saved by bequeath"
        raise JobError(Problem("M312", message, at=("ref",), remedies=(remedy,)))
    plain: Preprocess = VectorPreprocess()
    if data.kind != "vector" or rest == "unet":
        channels = data.shape[2] if len(data.shape) == 3 else 3
        half = (0.5,) * channels
        plain = ImagePreprocess(None, half, half, channels=channels)
    preprocess = override(plain, options.preprocess, trained=trained)
    vectors = preprocess.kind == "image" and len(data.shape) != 3  # refused where kinds are held up
    shape = (3, 32, 32) if vectors else preprocess.shape(data.shape)
    kwargs: dict[str, Any] = {"shape": list(shape)}
    kwargs |= {"predicts": options.predicts, "schedule": options.schedule}
    if rest == "unet":
        fit = [n for n in (2, 1, 0) if all(side % 2**n == 0 and side > 2**n for side in shape[1:])]
        kwargs |= {"width": options.width or 32, "layers": options.layers or fit[0]}
    else:
        kwargs |= {"width": options.width or 256, "layers": options.layers or 3}
    return preprocess, kwargs


def again(name: str, kwargs: Mapping[str, Any], folder: Path | None) -> Callable[[int], nn.Module]:
    module = importlib.import_module(f"bequeath.given.zoo.{ZOO[name].file}")
    return lambda n_classes: module.build(name, n_classes, **kwargs)


def save(bound: BoundModel, folder: Path) -> str:
    from bequeath.given.bound import save_tensors
    from bequeath.given.how_to_load import save_preprocess

    name, kwargs = bound.source.name, dict(bound.source.kwargs)
    code = (Path(__file__).parent.parent / "zoo" / f"{ZOO[name].file}.py").read_bytes()
    (folder / "architecture.py").write_bytes(code)
    save_tensors(bound.module, folder / "model.safetensors")
    said = "".join(f", {key}={value!r}" for key, value in kwargs.items())
    return (
        "from safetensors.torch import load_file\n"
        "from architecture import build  # architecture.py of this folder\n"
        f"model = build({name!r}, {bound.facts.n_classes}{said}).eval()\n"
        "model.load_state_dict(load_file('model.safetensors'))\n"
    ) + (_how_to_sample if ZOO[name].generates else save_preprocess)(bound.preprocess, folder)


def _how_to_sample(eyes: Preprocess, folder: Path) -> str:
    """How samples are made, and how what the model makes becomes data again."""
    from bequeath.given.how_to_load import PREPROCESS_FILE, save_preprocess
    from bequeath.given.preprocess import ImagePreprocess

    save_preprocess(eyes, folder)
    names, back = "SCALE, SHIFT", "((samples - SHIFT) / SCALE).round().clamp(0, 255)"
    if not isinstance(eyes, ImagePreprocess):
        scaled = getattr(eyes, "mean", None) is not None
        names, back = ("MEAN, STD", "samples * STD + MEAN") if scaled else ("flat", "samples")
    return (
        f"from preprocess import {names}, transform  # {PREPROCESS_FILE} of this folder\n"
        "# samples = model(torch.randn(16, *model.shape)), from noise alone\n"
        f"# data = {back}; pixels are [B, C, H, W]\n"
        "# model(transform(data), t), t in 0..1, is what the network says of noisy data\n"
    )


def _tokens(options: ZooModel, data: DataFacts, context: int) -> tuple[Preprocess, int]:
    """How the texts become tokens, and how many different ones there are."""
    from bequeath.given.characters import SPECIAL
    from bequeath.given.preprocess import CharacterPreprocess, TextPreprocess, from_dict

    if options.vocabulary in ("data", "ascii"):
        known = data.alphabet if options.vocabulary == "data" else ASCII
        if not known:
            message = "the vocabulary is not known: zoo:gpt takes it from the training text"
            remedies = ("name the data", "or say `vocabulary: ascii`, or a saved model's folder")
            raise JobError(Problem("M312", message, at=("vocabulary",), remedies=remedies))
        return CharacterPreprocess(known, context), SPECIAL + len(known)
    folder = Path(options.vocabulary)
    if not (folder / "bequeath.json").is_file():
        message = f"`vocabulary` is data, ascii or a saved model's folder, not `{folder}`"
        raise JobError(Problem("M312", message, at=("vocabulary",)))
    record = read_json(folder / "bequeath.json", at=("vocabulary",))
    try:
        eyes, size = from_dict(record["preprocess"]), int(record["n_classes"])
        if not record["per_token"]:
            raise ValueError("it is no language model")
        if not isinstance(eyes, TextPreprocess | CharacterPreprocess):
            raise ValueError("it takes no text")
    except (ValueError, TypeError, KeyError) as error:
        message = f"the vocabulary of `{folder}` cannot be used"
        problem = Problem("M312", message, at=("vocabulary",), notes=(str(error),))
        raise JobError(problem) from error
    if isinstance(eyes, TextPreprocess):
        eyes = replace(eyes, tokenizer=str(folder))
    return replace(eyes, max_length=context), size


def _features(data: DataFacts) -> int:
    if data.shape is None:
        message = "the width of the input is not known: zoo:mlp takes it from the data"
        remedy = "name the data, or open a model saved by bequeath"
        raise JobError(Problem("M312", message, at=("ref",), remedies=(remedy,)))
    return math.prod(data.shape)
