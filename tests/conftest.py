"""What holds for every test."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Ctrl-C works in the tests and in what they start, also where the shell made them ignore it.

    A shell without job control starts its background jobs with SIGINT ignored, and children inherit
    that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
