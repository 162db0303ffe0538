"""Models and data as a user has them: photos, arrays, a table of texts, tiny transformers."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

WORDS = {"good": ["great", "lovely", "fine"], "bad": ["awful", "poor", "dire"]}
FILL = ["the", "a", "film", "was", "of", "story", "and", "plot"]


def photos(root: Path) -> Path:
    """Three classes of small JPEG and PNG files of all sizes and modes."""
    rng = np.random.default_rng(0)
    modes = ["L", "RGBA", "P", "CMYK", "RGB", "RGB"]
    for split in ("train", "test"):
        for c, name in enumerate(["cat", "dog", "red bird"]):
            (root / split / name).mkdir(parents=True)
            for i, mode in enumerate(modes):
                height, width = rng.integers(30, 60, 2)
                pixels = rng.integers(0, 120, (height, width, 3), dtype=np.uint8)
                pixels[..., c] += 100
                suffix = "png" if i < 3 else "jpg"
                image = Image.fromarray(pixels).convert(mode)
                image.save(root / split / name / f"{i}.{suffix}")
    return root


def grey(path: Path, n: int = 60) -> Path:
    """28 x 28 images without a channel axis, four classes by the bright quarter."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 100, (n, 28, 28), dtype=np.uint8), np.arange(n) % 4
    for image, c in zip(x, y, strict=True):
        image[(c // 2) * 14 :, (c % 2) * 14 :][:14, :14] += 120
    np.savez(path, x=x, y=y, names=np.array(["nw", "ne", "sw", "se"]))
    return path


def reviews(path: Path, n: int = 60) -> Path:
    rng = np.random.default_rng(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["review", "feeling"])
        for i in range(n):
            feeling = ("good", "bad")[i % 2]
            words = [*rng.choice(FILL, rng.integers(2, 7)), rng.choice(WORDS[feeling])]
            table.writerow([" ".join(rng.permutation(words)), feeling])
    return path


def bert(folder: Path, width: int, seed: int, **config: Any) -> Path:
    """A tiny BERT with a WordPiece tokenizer, as transformers saves it."""
    transformers = pytest.importorskip("transformers")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = special + sorted({*FILL, *(w for ws in WORDS.values() for w in ws)})
    torch.manual_seed(seed)
    said = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=24,
        **config,
    )
    transformers.BertForSequenceClassification(said).save_pretrained(folder)
    tokenizer = transformers.BertTokenizer(vocab={w: i for i, w in enumerate(words)})
    tokenizer.save_pretrained(folder)
    return folder


def vit(folder: Path, seed: int = 0, size: int = 32) -> Path:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=size,
        patch_size=8,
        num_labels=3,
    )
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    eyes = transformers.ViTImageProcessor(
        size={"height": size, "width": size}, image_mean=[0.4] * 3, image_std=[0.3] * 3
    )
    eyes.save_pretrained(folder)
    return folder


OWN = """
import numpy as np
import torch
from torch import nn

def net(n_classes):
    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(4, n_classes))

class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 40
    def __getitem__(self, i):
        return torch.full((1, 12, 12), (i % 4) / 4), i % 4

def train():
    return Rows()

def test():
    x = np.stack([(Rows()[i][0][0].numpy() * 255).astype("uint8") for i in range(40)])
    return {"x": x[::-1].copy(), "y": np.arange(40)[::-1] % 4}
"""
