"""The published CIFAR-10 ResNets: strictly loaded, and as right as they should be."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bequeath.given.facts import DataFacts
from bequeath.given.models import model_handle

CIFAR = DataFacts(kind="image", shape=(32, 32, 3), n_classes=10)


@pytest.mark.real
@pytest.mark.parametrize("name", ["resnet20-12fca82f", "resnet32-d509ac18", "resnet56-4bfd9763"])
def test_published_cifar_resnets_load_and_are_right(name):
    root = os.environ.get("BEQUEATH_DATA")
    if not root:
        pytest.skip("BEQUEATH_DATA does not name the folder with cifar10_resnets")
    path = Path(root) / "cifar10_resnets" / f"{name}.th"
    handle = model_handle("teacher", f"file:{path}", {"arch": f"zoo:{name.split('-')[0]}"})
    facts = handle.examine(CIFAR)
    assert facts.n_classes == 10
    model = handle.load(n_classes=10)
    assert model.facts.hash == facts.hash
    file = Path(root) / "cifar10" / "cifar10_dev.npz"
    if not file.is_file():
        pytest.skip(f"{file.name} is not in BEQUEATH_DATA")
    x, y = some_images(file)
    with torch.no_grad():
        right = (model({"x": x}).argmax(1) == y).float().mean().item()
    assert right > 0.85


def some_images(file: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """80 test images of every sheet; a sheet is 25 rows of 40 images of 32x32 pixels."""
    sheets, side = [], 32
    with np.load(file, allow_pickle=False) as arrays:
        for name in sorted(n for n in arrays if n.startswith("test_webp")):
            sheet = np.asarray(Image.open(io.BytesIO(arrays[name].tobytes())).convert("RGB"))
            tiles = sheet.reshape(25, side, 40, side, 3).transpose(0, 2, 1, 3, 4)
            sheets.append(tiles.reshape(-1, side, side, 3)[::12][:80])
        y = np.concatenate(
            [arrays["test_y"][1000 * i :][:1000:12][:80] for i in range(len(sheets))]
        )
    return torch.from_numpy(np.concatenate(sheets)), torch.from_numpy(y.astype(np.int64))
