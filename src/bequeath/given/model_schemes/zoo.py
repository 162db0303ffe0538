"""`zoo:NAME`: small reference models that neither timm nor torchvision has."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bequeath.given.facts import DataFacts, ModelFacts
from bequeath.given.model_schemes import Blueprint, unknown_name
from bequeath.given.options import ZooModel
from bequeath.given.zoo import ZOO
from bequeath.kernel.errors import JobError, Problem

if TYPE_CHECKING:
    from torch import nn

    from bequeath.given.bound import BoundModel


def describe(rest: str, options: ZooModel) -> tuple[ModelFacts, list[Problem]]:
    if rest not in ZOO:
        every = "the zoo has " + ", ".join(ZOO)
        return ModelFacts(architecture=rest), [unknown_name("the zoo", rest, ZOO, every)]
    entry = ZOO[rest]
    problems = []
    if options.hidden is not None and (rest != "mlp" or min(options.hidden, default=0) < 1):
        what = "widths of 1 or more, for example 256,128" if rest == "mlp" else "for zoo:mlp only"
        problems.append(Problem("M312", f"`hidden` is {what}", at=("hidden",)))
    if options.dropout and entry.file not in ("mlp", "wide_resnet"):
        problems.append(Problem("M312", f"zoo:{rest} has no dropout", at=("dropout",)))
    facts = ModelFacts(
        kind=entry.kind,
        architecture=rest,
        n_classes=options.classes,
        head=options.head or entry.head,
        licence="Apache-2.0",
    )
    return facts, problems


def blueprint(rest: str, options: ZooModel, data: DataFacts) -> Blueprint:
    from bequeath.given.preprocess import VectorPreprocess, default_preprocess, override

    entry, kwargs = ZOO[rest], dict[str, Any]()
    trained = options.weights is not None
    if entry.file == "mlp":
        kwargs["in_features"] = _features(data)
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
    )


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
    ) + save_preprocess(bound.preprocess, folder)


def _features(data: DataFacts) -> int:
    if data.shape is None:
        message = "the width of the input is not known: zoo:mlp takes it from the data"
        remedy = "name the data, or open a model saved by bequeath"
        raise JobError(Problem("M312", message, at=("ref",), remedies=(remedy,)))
    return math.prod(data.shape)
