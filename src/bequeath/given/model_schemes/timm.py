"""`timm:NAME`: any image classifier of timm."""

from __future__ import annotations

import json
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
from bequeath.given.options import TimmModel
from bequeath.kernel.errors import JobError, Problem

if TYPE_CHECKING:
    from torch import nn

    from bequeath.given.bound import BoundModel
    from bequeath.given.preprocess import ImagePreprocess


def describe(rest: str, options: TimmModel) -> tuple[ModelFacts, list[Problem]]:
    problem = library_problem("timm")
    facts = ModelFacts("image", rest, n_classes=options.classes, head=options.head)
    return facts, [problem] if problem else []


def blueprint(rest: str, options: TimmModel, data: DataFacts) -> Blueprint:
    import timm

    from bequeath.given.preprocess import override

    if not timm.is_model(rest):
        raise JobError(unknown_name("timm", rest, timm.list_models()))
    config = timm.get_pretrained_cfg(rest)
    if config is None or (options.pretrained and not config.has_weights):
        if options.pretrained:
            message = f"timm has no trained weights for `{rest}`"
            raise JobError(Problem("M309", message, at=("pretrained",)))
        values: dict[str, Any] = {}
    else:
        values = config.to_dict()
    kwargs: dict[str, Any] = {"in_chans": options.in_chans} if options.in_chans else {}
    if options.preprocess.size and values.get("fixed_input_size"):
        kwargs["img_size"] = options.preprocess.size
    known = options.pretrained or options.weights is not None
    plain = _preprocess(values, options.in_chans or 3, trained=known)
    trained = None
    if options.pretrained:
        overlay = _local(rest, values)
        trained = _maker(rest, kwargs | {"pretrained": True, "pretrained_cfg_overlay": overlay})
    return Blueprint(
        scheme="timm",
        name=rest,
        make=again(rest, kwargs, None),
        preprocess=override(plain, options.preprocess, trained=known),
        kwargs=kwargs,
        trained=trained,
        n_classes=values.get("num_classes") if options.pretrained else None,
        head=_head(values.get("classifier")),
        licence=values.get("license"),
    )


def again(name: str, kwargs: Mapping[str, Any], folder: Path | None) -> Callable[[int], nn.Module]:
    return _maker(name, dict(kwargs))


def save(bound: BoundModel, folder: Path) -> str:
    from timm.models import save_for_hf

    from bequeath.given.bound import save_tensors

    save_for_hf(
        bound.module, str(folder), model_args=dict(bound.source.kwargs), safe_serialization=True
    )
    save_tensors(bound.module, folder / "model.safetensors")
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["pretrained_cfg"] |= _config(bound)
    if bound.source.classes:
        config["label_names"] = list(bound.source.classes)
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")
    return (
        "import timm\n"
        "model = timm.create_model('local-dir:.', pretrained=True).eval()  # . is this folder\n"
        "transform = timm.data.create_transform(**timm.data.resolve_data_config(model=model))\n"
    )


def _maker(name: str, kwargs: dict[str, Any]) -> Callable[[int], nn.Module]:
    def make(n_classes: int) -> nn.Module:
        import timm

        if not timm.is_model(name):  # a saved folder may say anything, `hf-hub:...` too
            raise JobError(unknown_name("timm", name, timm.list_models()))
        return timm.create_model(name, num_classes=n_classes, **kwargs)

    return make


def _preprocess(values: Mapping[str, Any], channels: int, *, trained: bool) -> ImagePreprocess:
    """timm's evaluation transform; nothing is cropped away for a model that begins fresh."""
    from timm.data import resolve_data_config

    from bequeath.given.preprocess import ImagePreprocess

    found = resolve_data_config({}, pretrained_cfg=dict(values))
    known = found["interpolation"] in ("nearest", "bilinear", "bicubic")
    mean, std = tuple(found["mean"]), tuple(found["std"])
    if len(mean) != channels:
        mean, std = (sum(mean) / len(mean),) * channels, (sum(std) / len(std),) * channels
    return ImagePreprocess(
        size=tuple(found["input_size"][1:]),
        mean=mean,
        std=std,
        interpolation=found["interpolation"] if known else "bicubic",
        crop=float(found["crop_pct"]) if trained else 1.0,
        channels=channels,
    )


def _config(bound: BoundModel) -> dict[str, Any]:
    from bequeath.given.preprocess import ImagePreprocess

    eyes = bound.preprocess
    if not isinstance(eyes, ImagePreprocess):
        return {}
    config: dict[str, Any] = {
        "mean": list(eyes.mean),
        "std": list(eyes.std),
        "interpolation": eyes.interpolation,
        "crop_pct": eyes.crop,
    }
    if eyes.size is not None:
        config["input_size"] = [eyes.channels or 3, *eyes.size]
    return config


def _head(classifier: Any) -> str | None:
    if isinstance(classifier, tuple | list):
        return classifier[0] if classifier else None
    return classifier or None


def _local(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Where the trained weights lie here, as timm wants to hear it; JobError (M309) if nowhere."""
    if may_download():
        return {}
    import torch
    from huggingface_hub import try_to_load_from_cache

    hub, url = values.get("hf_hub_id"), values.get("url")
    for file in (values.get("hf_hub_filename"), "model.safetensors", "pytorch_model.bin"):
        path = try_to_load_from_cache(hub, file) if hub and file else None
        if isinstance(path, str):
            return {"file": path}
    if url:
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
        if path.is_file():
            return {"file": str(path)}
    source = f"hub: {hub}" if hub else f"url: {url}"
    raise not_here(f"the trained weights of timm's `{name}`", source)
