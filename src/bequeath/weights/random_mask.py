"""Random masks that are a function of (seed, tensor, model, position), however a tensor is cut.

numpy's PCG64DXSM can be set forward by any number of steps, so what belongs to a position can be
had without what comes before. The stream's seed is the digest of the seed, the tensor's name and
the model's number.

An element has eight bits of the stream and stays where they, as a whole number, are below a border.
For a density that is no multiple of 1/256 the border is the one above or the one below, by 16 more
bits that GROUP elements share, in the proportion that makes the probability of each element the
density (to 2^-24). Sharing them makes these elements alike by a correlation of at most
4e-6 / min(density, 1 - density), and of none for multiples of 1/256; others are independent.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from bequeath.weights.rule import ALIGN

if TYPE_CHECKING:
    from torch import Tensor, dtype

GROUP = 16  # elements, ALIGN / GROUP positions apart, so that comparing runs over whole rows
_BORDERS = ALIGN // GROUP // 4  # 64-bit numbers for ALIGN elements: of their borders,
_STEPS = _BORDERS + ALIGN // 8  # and in all


def stream_key(seed: int, name: str, model: int) -> int:
    text = f"{seed}\0{model}\0{name}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


def random_mask(key: int, start: int, n: int, density: float, kind: dtype | None = None) -> Tensor:
    """1 with probability `density`, else 0, for positions `start` and on.

    [n], float32 or `kind`.
    """
    import numpy as np
    import torch

    first, skip = divmod(start, ALIGN)
    blocks = -(-(skip + n) // ALIGN)
    bits = np.random.PCG64DXSM(key).advance(first * _STEPS)
    words = bits.random_raw(blocks * _STEPS).astype("<u8", copy=False).reshape(blocks, _STEPS)
    # The border is that of the rarer of the two, at most 128: signed bytes begin at -128.
    whole, share = divmod(round(min(density, 1 - density) * 2**24), 2**16)
    border = (words[:, :_BORDERS].view("<u2") < share).view(np.int8)
    border += np.int8(whole - 128)
    numbers = torch.from_numpy(words[:, _BORDERS:].view(np.int8).reshape(blocks, GROUP, -1))
    against = torch.from_numpy(border).unsqueeze(1)
    # In place, and so without a pass over truth values, which torch turns to numbers slowly.
    kept = numbers.lt_(against) if density <= 0.5 else numbers.ge_(against)
    return kept.to(kind or torch.float32).flatten()[skip : skip + n]
