"""Small models and data that the tests of this folder share."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor, nn

from bequeath.given.access import Access
from bequeath.given.bound import BoundModel, Source
from bequeath.given.facts import ModelFacts
from bequeath.given.preprocess import ImagePreprocess

CLASSES = 4


class Net(nn.Module):
    def __init__(self, width: int = 8, scale: float = 1.0):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, CLASSES)
        self.drop = nn.Dropout(0.5)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        return self.head(self.drop(x)) * self.scale


class Images:
    """What a data view offers, over n random images."""

    kind = "image"
    n_classes = CLASSES

    def __init__(self, n: int = 64, seed: int = 0):
        g = torch.Generator().manual_seed(seed)
        self.x = torch.randint(0, 256, (n, 8, 8, 3), generator=g, dtype=torch.uint8)
        self.y = torch.randint(0, CLASSES, (n,), generator=g)
        self.hash = f"images-{n}-{seed}"
        self.fetched = 0

    def __len__(self) -> int:
        return len(self.x)

    def fetch(self, idx: Tensor) -> dict[str, Any]:
        self.fetched += len(idx)
        return {"idx": idx, "x": self.x[idx], "y": self.y[idx]}


class ModelView:
    """What a model view offers; counts how often the model was opened and how much it was asked."""

    access = Access.WEIGHTS

    def __init__(self, seed: int = 0, mean: float = 0.5, scale: float = 1.0, width: int = 8):
        self.seed, self.mean, self.scale, self.width = seed, mean, scale, width
        self.facts = ModelFacts(kind="image", architecture="net", head="head", n_classes=CLASSES)
        self.asked = 0
        self._one_at_a_time = threading.Lock()  # the global generator is everybody's

    def load(self) -> BoundModel:
        with self._one_at_a_time, torch.random.fork_rng():
            torch.manual_seed(self.seed)
            net = Net(self.width, self.scale)
            net.norm.running_mean.normal_()
        eyes = ImagePreprocess(mean=(self.mean,) * 3, std=(0.2,) * 3)
        model = BoundModel(net, eyes, self.facts, Source("py", "net"))
        model.register_forward_hook(self._count)
        return model

    def _count(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self.asked += len(output)
