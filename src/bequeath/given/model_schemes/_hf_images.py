"""Preprocessing of images in transformers' words, read and written. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bequeath.given.facts import read_json

if TYPE_CHECKING:
    from bequeath.given.preprocess import ImagePreprocess

_RESAMPLE = {0: "nearest", 2: "bilinear", 3: "bicubic"}


def image_preprocess(folder: Path | None, config: Any) -> ImagePreprocess:
    """What preprocessor_config.json says; ImageNet's mean and the config's size without one."""
    from bequeath.given.preprocess import IMAGENET_MEAN, IMAGENET_STD, ImagePreprocess

    path = (folder or Path()) / "preprocessor_config.json"
    said = read_json(path, at=("ref",)) if folder and path.is_file() else {}
    channels = int(getattr(config, "num_channels", 3))
    native = getattr(config, "image_size", None) or 224
    size = said.get("size") or native
    resized = _sides(size)
    cropped = _sides(said["crop_size"]) if said.get("do_center_crop") else resized
    mean = said.get("image_mean") or IMAGENET_MEAN
    std = said.get("image_std") or IMAGENET_STD
    if said.get("do_normalize") is False:
        mean, std = (0.0,) * channels, (1.0,) * channels
    if len(mean) != channels:
        mean, std = (sum(mean) / len(mean),) * channels, (sum(std) / len(std),) * channels
    factor = 255 * float(said.get("rescale_factor", 1 / 255))
    crop = said.get("crop_pct") or min(1.0, cropped[0] / resized[0])
    return ImagePreprocess(
        size=cropped,
        mean=tuple(round(m / factor, 12) for m in mean),
        std=tuple(round(s / factor, 12) for s in std),
        interpolation=_RESAMPLE.get(said.get("resample", 2), "bicubic"),
        crop=float(crop),
        channels=channels if channels in (1, 3) else None,
    )


def processor(eyes: ImagePreprocess) -> dict[str, Any]:
    """The same preprocessing in transformers' words."""
    resample = {name: number for number, name in _RESAMPLE.items()}[eyes.interpolation]
    common: dict[str, Any] = {
        "do_normalize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "image_mean": list(eyes.mean),
        "image_std": list(eyes.std),
        "resample": resample,
        "do_convert_rgb": eyes.channels == 3,
    }
    if eyes.size is None:
        return common | {"image_processor_type": "ViTImageProcessor", "do_resize": False}
    height, width = eyes.size
    if eyes.crop >= 1:
        kind, size = "ViTImageProcessor", {"height": height, "width": width}
        return common | {"image_processor_type": kind, "do_resize": True, "size": size}
    return common | {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": round(height / eyes.crop)},
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
    }


def _sides(size: Any) -> tuple[int, int]:
    if isinstance(size, Mapping):
        side = size.get("shortest_edge") or size.get("height") or 224
        return (int(side), int(size.get("width") or side))
    if isinstance(size, list | tuple):
        return (int(size[0]), int(size[-1]))
    return (int(size), int(size))
