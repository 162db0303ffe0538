"""`sentences:COUNT`: made-up sentences of people, places and dates, for trials without any file.

They have what a language model can learn (a grammar, agreements between places and what is done
there) and what it can only know by heart (who, where, when).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from bequeath.given.canaries import NAMES, referred
from bequeath.given.data_schemes.source import Found, Raw, fail
from bequeath.given.data_schemes.text import corpus
from bequeath.kernel.errors import JobError

_CITIES = "oslo rome paris cairo lima kyoto delhi quito riga bern lagos tunis porto malmo"
_MONTHS = "january march april may june july august october november december"
CITIES, MONTHS = _CITIES.split(), _MONTHS.split()
PLACES = {  # where, and what one does there
    "the market": ("bought bread", "sold apples", "lost a coin"),
    "the station": ("missed a train", "met a friend", "bought a ticket"),
    "the library": ("read a novel", "returned a map", "fell asleep"),
    "the harbour": ("saw a ship", "caught a fish", "waited for hours"),
    "the theatre": ("saw a play", "sang a song", "lost a glove"),
    "the school": ("taught music", "painted a wall", "won a prize"),
}
MOST = 1_000_000


def find(rest: str, options: Any) -> Found:
    try:
        count = _count(rest)
        if options.canaries is not None:
            count += sum(canary.repeat for canary in referred(options.canaries))
    except JobError as error:
        return Found("text", problems=error.problems)
    return Found("text", count if options.split is None and options.take is None else None)


def read(rest: str, options: Any) -> Raw:
    return corpus(list(_sentences(_count(rest), options.seed)), options)


def _count(rest: str) -> int:
    if not rest.isdecimal() or not 1 <= int(rest) <= MOST:
        fail("D216", f"`sentences:{rest}` is not a number of sentences, 1 to {MOST:,}")
    return int(rest)


def _sentences(count: int, seed: int) -> Iterator[str]:
    rng = random.Random(f"sentences/{seed}")

    def one(of: Any) -> str:
        things = list(of)
        return things[int(rng.random() * len(things))]

    for _ in range(count):
        who, where, city = one(NAMES), one(PLACES), one(CITIES)
        did = one(PLACES[where])
        when = f"{1 + int(28 * rng.random())} {one(MONTHS)} {1900 + int(120 * rng.random())}"
        form = int(3 * rng.random())
        if form == 0:
            yield f"on {when} {who} {did} at {where} in {city}."
        elif form == 1:
            yield f"{who} {did} at {where}, {city}."
        else:
            yield f"at {where} of {city}, {who} {did} with {one(NAMES)}."
