"""Data the user owns, by reference: what is known of it before it is opened, and opening it.

A scheme is one module of `data_schemes`; no torch and no NumPy until `load`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from bequeath.given.data_schemes import select
from bequeath.given.data_schemes.source import Found, Raw, memory_limit
from bequeath.given.facts import DataFacts
from bequeath.given.option_types import Ref, parse_ref, typed_ref
from bequeath.given.options import DATA_OPTIONS, DataOptions
from bequeath.kernel.errors import JobError, Problem

if TYPE_CHECKING:
    import torch

    from bequeath.given.samples import Samples

# Tables are one module: they differ in how a table is opened and in nothing else.
_FUNCTIONS = {
    "csv": ("table", "find_csv", "read_csv"),
    "jsonl": ("table", "find_jsonl", "read_jsonl"),
    "parquet": ("table", "find_parquet", "read_parquet"),
}


class DataHandle:
    """A data set that is named but not opened. Problems are placed at `data.<role>...`."""

    def __init__(self, role: str, ref: str, options: BaseModel):
        self.role, self.ref, self.options = role, ref, options
        self._samples: Samples | None = None

    def __repr__(self) -> str:
        return f"DataHandle({self.role!r}, {self.ref!r})"

    @property
    def facts(self) -> DataFacts:
        """What listings and headers tell, without torch; None where it takes opening to know.

        Once `load` has run, everything, the hash too.
        """
        if self._samples is not None:
            from bequeath.given.samples import facts_of

            return facts_of(self._samples)
        return self._known[0]

    def static_problems(self) -> list[Problem]:
        """What is wrong as far as can be seen without opening it."""
        return list(self._known[1])

    def load(self) -> Samples:
        """Open, check and choose, once. Raises JobError with every problem found."""
        if self._samples is None:
            if self._known[1]:
                raise JobError(self._known[1])
            try:
                self._samples = _load(*self._scheme(), self.options)
            except JobError as error:
                raise JobError(self._placed(error.problems)) from None
        return self._samples

    @cached_property
    def _known(self) -> tuple[DataFacts, list[Problem]]:
        options: Any = self.options
        rest, find, _ = self._scheme()
        try:
            found: Found = find(rest, options)
        except OSError as error:  # a folder one may not enter, a path too long
            message = f"`{rest}` cannot be opened: {error.strerror or error}"
            found = Found(problems=[Problem("D201", message, at=("ref",))])
        problems = list(found.problems)
        if not isinstance(options, DataOptions):  # no samples with classes: nothing to choose from
            return DataFacts(found.kind, found.n, labelled=False), self._placed(problems)
        n, classes = found.n, found.classes
        if not problems:
            n, classes, problems = select.narrow(found, options)
        n_classes = len(classes) if classes is not None else None
        if n_classes is None and options.classes is None:
            n_classes = options.n_classes
        facts = DataFacts(
            found.kind, n, found.shape or None, classes, n_classes, labelled=options.labels
        )
        return facts, self._placed(problems)

    def _scheme(self) -> tuple[str, Any, Any]:
        parsed = parse_ref(self.ref)
        name, find, read = _FUNCTIONS.get(parsed.scheme, (parsed.scheme, "find", "read"))
        module = importlib.import_module(f"bequeath.given.data_schemes.{name}")
        return parsed.rest, getattr(module, find), getattr(module, read)

    def _placed(self, problems: Iterable[Problem]) -> list[Problem]:
        return [problem.under("data", self.role) for problem in problems]


def data_handle(
    role: str, ref: str | Ref, options: BaseModel | dict[str, Any] | None = None
) -> DataHandle:
    """A handle on `ref` (`folder:photos?take=100`) for `role`; opens nothing.

    options: of the scheme's class in `DATA_OPTIONS`, or a mapping; settings in the reference come
    on top of a mapping. Raises ValueError for a reference or a setting that is wrong.
    """
    return DataHandle(role, *typed_ref(ref, options, DATA_OPTIONS, "data"))


def _load(rest: str, find: Any, read: Any, options: Any) -> Samples:
    import torch

    from bequeath.given.data_schemes.labels import encode
    from bequeath.given.data_schemes.pictures import Pictures
    from bequeath.given.samples import ArraySamples, open_images, scan
    from bequeath.given.shift import shifted

    raw: Raw | Samples = read(rest, options)
    if not isinstance(raw, Raw):  # a pool is as it is
        return raw
    n, y, classes = len(raw.x), None, raw.classes or ()
    if raw.y is not None:
        y, classes = encode(raw.y, raw.classes, options.n_classes, n, raw.unit)
    elif options.n_classes is not None and not classes:
        classes = tuple(str(i) for i in range(options.n_classes))
    if raw.chosen:
        rows = torch.arange(n).numpy()
    else:
        rows, y, classes = select.choose(n, y, classes, raw.native, options)
    labels: torch.Tensor | None = None
    if y is not None and options.labels:
        labels = torch.from_numpy(y)
    if isinstance(raw.x, Pictures):
        samples: Samples = open_images(
            raw.x.pick(rows.tolist()),
            labels,
            classes,
            size=options.size,
            channels=options.channels,
            skip_bad=options.skip_bad,
            limit=memory_limit(options),
        )
    elif raw.kind == "text":
        columns = {k: [values[i] for i in rows.tolist()] for k, values in raw.columns.items()}
        texts = [raw.x[i] for i in rows.tolist()]
        samples = ArraySamples("text", texts, labels, classes, columns=columns)
    else:
        x = torch.from_numpy(raw.x if len(rows) == n else raw.x[rows])
        samples = ArraySamples(raw.kind, x, labels, classes)
    samples = shifted(samples, options)
    meant = options.classes is not None  # whoever chose one class knows it is one
    if problems := scan(samples, rows.tolist(), raw.unit, one_class=meant):
        raise JobError(problems)
    return samples
