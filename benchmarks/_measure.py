"""What the benchmarks share: arms in turn, facts of the machine and the code, physical limits.

A limit is work over the fastest rate this machine was seen to have for it, measured in the same
session: bytes over bandwidth, operations over a large matrix product's. Each rate is the best of
several tries, since other work on the machine can only lower it.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_TRIES = 7


def alternate(rounds: int, arms: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Seconds of each arm in each round; the order turns from round to round."""
    times: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds):
        for name in list(arms) if number % 2 == 0 else list(arms)[::-1]:
            times[name].append(arms[name]())
    return times


def ratio(times: dict[str, list[float]], above: str, below: str) -> dict[str, Any]:
    """The median of the rounds' ratios: a machine that is busy slows both of a round."""
    each = [a / b for a, b in zip(times[above], times[below], strict=True)]
    return {
        "ratio": statistics.median(each),
        "low": min(each),
        "high": max(each),
        "seconds": {name: statistics.median(times[name]) for name in (above, below)},
        "rounds": len(each),
    }


def facts(packages: Iterable[str] = ("torch", "numpy")) -> dict[str, Any]:
    """Date, machine, load, versions, commit and whether the checkout differs from it."""
    processor = platform.processor() or platform.machine()
    if (about := Path("/proc/cpuinfo")).is_file():
        names = [line for line in about.read_text().splitlines() if line.startswith("model name")]
        processor = names[0].split(":", 1)[1].strip() if names else processor
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "processor": processor,
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "load": list(os.getloadavg()),
        "versions": {"python": platform.python_version(), **found},
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def limits(threads: int) -> dict[str, float]:
    """What this machine can do on so many threads.

    flops: of a float32 matrix product, a second. bandwidth: bytes a second that a sweep over memory
    reads and writes (a = b + s c, which is three times the length of a).
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    n, length = 1536, 1 << 25
    a, b = torch.rand(n, n), torch.rand(n, n)
    out = torch.empty(n, n)
    flops = 2 * n**3 / _best(lambda: torch.mm(a, b, out=out))
    x, y, z = (torch.rand(length) for _ in range(3))
    bandwidth = 3 * 4 * length / _best(lambda: torch.add(x, y, alpha=3.0, out=z))
    torch.set_num_threads(before)
    return {"threads": threads, "flops": flops, "bandwidth": bandwidth}


def disk(folder: Path, size: int = 1 << 29) -> dict[str, float]:
    """Bytes a second that a file is written with, to the last byte on the disk, and read with.

    The file is dropped from the system's cache before it is read; a disk that is itself a file of
    another machine may be cached there, which no program can tell.
    """
    path, block = folder / "bandwidth", os.urandom(1 << 23)

    def write() -> None:
        with path.open("wb", 0) as file:
            for _ in range(size // len(block)):
                file.write(block)
            os.fsync(file.fileno())

    def read() -> None:
        with path.open("rb", 0) as file:
            buffer = bytearray(len(block))
            while file.readinto(buffer):
                pass

    def drop() -> None:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    written = size / _best(write, 3)
    reading = size / _best(read, 3, drop)
    path.unlink()
    return {"write": written, "read": reading}


def _best(work: Callable[[], Any], tries: int = _TRIES, first: Callable[[], Any] | None = None):
    work()
    seconds = []
    for _ in range(tries):
        if first is not None:
            first()
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def process(command: list[str]) -> tuple[float, float]:
    """(processor seconds, megabytes) of a command in a process of its own; it must succeed."""
    null = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=null)
    _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{' '.join(command)} failed")
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6
