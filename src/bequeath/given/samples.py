"""What a data set is once it is open: samples by position, as batches.

Small data lies on the device as tensors and is indexed; images that would not fit in memory stay
in their files and are decoded by a pool of threads when a batch asks for them (`lazy`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from bequeath.given.data_schemes import arrays, pictures
from bequeath.given.data_schemes.source import rows_named
from bequeath.given.facts import DataFacts
from bequeath.kernel.errors import JobError, Problem, RunError

Device = torch.device | str


class Samples(Protocol):
    """A data set: `fetch(idx)` gives a batch, a dict with

    idx: int64 [B], positions in this data set;
    x: uint8 [B, H, W, C] (kind `image`) or float32 [B, D] (`vector`); or text: list of B strings;
    prompt: list of B numbers, where texts are answers: how many of a text's characters come before;
    y: int64 [B], where the data is labelled.

    y: all labels, int64 [N] in 0..len(classes)-1, or None. hash: digest of the content, the same
    wherever the data lies. skipped: names of images left out because they do not decode. lazy: a
    fetch reads from disk, so it pays to fetch one batch ahead in a thread.
    """

    kind: str
    lazy: bool
    classes: tuple[str, ...]
    y: Tensor | None
    skipped: tuple[str, ...]

    @property
    def hash(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def facts(self) -> DataFacts: ...
    def __len__(self) -> int: ...
    def fetch(self, idx: Tensor) -> dict[str, Any]: ...
    def to(self, device: Device) -> Samples: ...


class ArraySamples:
    """Samples held in memory: a tensor (on any device), or a list of texts."""

    lazy = False

    def __init__(
        self,
        kind: str,
        x: Tensor | Sequence[str],
        y: Tensor | None = None,
        classes: tuple[str, ...] = (),
        *,
        hash: str | None = None,
        skipped: tuple[str, ...] = (),
        columns: Mapping[str, Sequence[Any]] | None = None,
    ):
        """x: uint8 [N, H, W, C], float32 [N, D] or N texts; y: int64 [N] on the same device.

        columns: further values, N each, that batches carry as lists under these names.
        """
        wanted = {"image": (torch.uint8, 4), "vector": (torch.float32, 2)}
        if kind not in (*wanted, "text"):
            raise ValueError(f"kind is image, vector or text, not {kind!r}")
        if isinstance(x, Tensor) and (x.dtype, x.ndim) != wanted.get(kind):
            raise ValueError(f"{kind} samples cannot be {x.dtype} of shape {list(x.shape)}")
        if isinstance(x, Tensor) != (kind != "text"):
            raise ValueError(f"{kind} samples cannot be {type(x).__name__}")
        if y is not None and (y.dtype != torch.int64 or y.shape != (len(x),)):
            raise ValueError(f"labels are int64 [{len(x)}], not {y.dtype} {list(y.shape)}")
        self.kind, self.classes, self.y, self.skipped = kind, classes, y, skipped
        self._x: Tensor | list[str] = x if isinstance(x, Tensor) else list(x)
        self._hash = hash
        self._columns = {name: list(values) for name, values in (columns or {}).items()}

    def __len__(self) -> int:
        return len(self._x)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._x.shape[1:]) if isinstance(self._x, Tensor) else ()

    @property
    def device(self) -> torch.device:
        if isinstance(self._x, Tensor):
            return self._x.device
        return self.y.device if self.y is not None else torch.device("cpu")

    @property
    def facts(self) -> DataFacts:
        return facts_of(self)

    @property
    def x(self) -> Tensor | list[str]:
        """Everything at once: the tensor, or the list of texts."""
        return self._x

    @cached_property
    def alphabet(self) -> str | None:
        """Of texts: the characters that occur, in the order of their numbers."""
        return None if isinstance(self._x, Tensor) else "".join(sorted(set().union(*self._x)))

    @property
    def hash(self) -> str:
        if self._hash is None:
            h = _hasher(self.kind, self.shape, self.y, self.classes)
            if isinstance(self._x, Tensor):
                h.update(self._x.cpu().contiguous().numpy().reshape(-1).data)
            else:
                for text in self._x:
                    data = text.encode("utf-8", "surrogatepass")
                    h.update(len(data).to_bytes(8, "little") + data)
            if self._columns:
                h.update(repr(self._columns).encode("utf-8", "surrogatepass"))
            self._hash = h.hexdigest()
        return self._hash

    def fetch(self, idx: Tensor) -> dict[str, Any]:
        idx = idx.to(self.device)
        batch: dict[str, Any] = {"idx": idx}
        if isinstance(self._x, Tensor):
            batch["x"] = self._x.index_select(0, idx)
        else:
            batch["text"] = [self._x[i] for i in idx.tolist()]
        for name, values in self._columns.items():
            batch[name] = [values[i] for i in idx.tolist()]
        if self.y is not None:
            batch["y"] = self.y.index_select(0, idx)
        return batch

    def to(self, device: Device) -> ArraySamples:
        if torch.device(device) == self.device:
            return self
        x = self._x.to(device) if isinstance(self._x, Tensor) else self._x
        y = self.y.to(device) if self.y is not None else None
        more: dict[str, Any] = {"skipped": self.skipped, "columns": self._columns}
        return ArraySamples(self.kind, x, y, self.classes, hash=self._hash, **more)


class LazyImages:
    """Images decoded when a batch asks for them. `device` is where batches go."""

    kind, lazy = "image", True

    def __init__(
        self,
        source: pictures.Pictures,
        form: pictures.Plan,
        y: Tensor | None,
        classes: tuple[str, ...],
        *,
        hash: str,
        skipped: tuple[str, ...] = (),
        device: Device = "cpu",
    ):
        self.classes, self.skipped, self.hash = classes, skipped, hash
        self.device = torch.device(device)
        self.y = y.to(self.device) if y is not None else None
        self._source, self._form = source, form
        self._pool: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self._source)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self._form.height, self._form.width, self._form.channels)

    @property
    def facts(self) -> DataFacts:
        return facts_of(self)

    def fetch(self, idx: Tensor) -> dict[str, Any]:
        """Raises RunError (D206) when a file has changed or gone since it was looked at."""
        places = idx.tolist()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(pictures.workers(), "bequeath-decode")
        sources, decode = self._source.sources, pictures.decode
        waiting = [self._pool.submit(decode, sources[i], self._form) for i in places]
        x = torch.empty((len(places), *self.shape), dtype=torch.uint8)
        pixels = x.numpy()
        for row, i in enumerate(places):
            try:
                pixels[row] = waiting[row].result()
            except Exception as error:  # Pillow raises whatever the broken file led it to
                raise RunError(_changed(self._source.names[i], error)) from error
        idx = idx.to(self.device)
        batch: dict[str, Any] = {"idx": idx, "x": x.to(self.device, non_blocking=True)}
        if self.y is not None:
            batch["y"] = self.y.index_select(0, idx)
        return batch

    def to(self, device: Device) -> LazyImages:
        if torch.device(device) == self.device:
            return self
        return LazyImages(
            self._source,
            self._form,
            self.y,
            self.classes,
            hash=self.hash,
            skipped=self.skipped,
            device=device,
        )


def open_images(
    source: pictures.Pictures,
    y: Tensor | None,
    classes: tuple[str, ...],
    *,
    size: int | None,
    channels: str,
    skip_bad: bool,
    limit: int,
) -> Samples:
    """Encoded images as samples: in memory up to `limit` bytes, in their files beyond it.

    Every image is decoded once here, so a broken one is found now and not in the middle of a run:
    JobError (D206), or it is left out with `skip_bad`. JobError (D221) when sizes differ and
    `size` is not given. The hash covers the encoded bytes, `size` and `channels`.
    """
    headers, bad = pictures.survey(source)
    if bad and not skip_bad:
        later: dict[int, str] = {}
        rest = [i for i in range(len(source)) if i not in bad]
        pictures.decode_all(source.pick(rest), _any_form(headers), keep=False, bad=later)
        pictures.refuse_broken(source, bad | {rest[i]: why for i, why in later.items()})
    _not_all(bad, len(source))
    form = pictures.plan(headers, size, channels)
    keep = len(source) * form.bytes_each <= limit
    pixels, digests = pictures.decode_all(source, form, keep=keep, bad=bad)
    if bad and not skip_bad:
        pictures.refuse_broken(source, bad)
    _not_all(bad, len(source))
    good = [i for i in range(len(source)) if i not in bad]
    skipped = tuple(source.names[i] for i in sorted(bad))
    y = y[good] if y is not None else None
    shape = (form.height, form.width, form.channels)
    h = _hasher("image", shape, y, classes)
    h.update(f"{form.resize}".encode())
    for i in good:
        h.update(digests[i])
    if pixels is None:
        return LazyImages(source.pick(good), form, y, classes, hash=h.hexdigest(), skipped=skipped)
    x = torch.from_numpy(pixels if not bad else pixels[good])
    return ArraySamples("image", x, y, classes, hash=h.hexdigest(), skipped=skipped)


def scan(
    samples: Samples,
    rows: Sequence[int] | None = None,
    unit: str = "row",
    *,
    one_class: bool = False,
) -> list[Problem]:
    """What is wrong with the content: empty, NaN or infinity, labels out of range, one class.

    rows: what the samples are numbered in their source, for the messages. one_class: a single
    class is meant.
    """
    n, k = len(samples), len(samples.classes)
    if n == 0:
        return [Problem("D205", "the data set is empty", at=("ref",))]
    problems = []
    if isinstance(samples, ArraySamples) and samples.kind == "vector":
        try:
            arrays.refuse_not_finite(samples.x.cpu().numpy(), rows, unit)  # type: ignore[union-attr]
        except JobError as error:
            problems += error.problems
    if samples.y is not None:
        bad = ((samples.y < 0) | (samples.y >= k)).nonzero().flatten().tolist()
        if bad:
            named = [rows[i] if rows is not None else i for i in bad]
            note = f"{rows_named(named, unit)} (the first is 0)"
            message = f"{len(bad)} labels lie outside 0..{k - 1}"
            problems.append(Problem("D207", message, at=("ref",), notes=(note,)))
        if k < 2 and not one_class:
            only = f"`{samples.classes[0]}`" if k else "none"
            problems.append(
                Problem(
                    "D220",
                    f"there is one class only, {only}: nothing to tell apart",
                    at=("ref",),
                    remedies=("check the column or folder of the classes", "say `n_classes`"),
                )
            )
    return problems


def shared_samples(one: Samples, other: Samples) -> int:
    """How many samples of `other` are in `one` too, to the last bit; all of them if it is one set.

    Images that stay in their files are compared as a whole only.
    """
    if one.hash == other.hash:
        return len(other)
    if not isinstance(one, ArraySamples) or not isinstance(other, ArraySamples):
        return 0
    if (one.kind, one.shape) != (other.kind, other.shape):
        return 0
    known = set(_sample_digests(one))
    return sum(digest in known for digest in _sample_digests(other))


def _sample_digests(samples: ArraySamples) -> list[bytes]:
    x = samples.x
    if isinstance(x, Tensor):
        rows = x.cpu().contiguous().numpy()
        parts = (row.tobytes() for row in rows)
    else:
        parts = (text.encode("utf-8", "surrogatepass") for text in x)
    return [hashlib.blake2b(part, digest_size=16).digest() for part in parts]


def facts_of(samples: Samples) -> DataFacts:
    """Everything there is to know of open data."""
    labelled = samples.y is not None
    return DataFacts(
        kind=samples.kind,
        n=len(samples),
        shape=samples.shape or None,
        classes=samples.classes or None,
        n_classes=len(samples.classes) or None,
        hash=samples.hash,
        labelled=labelled,
        alphabet=getattr(samples, "alphabet", None),
    )


def _hasher(
    kind: str, shape: tuple[int, ...], y: Tensor | None, classes: tuple[str, ...]
) -> hashlib.blake2b:
    h = hashlib.blake2b(digest_size=16)
    h.update(repr((kind, tuple(shape), classes, y is not None)).encode("utf-8", "surrogatepass"))
    if y is not None:
        h.update(y.cpu().contiguous().numpy().data)
    return h


def _any_form(headers: Sequence[pictures.Header | None]) -> pictures.Plan:
    """A form all sizes can be brought to: only to find every broken image in one go."""
    grey = all(header.grey for header in headers if header is not None)
    return pictures.Plan(8, 8, 1 if grey else 3, True)


def _not_all(bad: dict[int, str], n: int) -> None:
    if len(bad) == n:
        message = "the data set is empty: none of its images can be decoded"
        notes = tuple(list(dict.fromkeys(bad.values()))[:3])
        raise JobError(Problem("D205", message, at=("ref",), notes=notes))


def _changed(name: str, error: Exception) -> Problem:
    return Problem(
        "D206",
        f"`{name}` cannot be decoded any more",
        notes=(pictures.reason(error), "it could be decoded when the run began"),
        remedies=("leave the data alone while a run uses it, then run again",),
    )
