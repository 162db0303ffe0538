"""Random masks that are a function of (seed, tensor, model, position), however a tensor is cut.

numpy's Philox is a counter-based generator: its k-th block of eight 32-bit numbers can be had
without the ones before. Element i of a tensor takes the i-th number of the stream whose key is the
digest of the seed, the tensor's name and the model's number.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_PER_BLOCK = 8  # 32-bit numbers to a counter value


def stream_key(seed: int, name: str, model: int) -> int:
    text = f"{seed}\0{model}\0{name}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


def random_mask(key: int, start: int, n: int, density: float) -> Tensor:
    """bool [n], True with probability `density` (to 2^-32), for positions `start` and on."""
    import numpy as np
    import torch

    block, skip = divmod(start, _PER_BLOCK)
    bits = np.random.Philox(key=key, counter=block)
    numbers = bits.random_raw((skip + n + 1) // 2).astype("<u8", copy=False).view("<u4")
    return torch.from_numpy(numbers[skip : skip + n] < np.uint32(_threshold(density)))


def _threshold(density: float) -> int:
    return min(round(density * 2**32), 2**32 - 1)
