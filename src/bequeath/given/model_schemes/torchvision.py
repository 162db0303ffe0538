"""`torchvision:NAME`: any classification model of torchvision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bequeath.given.facts import DataFacts, ModelFacts
from bequeath.given.model_schemes import (
    Blueprint,
    library_problem,
    may_download,
    not_here,
    unknown_name,
)
from bequeath.given.options import TorchvisionModel
from bequeath.kernel.errors import JobError, Problem
from bequeath.kernel.files import write_json

if TYPE_CHECKING:
    from torch import nn

    from bequeath.given.bound import BoundModel
    from bequeath.given.preprocess import ImagePreprocess

_FRESH_ARGUMENTS = {"googlenet": {"init_weights": True}, "inception_v3": {"init_weights": True}}


def describe(rest: str, options: TorchvisionModel) -> tuple[ModelFacts, list[Problem]]:
    problem = library_problem("torchvision")
    facts = ModelFacts("image", rest, n_classes=options.classes, head=options.head)
    return facts, [problem] if problem else []


def blueprint(rest: str, options: TorchvisionModel, data: DataFacts) -> Blueprint:
    import torchvision

    from bequeath.given.preprocess import override

    names = torchvision.models.list_models(module=torchvision.models)
    if rest not in names:
        raise JobError(unknown_name("torchvision", rest, names))
    every = torchvision.models.get_model_weights(rest)
    if options.variant is not None and options.variant not in every.__members__:
        known = "there are " + ", ".join(every.__members__)
        problem = unknown_name(f"torchvision's `{rest}`", options.variant, every.__members__, known)
        raise JobError(problem)
    weights: Any = every[options.variant] if options.variant else getattr(every, "DEFAULT", None)
    begun = options.pretrained or options.weights is not None
    trained = None
    if options.pretrained:
        trained = _trained(rest, weights)
    return Blueprint(
        scheme="torchvision",
        name=rest,
        make=again(rest, _FRESH_ARGUMENTS.get(rest, {}), None),
        preprocess=override(_preprocess(weights, trained=begun), options.preprocess, trained=begun),
        kwargs=_FRESH_ARGUMENTS.get(rest, {}),
        trained=trained,
        n_classes=len(weights.meta["categories"]) if options.pretrained else None,
        classes=tuple(weights.meta["categories"]) if options.pretrained else (),
        licence="BSD-3-Clause",
    )


def again(name: str, kwargs: Mapping[str, Any], folder: Path | None) -> Callable[[int], nn.Module]:
    def make(n_classes: int) -> nn.Module:
        import torchvision

        return torchvision.models.get_model(name, weights=None, num_classes=n_classes, **kwargs)

    return make


def save(bound: BoundModel, folder: Path) -> str:
    from bequeath.given.bound import save_tensors
    from bequeath.given.how_to_load import save_preprocess

    name, classes = bound.source.name, bound.facts.n_classes
    save_tensors(bound.module, folder / "model.safetensors")
    config = {"library": "torchvision", "model": name, "num_classes": classes}
    write_json(folder / "config.json", config | {"classes": list(bound.source.classes)})
    return (
        "import torchvision\n"
        "from safetensors.torch import load_file\n"
        f"model = torchvision.models.get_model({name!r}, num_classes={classes}).eval()\n"
        "model.load_state_dict(load_file('model.safetensors'))\n"
    ) + save_preprocess(bound.preprocess, folder)


def _trained(name: str, weights: Any) -> Callable[[int], nn.Module]:
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if not path.is_file() and not may_download():
        raise not_here(f"`{weights}`", f"it would be {path.name}, from {weights.url}")

    def make(n_classes: int) -> nn.Module:
        import torchvision

        model = torchvision.models.get_model(name, weights=weights, progress=False)
        if n_classes != len(weights.meta["categories"]):
            from bequeath.given.heads import find_head, replace_head

            replace_head(model, find_head(model, len(weights.meta["categories"])), n_classes)
        return model

    return make


def _preprocess(weights: Any, *, trained: bool) -> ImagePreprocess:
    """The weights' own evaluation transform, or ImageNet's sizes for a model without weights."""
    from bequeath.given.preprocess import IMAGENET_MEAN, IMAGENET_STD, ImagePreprocess

    eyes = weights.transforms() if weights is not None else None
    side = eyes.crop_size[0] if eyes is not None else 224
    return ImagePreprocess(
        size=(side, side),
        mean=tuple(eyes.mean) if eyes is not None else IMAGENET_MEAN,
        std=tuple(eyes.std) if eyes is not None else IMAGENET_STD,
        interpolation=eyes.interpolation.value if eyes is not None else "bilinear",
        crop=side / eyes.resize_size[0] if trained and eyes is not None else 1.0,
        channels=3,
    )
