"""Class numbers from whatever a source says: numbers, names, floats that are whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from bequeath.given.data_schemes.source import fail, near, rows_named

if TYPE_CHECKING:
    import numpy as np


def encode(
    y: Any, names: tuple[str, ...] | None, n_classes: int | None, n: int, unit: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels (numbers or names, [N]) as int64 [N] and the names of the classes.

    Without `names` or `n_classes`, numbers run from 0 to the highest one seen and names are
    sorted. Raises JobError (D207: missing, negative, not whole, out of range; D214: wrong length).
    """
    import numpy as np

    try:
        values = np.asarray(y)
    except ValueError:  # lists of different lengths
        fail("D207", "labels are lists; one class a sample, shape [N], is needed")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        shape = list(values.shape)
        fail("D207", f"labels have shape {shape}; one class a sample, shape [N], is needed")
    if len(values) != n:
        fail("D214", f"there are {n} samples but {len(values)} labels")
    if names is not None and len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        fail("D207", f"two classes share the name `{twice[0]}`")
    if names is not None and n_classes is not None and n_classes != len(names):
        message = f"`n_classes` is {n_classes} but the data names {len(names)} classes"
        fail("D207", message, at=("n_classes",))
    if values.dtype.kind in "OUS":
        return _from_names(values.tolist(), names, n_classes, unit)
    numbers = _whole(values, unit)
    return _in_range(numbers, names, n_classes, unit)


def _from_names(
    values: list[Any], names: tuple[str, ...] | None, n_classes: int | None, unit: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    import numpy as np

    texts = [v.decode("utf-8", "backslashreplace") if isinstance(v, bytes) else v for v in values]
    absent = [i for i, v in enumerate(texts) if v is None or v != v or v == ""]
    if absent:
        _no_label(absent, unit)
    if any(isinstance(v, list | tuple | set | dict) for v in texts):
        fail("D207", "labels are lists or records; one class a sample, shape [N], is needed")
    texts = [str(v) for v in texts]
    seen = sorted(set(texts))
    if names is None:
        names = tuple(seen)
        if n_classes is not None and n_classes != len(names):
            message = f"`n_classes` is {n_classes} but the labels name {len(names)} classes"
            fail("D207", message, at=("n_classes",))
    number = {name: i for i, name in enumerate(names)}
    strangers = [i for i, v in enumerate(texts) if v not in number]
    if strangers:
        first = texts[strangers[0]]
        fail(
            "D207",
            f"label `{first}` is not one of the {len(names)} classes",
            label=near(first, names),
            notes=(f"in {rows_named(strangers, unit)} (the first is 0)",),
        )
    return np.array([number[v] for v in texts], dtype=np.int64), names


def _whole(values: np.ndarray, unit: str) -> np.ndarray:
    import numpy as np

    if values.dtype.kind == "f":
        absent = np.flatnonzero(np.isnan(values))
        if len(absent):
            _no_label(absent.tolist(), unit)
        broken = np.flatnonzero(~np.isfinite(values) | (values != np.trunc(values)))
        if len(broken):
            fail(
                "D207",
                f"label {values[broken[0]]:g} is not a whole number",
                notes=(f"in {rows_named(broken.tolist(), unit)} (the first is 0)",),
                remedies=("classification needs class numbers or names as labels",),
            )
    elif values.dtype.kind not in "iub":
        fail("D207", f"labels of type {values.dtype} are neither numbers nor names")
    if values.dtype.kind in "fu" and len(values) and values.max() >= 2**62:
        fail("D207", f"label {values.max()} is out of range")
    return values.astype(np.int64)


def _in_range(
    numbers: np.ndarray, names: tuple[str, ...] | None, n_classes: int | None, unit: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    import numpy as np

    known = len(names) if names is not None else n_classes
    highest = int(numbers.max()) if len(numbers) else -1
    k = known if known is not None else highest + 1
    bad = np.flatnonzero((numbers < 0) | (numbers >= k))
    if len(bad):
        what = f"0..{k - 1}" if known is not None else "0 or more"
        fail(
            "D207",
            f"label {numbers[bad[0]]} is out of range: class numbers here are {what}",
            notes=(f"in {rows_named(bad.tolist(), unit)} (the first is 0)",),
            remedies=("number the classes 0, 1, 2, ... or write their names",),
        )
    differ = len(np.unique(numbers))
    if known is None and k > max(1000, 10 * differ):
        fail(
            "D207",
            f"labels run up to {highest} but only {differ} of them differ: no class numbers",
            remedies=("say `n_classes` if they are", "number the classes 0, 1, 2, ..."),
        )
    return numbers, names if names is not None else tuple(str(i) for i in range(k))


def _no_label(rows: Sequence[int], unit: str) -> NoReturn:
    fail(
        "D207",
        f"{len(rows)} sample{'s have' if len(rows) != 1 else ' has'} no label",
        notes=(f"{rows_named(rows, unit)} (the first is 0)",),
        remedies=("take them out, or say `labels: false` for data without labels",),
    )
