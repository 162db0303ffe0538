"""Arrays in the three forms samples have: images uint8, vectors float32, text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from bequeath.given.data_schemes.source import fail, rows_named

if TYPE_CHECKING:
    import numpy as np


def kind_of(shape: tuple[int, ...], code: str) -> tuple[str | None, tuple[int, ...]]:
    """What an array of `shape` [N, ...] and NumPy type code holds, and the shape of one sample."""
    if len(shape) == 1 and code in "US":
        return "text", ()
    if code not in "uifb":
        return None, ()
    if len(shape) == 2:
        return "vector", shape[1:]
    if len(shape) == 3:
        return "image", (*shape[1:], 1)
    if len(shape) == 4 and shape[3] in (1, 3):
        return "image", shape[1:]
    if len(shape) == 4 and shape[1] in (1, 3):
        return "image", (shape[2], shape[3], shape[1])
    return None, ()


def from_array(x: Any) -> tuple[str, Any]:
    """kind and samples: images uint8 [N, H, W, C], vectors float32 [N, D], text as a list.

    Images may come as [N, H, W], [N, H, W, C] or [N, C, H, W] (C is 1 or 3); as whole numbers in
    0..255, or as floats in 0..1, which are rounded to 255 steps. JobError: D213, D208.
    """
    import numpy as np

    try:
        x = np.asarray(x)
    except ValueError:
        fail("D213", "samples are lists of different lengths")
    if x.dtype == object:
        if x.ndim != 1 or not all(isinstance(text, str) for text in x):
            fail("D213", "samples are Python objects, not numbers or texts")
        return "text", list(x)
    kind, _ = kind_of(x.shape, x.dtype.kind)
    if kind is None:
        unfit(x.shape, str(x.dtype))
    if kind == "text":
        raw = x.tolist()
        return kind, [t.decode("utf-8", "replace") if isinstance(t, bytes) else t for t in raw]
    if 0 in x.shape[1:]:
        fail("D205", f"samples of shape {list(x.shape[1:])} hold nothing")
    if kind == "vector":
        with np.errstate(over="ignore"):
            return kind, np.ascontiguousarray(x, dtype=np.float32)
    if x.ndim == 3:
        x = x[..., None]
    elif x.shape[3] not in (1, 3):
        x = x.transpose(0, 2, 3, 1)
    return kind, np.ascontiguousarray(_bytes(x))


def unfit(shape: tuple[int, ...], dtype: str) -> NoReturn:
    fail(
        "D213",
        f"samples of shape {list(shape)} and type {dtype} are neither images, vectors nor texts",
        remedies=(
            "images: [N, H, W], [N, H, W, C] or [N, C, H, W] with 1 or 3 channels",
            "vectors: [N, D] numbers; texts: [N] strings",
        ),
    )


def _bytes(x: np.ndarray) -> np.ndarray:
    import numpy as np

    if x.dtype == np.uint8 or not len(x):
        return x.astype(np.uint8, copy=False)
    if x.dtype.kind == "f":
        refuse_not_finite(x)
    low, high = float(x.min()), float(x.max())
    if x.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.rint(x * 255).astype(np.uint8)
    if low < 0 or high > 255:
        fail(
            "D213",
            f"pixels lie in {low:g}..{high:g}; 0..255, or 0..1 as floats, is needed",
            remedies=("give the images as they were before they were normalised",),
        )
    return np.rint(x).astype(np.uint8) if x.dtype.kind == "f" else x.astype(np.uint8)


def refuse_not_finite(x: np.ndarray, rows: Any = None, unit: str = "row") -> None:
    """JobError (D208) naming the rows of `x` [N, ...] that hold NaN or infinity.

    rows: what the rows of `x` are called in the source, [N]; their positions when None.
    """
    import numpy as np

    flat = x.reshape(len(x), -1)
    if np.isfinite(flat.sum(dtype=np.float64)):  # one pass; overflow only sends us to the slow way
        return
    bad = np.flatnonzero(~np.isfinite(flat).all(axis=1))
    if len(bad):
        named = bad if rows is None else np.asarray(rows)[bad]
        fail(
            "D208",
            f"{len(bad)} of {len(x)} samples hold NaN or infinity",
            notes=(f"{rows_named(named.tolist(), unit)} (the first is 0)",),
            remedies=("fill the gaps or take these samples out",),
        )
