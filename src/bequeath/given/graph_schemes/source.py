"""Reading files of triples and of texts; what a scheme hands back. No torch, no NumPy."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

from bequeath.given.data_schemes.source import fail, local, memory_limit, missing_path
from bequeath.kernel.errors import JobError, JobPath, Problem
from bequeath.kernel.files import regular
from bequeath.kernel.units import show_size

SPLITS = ("train", "valid", "test")
NAMES = "names"  # `text: names`: the entity's own name is its text
TEXT_FILE = "entity2text.txt"

Triple = tuple[str, str, str]

_FIRST = 100  # lines that `find` looks at
_NAMED = 5  # lines that an error names before it only counts
_MOST_WRONG = 1000  # then no more are looked for
_LONGEST = 1_000_000  # characters of a line
_EACH = 250  # bytes of a triple besides its letters


@dataclass
class Found:
    """What is known before all is read. files: split (and `text`) -> path."""

    files: dict[str, Path] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


@dataclass
class Splits:
    """Triples by names, as the files have them, and entity -> text (None: the graph has none).

    where: split -> where an error about it belongs in the graph's part of the job.
    """

    triples: dict[str, list[Triple]]
    texts: dict[str, str] | None = None
    where: dict[str, JobPath] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


def read_triples(
    path: Path, sep: str, at: JobPath, limit: int, most: int | None = None
) -> list[Triple]:
    """(head, relation, tail) of each line that is not blank. JobError D281, D202, D210.

    limit: bytes of memory they may take. most: read only so many lines.
    """
    triples: list[Triple] = []
    wrong: list[tuple[int, str]] = []
    for number, line in islice(_lines(path, at, limit), most):
        parts = [part.strip() for part in line.split(sep)]
        if len(parts) == 3 and all(parts):
            triples.append((parts[0], parts[1], parts[2]))
        elif line.strip():
            empty = len(parts) == 3
            wrong.append((number, "an empty name" if empty else f"{len(parts)} columns"))
            if len(wrong) == _MOST_WRONG:
                break
    if wrong:
        first = "; ".join(f"line {n}: {what}" for n, what in wrong[:_NAMED])
        between = "tabs" if sep == "\t" else f"`{sep}`"
        fail(
            "D281",
            f"{_wrong(wrong)} of `{path}` {'is' if len(wrong) == 1 else 'are'} "
            f"no triple of head, relation and tail separated by {between}",
            at=at,
            notes=(first + ("; ..." if len(wrong) > _NAMED else ""),),
            remedies=("mend these lines", "say `sep` if another character is between the names"),
        )
    return triples


def read_texts(path: Path, limit: int) -> tuple[dict[str, str], int]:
    """Entity -> text of a file of lines `entity TAB text`; how many lines repeat an entity.

    Of several lines about one entity the first counts. JobError D286, D202, D210.
    """
    texts: dict[str, str] = {}
    repeated = 0
    at: JobPath = ("text",)
    wrong: list[int] = []
    for number, line in _lines(path, at, limit):
        entity, tab, text = line.partition("\t")
        entity, text = entity.strip(), " ".join(text.split())
        if entity and not text and tab:
            continue  # listed, and nothing said of it: it is missing
        if not entity or not text:
            wrong.extend([number] if line.strip() else [])
            if len(wrong) == _MOST_WRONG:
                break
        elif entity in texts:
            repeated += 1
        else:
            texts[entity] = text
    if wrong:
        numbers = ", ".join(str(n) for n in wrong[:_NAMED])
        fail(
            "D286",
            f"{_wrong(wrong)} of `{path}` say no text of an entity",
            at=at,
            notes=(f"line {numbers}{', ...' if len(wrong) > _NAMED else ''}",),
            remedies=("write lines of the form: entity, a tab, its text",),
        )
    return texts, repeated


def text_of(entity: str) -> str:
    """An entity's own name as words."""
    return entity.replace("_", " ").strip() or entity


def find_files(files: dict[str, Path], sep: str, options: Any, folder: Path = Path()) -> Found:
    """The problems that listings and the first lines of these files show.

    folder: where a relative `text:` begins.
    """
    found = Found(dict(files))
    for split, path in files.items():
        try:
            if problem := missing_path(path, folder=False):
                raise JobError(problem)
            read_triples(path, sep, _at(split, options), memory_limit(options), _FIRST)
        except JobError as error:
            found.problems += [_moved(p, _at(split, options)) for p in error.problems]
    if options.text not in (None, NAMES):
        path = folder / local(options.text)
        if problem := missing_path(path, folder=False):
            found.problems.append(_moved(problem, ("text",)))
    return found


def read_files(files: dict[str, Path], sep: str, options: Any, folder: Path = Path()) -> Splits:
    """All triples of the files, and the texts: those asked for, or those lying beside `train`."""
    where = {split: _at(split, options) for split in files}
    limit = memory_limit(options)
    triples = {s: read_triples(path, sep, where[s], limit) for s, path in files.items()}
    for split in SPLITS:
        triples.setdefault(split, [])
    texts, repeated = _texts(options, files["train"].parent, folder)
    notes = {"text lines about the same entity": repeated} if repeated else {}
    return Splits(triples, texts, where, notes)


def _texts(options: Any, beside: Path, folder: Path) -> tuple[dict[str, str] | None, int]:
    """The texts that the options ask for; None: there are none, or they are the names."""
    if options.text == NAMES:
        return None, 0
    if options.text is not None:
        return read_texts(folder / local(options.text), memory_limit(options))
    for name in (TEXT_FILE, f"{TEXT_FILE}.gz"):
        if (beside / name).is_file():
            return read_texts(beside / name, memory_limit(options))
    return None, 0


def _at(split: str, options: Any) -> JobPath:
    return (split,) if getattr(options, split, None) is not None else ("ref",)


def _moved(problem: Problem, at: JobPath) -> Problem:
    from dataclasses import replace

    return replace(problem, at=at)


def _lines(path: Path, at: JobPath, limit: int) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of a text file, plain or gzip, up to `limit` bytes of memory."""
    room = limit
    with regular(path).open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    opened: Any = gzip.open if packed else open
    try:
        with opened(path, "rt", encoding="utf-8-sig") as file:
            for number in count(1):
                if not (line := file.readline(_LONGEST + 1)):
                    return
                if len(line) > _LONGEST:
                    _damaged(path, f"line {number} is longer than {_LONGEST} characters", at)
                room -= len(line) + _EACH
                if room < 0:
                    _too_large(path, limit, at)
                yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        _damaged(path, f"it is not UTF-8 text: {error.reason} at byte {error.start}", at)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        _damaged(path, f"its gzip packing is broken: {error}", at)


def _damaged(path: Path, why: str, at: JobPath) -> None:
    fail("D202", f"`{path}` cannot be read", at=at, notes=(why,))


def _too_large(path: Path, limit: int, at: JobPath) -> None:
    fail(
        "D210",
        f"what `{path}` holds takes more than the {show_size(limit)} allowed",
        at=at,
        remedies=("say `memory` if so much is meant and there", "or make a smaller file"),
    )


def _wrong(lines: list[Any]) -> str:
    more = len(lines) == _MOST_WRONG
    return f"{_MOST_WRONG} or more lines" if more else _count(len(lines), "line")


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def named(names: Iterable[str], total: int) -> str:
    """`a`, `b`, ... and how many more."""
    shown = list(islice(names, _NAMED))
    more = f" and {total - len(shown)} more" if total > len(shown) else ""
    return ", ".join(f"`{name}`" for name in shown) + more
