"""Random masks that are a function of (seed, tensor, model, position), however a tensor is cut.

numpy's PCG64DXSM can be set forward by any number of steps, so what belongs to a position can be
had without what comes before. ALIGN elements take one 64-bit number and then 16 bits each of the
stream whose seed is the digest of the seed, the tensor's name and the model's number.

An element stays where its 16 bits, as a whole number, are below t. For a density that is no
multiple of 2^-16 the first number of each ALIGN elements decides whether the t above or the t
below is theirs, in the proportion that makes the probability of each element the density exactly.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from bequeath.weights.rule import ALIGN

if TYPE_CHECKING:
    from torch import Tensor, dtype

_STEPS = 1 + ALIGN // 4  # 64-bit numbers for ALIGN elements


def stream_key(seed: int, name: str, model: int) -> int:
    text = f"{seed}\0{model}\0{name}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


def random_mask(key: int, start: int, n: int, density: float, kind: dtype | None = None) -> Tensor:
    """1 with probability `density`, else 0, for positions `start` and on: [n], float32 or `kind`.

    A density between 1 - 2^-16 and 1 is taken as 1 - 2^-16 or a little less.
    """
    import numpy as np
    import torch

    first, skip = divmod(start, ALIGN)
    blocks = -(-(skip + n) // ALIGN)
    bits = np.random.PCG64DXSM(key).advance(first * _STEPS)
    words = bits.random_raw(blocks * _STEPS).astype("<u8", copy=False).reshape(blocks, _STEPS)
    below = np.floor(density * 2**16 + words[:, :1] * 2.0**-64).clip(0, 2**16 - 1)
    border = torch.from_numpy((below - 2**15).astype(np.int16))
    numbers = torch.from_numpy(words[:, 1:].view("<i2"))  # from -2^15 on, as the border
    kept = numbers.lt_(border).to(kind or torch.float32)  # in place: no pass over truth values
    return kept.flatten()[skip : skip + n]
