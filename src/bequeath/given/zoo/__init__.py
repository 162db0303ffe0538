"""Small reference models. Each file stands alone: torch only, copied beside the weights it made.

This table is torch-free, so that names, kinds and heads are known before anything is imported.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """file: module in this folder; head: path of the final classifier; kind: what it eats.

    per_token: a language model, which answers at each token. generates: a diffusion model, which
    has no classifier.
    """

    file: str
    head: str | None
    kind: str | None
    per_token: bool = False
    generates: bool = False


ZOO: dict[str, Entry] = {
    **{
        f"resnet{depth}": Entry("cifar_resnet", "linear", "image")
        for depth in (8, 20, 32, 44, 56, 110)
    },
    **{
        f"wrn-{depth}-{width}": Entry("wide_resnet", "fc", "image")
        for depth, width in ((16, 2), (16, 4), (40, 1), (40, 2))
    },
    "lenet": Entry("lenet", "fc3", "image"),
    "mlp": Entry("mlp", "out", None),
    "random_features": Entry("random_features", "out", None),
    "gpt": Entry("gpt", "out", "text", per_token=True),
    "denoiser": Entry("denoiser", None, None, generates=True),
    "unet": Entry("denoiser", None, "image", generates=True),
}
