"""Weights that are shared out while a model trains, whole for a while.

    with whole():
        ...                     # any number of forward passes, also a different one in each process

Where nothing is shared out, it does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

_GATHER: ContextVar[Callable[[], AbstractContextManager]] = ContextVar(
    "bequeath_gather", default=nullcontext
)


def whole() -> AbstractContextManager:
    """The block finds all weights of what trains whole; all processes come to it together."""
    return _GATHER.get()()


@contextmanager
def gathering(gather: Callable[[], AbstractContextManager]) -> Iterator[None]:
    """Within the block `whole` is `gather`: for who shares weights out."""
    token = _GATHER.set(gather)
    try:
        yield
    finally:
        _GATHER.reset(token)
