"""Diffusion models as generators: how they walk, and what they make as data again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bequeath.given import pixels
from bequeath.given.bound import BoundModel
from bequeath.given.preprocess import ImagePreprocess, VectorPreprocess
from bequeath.given.samples import ArraySamples
from bequeath.given.zoo.denoiser import Diffusion
from bequeath.kernel.errors import Problem, RunError

BATCH = 256


def diffusion(model: BoundModel, role: str) -> Diffusion:
    """The diffusion model in a model. RunError T665 when it is none."""
    if not isinstance(model.module, Diffusion):
        message = f"model `{role}` is no diffusion model, but {type(model.module).__name__}"
        remedies = ("train one: `want: generate`, `method: diffusion`, of `zoo:unet`",)
        raise RunError(Problem("T665", message, remedies=remedies))
    return model.module


def walking(
    model: BoundModel, *, sampler: str, steps: int, like: BoundModel | None = None
) -> BoundModel:
    """The same model, changed in place to make its samples so, also after it is saved.

    like: the model whose noise levels and whose view of the data it takes over.
    """
    net = diffusion(model, "model")
    changes: dict[str, Any] = {"sampler": sampler, "steps": steps}
    if like is not None:
        other = diffusion(like, "teacher")
        changes |= {"schedule": other.schedule, "t_max": other.t_max}
        model.preprocess = like.preprocess
        model.facts = replace(model.facts, preprocess=like.facts.preprocess)
    for name, value in changes.items():
        setattr(net, name, value)
    model.source = replace(model.source, kwargs={**model.source.kwargs, **changes})
    return model


def noises(n: int, shape: Sequence[int], seed: int) -> Tensor:
    """n standard normal [n, *shape] on the CPU: the same for every model of that shape."""
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def draw(model: BoundModel, noise: Tensor, device: torch.device) -> Tensor:
    """A sample for each noise [n, *shape], as the model makes them; on the CPU."""
    model.eval()
    with torch.inference_mode():
        return torch.cat([model.module(part.to(device)).cpu() for part in noise.split(BATCH)])


def as_data(model: BoundModel, x: Tensor, shape: Sequence[int], kind: str) -> ArraySamples:
    """What the model works on, [n, *model.shape], as raw samples of data of that kind.

    Images: uint8 [n, H, W, C], resized to the data's size where the model works at another, rounded
    and cut to 0..255. Vectors: scaled back. shape: of a sample of the data.
    """
    eyes = model.preprocess
    if isinstance(eyes, ImagePreprocess):
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (eyes.mean, eyes.std))
        x = (x * std + mean) * 255
        if kind == "image" and tuple(x.shape[2:]) != tuple(shape[:2]):
            x = pixels.resize(x, (shape[0], shape[1]), 1.0, "bilinear")
        return ArraySamples("image", _whole(x.permute(0, 2, 3, 1)))
    if isinstance(eyes, VectorPreprocess) and eyes.mean is not None and eyes.std is not None:
        x = x * torch.tensor(eyes.std) + torch.tensor(eyes.mean)
    if kind == "image":
        return ArraySamples("image", _whole(x.view(len(x), *shape) * 255))
    return ArraySamples("vector", x.float())


def _whole(x: Tensor) -> Tensor:
    """0..255 -> uint8."""
    return x.round().clamp(0, 255).to(torch.uint8).contiguous()
