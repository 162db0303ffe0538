"""Random streams: every one a function of the run's seed and a name, none of another's use."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import torch


def derive(seed: int, name: str, *counters: int) -> int:
    """An independent 63-bit seed for the stream `name` (and counters) of a run with `seed`."""
    text = repr((int(seed), str(name), tuple(int(c) for c in counters)))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(
    seed: int, name: str, *counters: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A fresh torch generator at the start of the stream."""
    return torch.Generator(device=device).manual_seed(derive(seed, name, *counters))


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def capture() -> dict[str, Any]:
    """The state of every global generator, as tensors and numbers (fit for a checkpoint)."""
    version, words, gauss = random.getstate()
    numpy_state: Any = np.random.get_state(legacy=False)
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
        "numpy": {
            "key": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
            "pos": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = list(torch.cuda.get_rng_state_all())
    return state


def restore(state: dict[str, Any]) -> None:
    """Put every global generator back to a captured state (devices that are there now)."""
    torch.set_rng_state(state["torch"])
    python = state["python"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    numpy_state = state["numpy"]
    key = numpy_state["key"].numpy().astype(np.uint32)
    rest = (numpy_state["pos"], numpy_state["has_gauss"], numpy_state["gauss"])
    np.random.set_state(("MT19937", key, *rest))
    if "cuda" in state and torch.cuda.is_available():
        for index, one in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(one, index)
