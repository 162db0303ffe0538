"""Canaries: made-up secrets hidden in a training text, to find out later what a model kept of it.

Carlini, Liu, Erlingsson, Kos, Song, "The Secret Sharer: Evaluating and Testing Unintended
Memorization in Neural Networks", 2019, arXiv 1802.08232. A canary is a prefix and a secret; the
secret is one of all the texts of its length over its alphabet, drawn evenly. No torch here.
"""

from __future__ import annotations

import csv
import io
import random
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from bequeath.given.data_schemes.source import fail, listed, local, missing_path, rows_named
from bequeath.given.options import CanariesData, parse_ref
from bequeath.kernel.errors import JobError

_NAMES = (
    "ada amir anna axel bela ben bo cara carl dana dora egon ella emil enzo eva finn gina gus hana "
    "hugo ida igor ines ivan jana jon kai kira lara leo lea lena levi lina lola luca mara max mia "
    "milo mona nadia nico nils nora olaf olga otto pablo pia rita rosa sara sven tara theo tina "
    "toni uma vera yara zoe"
)
NAMES = tuple(_NAMES.split())
ALPHABETS = (string.digits, string.ascii_lowercase, string.ascii_uppercase, string.ascii_letters)
MOST_BYTES = 50_000_000


@dataclass(frozen=True)
class Canary:
    """prefix + secret is in the text `repeat` times; alphabet: what a secret is made of."""

    prefix: str
    secret: str
    alphabet: str = string.digits
    repeat: int = 1

    @property
    def text(self) -> str:
        return self.prefix + self.secret

    @property
    def space(self) -> int:
        """How many secrets there could have been."""
        return len(self.alphabet) ** len(self.secret)


def draw(count: int, length: int, repeat: Sequence[int], prefix: str, seed: int) -> list[Canary]:
    """So many canaries of digits, each with a name of its own in the place of `{name}`.

    The i-th is repeated `repeat[i % len(repeat)]` times. JobError D272.
    """
    if "{name}" not in prefix and count > 1:
        message = "every canary needs a prefix of its own"
        fail(
            "D272", message, at=("prefix",), remedies=("write `{name}` in it: a name comes there",)
        )
    if min(repeat, default=0) < 1:
        fail("D272", "`repeat` is one or more whole numbers from 1", at=("repeat",))
    rng = random.Random(f"canaries/{seed}")
    order = sorted(NAMES, key=lambda _: rng.random())
    found = []
    for i in range(count):
        turn, place = divmod(i, len(order))
        name = order[place] + (f" {turn}" if turn else "")
        secret = "".join(string.digits[int(10 * rng.random())] for _ in range(length))
        found.append(Canary(prefix.replace("{name}", name), secret, repeat=repeat[i % len(repeat)]))
    return found


def read_file(rest: str) -> list[Canary]:
    """Those of a CSV file with the columns prefix, secret and, if wanted, alphabet and repeat.

    JobError: D201 no such file, D202 not readable, D270 columns or cells, D271 twice, D272 values.
    """
    path = local(rest)
    if problem := missing_path(path, folder=False):
        raise JobError(problem)
    if path.stat().st_size > MOST_BYTES:
        fail("D210", f"`{path}` is too large for a list of canaries")
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        fail("D202", f"`{path}` cannot be read as a table", notes=(str(error),))
    if not rows:
        fail("D205", f"`{path}` names no canaries")
    lacking = [name for name in ("prefix", "secret") if name not in rows[0]]
    if lacking:
        there = listed([str(name) for name in rows[0] if name is not None])
        message = f"`{path}` has no column {listed(lacking)}"
        fail("D270", message, notes=(f"it has {there}",))
    bare = [i for i, row in enumerate(rows) if not row["prefix"] or not row["secret"]]
    if bare:
        fail("D270", f"{len(bare)} canaries of `{path}` lack a prefix or a secret: "
             f"{rows_named(bare)} (the first is 0)")  # fmt: skip
    found = [_from_row(i, row) for i, row in enumerate(rows)]
    check(found)
    return found


def _from_row(i: int, row: dict[str, str]) -> Canary:
    secret = row["secret"]
    said = row.get("alphabet") or next((a for a in ALPHABETS if set(secret) <= set(a)), None)
    repeat = row.get("repeat") or "1"
    if said is None:
        remedies = ("add a column `alphabet`: the characters that secrets were drawn from",)
        fail(
            "D272",
            f"row {i}: what secret `{secret}` was drawn from is not known",
            remedies=remedies,
        )
    if not set(secret) <= set(said) or len(set(said)) < max(2, len(said)):
        fail("D272", f"row {i}: secret `{secret}` is not made of the alphabet `{said}`")
    if not repeat.isdecimal() or len(repeat) > 7 or int(repeat) > 1_000_000:
        fail("D272", f"row {i}: `repeat` is a whole number, not `{repeat}`")
    return Canary(row["prefix"], secret, said, int(repeat))


def check(canaries: Sequence[Canary]) -> None:
    """JobError D271 when two have one prefix: the model could not know which secret is meant."""
    twice = [prefix for prefix, n in Counter(c.prefix for c in canaries).items() if n > 1]
    if twice:
        fail(
            "D271",
            f"{len(twice)} prefixes belong to several canaries, `{twice[0]}` for one",
            remedies=("give each canary a prefix of its own",),
        )


def canaries_of(rest: str, options: Any) -> list[Canary]:
    """What `canaries:REST` with these options names."""
    if rest == "digits":
        return draw(options.count, options.length, options.repeat, options.prefix, options.seed)
    return read_file(rest)


def referred(reference: str) -> list[Canary]:
    """Canaries by reference, `canaries:digits?count=20&length=4`. JobError D273 if it is none."""
    try:
        ref = parse_ref(reference)
        if ref.scheme != "canaries":
            raise ValueError(f"`{reference}` is no reference to canaries")
        options = CanariesData.model_validate(ref.query)
    except ValidationError as error:
        first = error.errors()[0]
        message = f"`{reference}`: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        fail("D273", message, at=("canaries",))
    except ValueError as error:
        fail(
            "D273", str(error), at=("canaries",), remedies=("canaries:digits or canaries:FILE.csv",)
        )
    try:
        return canaries_of(ref.rest, options)
    except JobError as error:
        message = error.problems[0].message
        fail(error.problems[0].code, f"`{reference}`: {message}", at=("canaries",))


def hidden(texts: Iterable[str], canaries: Iterable[Canary]) -> list[str]:
    """The texts, and behind them each canary as often as it says, a text of its own each time."""
    return [*texts, *(canary.text for canary in canaries for _ in range(canary.repeat))]
