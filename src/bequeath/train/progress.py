"""A line on the terminal while a fit runs: time left, samples a second, the terms of the loss."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

_SECONDS_BETWEEN = 0.2


class Progress:
    """Shows itself on a terminal, or when told to; costs one comparison a step otherwise.

    show: None means only when standard error is a terminal.
    """

    def __init__(self, name: str, total: int, done: int = 0, show: bool | None = None):
        self._bar = None
        self._next = 0.0
        self._shares: dict[str, float] = {}
        if sys.stderr.isatty() if show is None else show:
            self._bar, self._task = _bar(name, total, done)
            self._bar.start()

    def due(self, now: float) -> bool:
        return self._bar is not None and now >= self._next

    def show(
        self, step: int, rate: float, terms: Mapping[str, float], shares: Mapping[str, float]
    ) -> None:
        """rate: samples a second; terms: name -> mean value; shares: name -> 0 to 1."""
        if self._bar is None:
            return
        self._shares.update(shares)  # measured now and then, shown until measured again
        text = " ".join(
            f"{name} {value:.3g}" + (f" ({self._shares[name]:.0%})" if name in self._shares else "")
            for name, value in terms.items()
        )
        self._bar.update(
            self._task, completed=step, rate=f"{rate:,.0f}/s", terms=text, refresh=True
        )
        self._next = time.monotonic() + _SECONDS_BETWEEN

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar(name: str, total: int, done: int):  # type: ignore[no-untyped-def]
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Rich

    console = Console(stderr=True)
    bar = Rich(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TextColumn("{task.fields[terms]}", markup=False),
        console=console,
        auto_refresh=False,
        transient=console.is_terminal,
    )
    task = bar.add_task(name, total=total, completed=done, rate="", terms="")
    return bar, task
