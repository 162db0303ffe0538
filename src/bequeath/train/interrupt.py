"""Ctrl-C and SIGTERM during a fit: noted at once, obeyed between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interruption:
    """signal: the name of the one that came, empty as long as none did."""

    signal: str = ""


@contextmanager
def watch() -> Iterator[Interruption]:
    """Turn the first SIGINT or SIGTERM of the block into a note; a second SIGINT acts at once.

    In a thread other than the main one signals cannot be caught, and nothing is watched.
    """
    note = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield note
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if note.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        note.signal = signal.Signals(number).name

    before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield note
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
