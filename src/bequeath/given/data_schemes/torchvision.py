"""`torchvision:NAME`: a data set of torchvision that lies below `root` already."""

from __future__ import annotations

import inspect
from typing import Any

from bequeath.given.data_schemes.pictures import Pictures
from bequeath.given.data_schemes.select import ALIASES
from bequeath.given.data_schemes.source import (
    Found,
    Raw,
    fail,
    listed,
    local,
    memory_limit,
    missing_library,
    near,
)
from bequeath.kernel.units import show_size


def find(rest: str, options: Any) -> Found:
    """Nothing is known before torchvision is imported, which a check does not do."""
    return Found("image", native=options.split is not None)


def read(rest: str, options: Any) -> Raw:
    dataset, native = _open(rest, options)
    if len(dataset) == 0:
        fail("D205", f"`{rest}` is empty")
    names = getattr(dataset, "classes", None)
    if isinstance(names, dict):
        names = list(names)
    names = tuple(str(n) if isinstance(n, str) else str(n[0]) for n in names) if names else None
    whole = _arrays(dataset)
    if whole is not None:
        x, y = whole
        if x.nbytes > memory_limit(options):
            message = f"`{rest}` takes {show_size(x.nbytes)}, more than allowed"
            fail("D210", message, remedies=("say `memory` if so much is meant and there",))
        return Raw("image", x, y, names, native)
    n = len(dataset)
    y = getattr(dataset, "targets", None) or getattr(dataset, "_labels", None)
    if y is None or len(y) != n:
        y = [int(dataset[i][1]) for i in range(n)]
    sources = [_Item(dataset, i) for i in range(n)]
    pictures = Pictures(sources, [f"image {i}" for i in range(n)])
    return Raw("image", pictures, y, names, native, unit="image")


class _Item:
    """The i-th image of a torchvision data set, as a callable."""

    def __init__(self, dataset: Any, i: int):
        self.dataset, self.i = dataset, i

    def __call__(self) -> Any:
        return self.dataset[self.i][0]


def _open(name: str, options: Any) -> tuple[Any, bool]:
    try:
        from torchvision import datasets
    except ImportError:
        missing_library("torchvision", "vision", "torchvision")
    from bequeath.given.model_schemes import may_download

    known = [n for n in datasets.__all__ if inspect.isclass(getattr(datasets, n, None))]
    if name not in known:
        message = f"torchvision has no data set `{name}`"
        fail("D216", message, label=near(name, known), notes=(f"it has {listed(known, 12)}",))
    make = getattr(datasets, name)
    takes = inspect.signature(make.__init__).parameters
    root = local(options.root)
    settings: dict[str, Any] = {"root": str(root)} if "root" in takes else {}
    if "download" in takes:
        settings["download"] = may_download()
    native = options.split is not None and bool({"train", "split"} & set(takes))
    if options.split is None and {"train", "split"} & set(takes):
        message = f"`{name}` has splits; say which"
        fail("D215", message, at=("split",), remedies=("`split: train` or `split: test`",))
    if native and "split" in takes:
        settings["split"] = options.split
    elif native:
        split = ALIASES.get(options.split, options.split)
        if split not in ("train", "test"):
            fail(
                "D215", f"`{name}` has no split `{split}`; it has `train` and `test`", at=("split",)
            )
        settings["train"] = split == "train"
    try:
        return make(**settings), native
    except Exception as error:  # RuntimeError, ValueError, OSError, by data set
        text = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        fail(
            "D218",
            f"`{name}` is not whole below `{root}`",
            notes=(text,),
            remedies=(
                f"say `root`, the folder that holds torchvision's {name}",
                "or set BEQUEATH_DOWNLOAD=1 to let torchvision download it",
            ),
        )


def _arrays(dataset: Any) -> tuple[Any, Any] | None:
    """Images and labels of the data sets that keep both as arrays (MNIST, CIFAR, SVHN, ...)."""
    import numpy as np

    from bequeath.given.data_schemes.arrays import from_array

    x = getattr(dataset, "data", None)
    y = getattr(dataset, "targets", None)
    y = getattr(dataset, "labels", None) if y is None else y
    if x is None or y is None or not hasattr(x, "shape") or len(x) != len(y):
        return None
    x = np.asarray(x)
    if x.dtype != np.uint8 or x.ndim not in (3, 4):
        return None
    return from_array(x)[1], np.asarray(y)
