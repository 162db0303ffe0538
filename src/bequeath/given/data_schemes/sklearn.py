"""`sklearn:NAME`: the small real data sets that scikit-learn carries with it."""

from __future__ import annotations

from typing import Any

from bequeath.given.data_schemes.source import Found, Raw, fail, listed, near
from bequeath.kernel.errors import JobError

# What the bundled files hold; a test compares this with the installed scikit-learn.
BUNDLED: dict[str, tuple[int, tuple[str, ...], tuple[int, ...]]] = {
    "breast_cancer": (30, ("malignant", "benign"), (212, 357)),
    "digits": (
        64,
        tuple("0123456789"),
        (178, 182, 177, 183, 181, 182, 181, 179, 174, 180),
    ),
    "iris": (4, ("setosa", "versicolor", "virginica"), (50, 50, 50)),
    "wine": (13, ("class_0", "class_1", "class_2"), (59, 71, 48)),
}


def find(rest: str, options: Any) -> Found:
    try:
        width, classes, counts = _bundled(rest, options)
    except JobError as error:
        return Found(problems=error.problems)
    image = options.as_ == "image"
    shape = (8, 8, 1) if image else (width,)
    return Found("image" if image else "vector", sum(counts), shape, classes, counts)


def read(rest: str, options: Any) -> Raw:
    import numpy as np
    from sklearn import datasets

    _, classes, _ = _bundled(rest, options)
    bunch = getattr(datasets, f"load_{rest}")()
    if options.as_ == "image":  # pixels are 0..16
        x = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
        return Raw("image", x, bunch.target, classes)
    return Raw("vector", bunch.data.astype(np.float32), bunch.target, classes)


def _bundled(name: str, options: Any) -> tuple[int, tuple[str, ...], tuple[int, ...]]:
    if name not in BUNDLED:
        fail(
            "D216",
            f"scikit-learn carries no data set `{name}` for classification",
            label=near(name, BUNDLED),
            notes=(f"it carries {listed(list(BUNDLED))}",),
        )
    if options.as_ == "image" and name != "digits":
        fail("D213", f"`{name}` holds no images; only `digits` does", at=("as",))
    return BUNDLED[name]
