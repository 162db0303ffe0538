"""The same steps, quicker: weights as the device likes them, and compiled forward passes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable

import torch
from torch import nn

from bequeath.given.bound import BoundModel
from bequeath.kernel.errors import Problem


def lay_out(model: nn.Module, device: torch.device) -> None:
    """On a CUDA device the weights of 2-d convolutions lie channels last, as images come.

    Otherwise each pass would turn them round. On the CPU nothing is moved: it gains little there,
    and would change results in their last bits.
    """
    if device.type == "cuda":
        for part in model.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                part.to(memory_format=torch.channels_last)


def compiled(parts: Iterable[nn.Module]) -> list[nn.Module]:
    """Have the forward passes of models compiled, in place; returns those to `release`.

    The names of the weights stay. A shape is compiled when it first comes and never widened to
    others, so that a fit that goes on after a stop runs what an undisturbed one would; texts, which
    have many lengths, are compiled for all lengths at once.
    """
    found = []
    for part in parts:
        text = isinstance(part, BoundModel) and part.preprocess.kind == "text"
        module = part.module if isinstance(part, BoundModel) else part
        if type(module).forward is not nn.Module.forward:  # a store of tensors has none
            module.compile(dynamic=text)
            found.append(module)
    return found


def release(modules: Iterable[nn.Module]) -> None:
    """Let models run as they were written again."""
    for module in modules:
        module._compiled_call_impl = None


def compile_problems(device: torch.device) -> list[Problem]:
    """T614 where nothing can be compiled."""
    if device.type == "mps":
        why = "torch.compile is not tried on this device"
    elif device.type == "cpu" and not any(map(shutil.which, _compilers())):
        why = "there is no C++ compiler here, which torch.compile needs on the CPU"
    else:
        return []
    remedies = ("leave `train.compile` away: it changes the time, not what is learnt",)
    return [Problem("T614", why, at=("train", "compile"), remedies=remedies)]


def _compilers() -> list[str]:
    return [os.environ.get("CXX", "g++"), "g++", "clang++", "cl"]
