"""`text:FILE`, `text:FILE.gz` and `text:FOLDER`: plain text for language models, cut in samples."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import Any

from bequeath.given.canaries import hidden, referred
from bequeath.given.data_schemes import select
from bequeath.given.data_schemes.source import Found, Raw, fail, local, memory_limit, missing_path
from bequeath.kernel.errors import JobError
from bequeath.kernel.files import read_most
from bequeath.kernel.units import show_size

CHARACTER = 4  # bytes, of a Python text with any letter beyond the first 65,536


def find(rest: str, options: Any) -> Found:
    try:
        _files(rest, options)
        if options.canaries is not None:
            referred(options.canaries)
    except JobError as error:
        return Found("text", problems=error.problems)
    return Found("text")


def read(rest: str, options: Any) -> Raw:
    limit = memory_limit(options) // CHARACTER
    files = _files(rest, options)
    texts = [part for path in files for part in _cut(_read(path, limit), options)]
    if not texts:
        fail("D205", f"`{rest}` is empty: no {options.by} of it holds any text")
    return corpus(texts, options)


def corpus(texts: list[str], options: Any) -> Raw:
    """The samples that the options choose, and the canaries among them.

    Canaries come last: a split or a `take` must not tear their repetitions apart.
    """
    if options.classes is not None:
        fail("D211", "`classes` needs labels, and this data has none", at=("classes",))
    rows, _, _ = select.choose(len(texts), None, (), False, options)
    chosen = [texts[i] for i in rows.tolist()]
    if options.canaries is not None:
        chosen = hidden(chosen, referred(options.canaries))
    return Raw("text", chosen, chosen=True)


def _files(rest: str, options: Any) -> list[Path]:
    path = local(rest)
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    if not files:
        fail("D205", f"there is no .txt file in `{path}`")
    if problems := [p for file in files if (p := missing_path(file, folder=False)) is not None]:
        raise JobError(problems[:1])
    size, limit = sum(file.stat().st_size for file in files), memory_limit(options)
    if CHARACTER * size > limit:
        fail("D210", f"`{path}` has {show_size(size)}, too much for the {show_size(limit)} allowed")
    return files


def _read(path: Path, limit: int) -> str:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            text = _within(file, path, limit).decode("utf-8-sig")
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        remedies = ("save it as UTF-8",)
        fail("D202", f"`{path}` is not UTF-8 text", notes=(str(error),), remedies=remedies)
    if "\0" in text:
        fail("D202", f"`{path}` is not text: it holds null characters")
    return text.replace("\r\n", "\n")


def _within(file: Any, path: Path, limit: int) -> bytes:
    try:
        return read_most(file, limit)
    except ValueError:
        fail("D210", f"`{path}` unpacks to more than the {show_size(limit)} allowed")


def _cut(text: str, options: Any) -> list[str]:
    if options.by == "block":
        return [text[i : i + options.length] for i in range(0, len(text), options.length)]
    parts = {"line": text.split("\n"), "file": [text]}.get(options.by)
    if parts is None:
        parts = re.split(r"\n\s*\n", text)
    return [part.strip() for part in parts if part.strip()]
