"""Ctrl-C and SIGTERM during a fit: noted at once, obeyed between two steps."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SAME = 1.0


@dataclass
class Interruption:
    """signal: the name of the one that came, empty as long as none did; since: when it came."""

    signal: str = ""
    since: float = 0.0


@contextmanager
def watch() -> Iterator[Interruption]:
    """Turn the first SIGINT or SIGTERM of the block into a note; a second SIGINT acts at once.

    One that comes within a second is the same Ctrl-C: a launcher hands on what the terminal has
    sent to all.
    In a thread other than the main one signals cannot be caught, and nothing is watched.
    """
    note = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield note
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if not note.signal:
            note.signal, note.since = signal.Signals(number).name, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - note.since > SAME:
            raise KeyboardInterrupt

    before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield note
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
