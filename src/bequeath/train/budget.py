"""What a run may cost and what it did cost: a deadline, and the peak of memory."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch


@dataclass(frozen=True)
class Deadline:
    """Seconds of wall time from now on. total None: no limit; share: the part that is ours."""

    total: float | None = None
    share: float = 1.0
    started: float = field(default_factory=time.monotonic)

    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def left(self) -> float:
        """Seconds that remain; infinite without a limit, negative when it is over."""
        return float("inf") if self.total is None else self.total * self.share - self.spent()

    def over(self) -> bool:
        return self.left() <= 0

    def part(self, share: float) -> Deadline:
        """A deadline that starts now and may use `share` of what is left of this one."""
        left = self.left()
        return Deadline(None if left == float("inf") else max(0.0, left), share)


def resident() -> int:
    """Bytes of memory this process holds now."""
    return int(psutil.Process().memory_info().rss)


def reset_peak() -> bool:
    """Forget the peak so far. False where the system cannot (then a peak is sampled)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_resident() -> int:
    """Largest resident memory in bytes since the last reset, or since the process began."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def peak_device(device: torch.device | str) -> int | None:
    """Largest memory of tensors on a CUDA device in bytes since its reset; None on others."""
    if torch.device(device).type != "cuda":
        return None
    return int(torch.cuda.max_memory_allocated(device))


@dataclass
class Peak:
    """before: resident bytes at the start; resident, device: the peaks, filled in at the end."""

    before: int
    resident: int = 0
    device: int | None = None


@contextmanager
def peak_memory(device: torch.device | str = "cpu") -> Iterator[Peak]:
    """Measure the peak of a block in bytes: exact where the kernel can forget, else sampled."""
    exact = reset_peak()
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    peak = Peak(resident())
    stop = threading.Event()
    seen = [peak.before]

    def sample() -> None:
        while not stop.wait(0.02):
            seen[0] = max(seen[0], resident())

    sampler = None if exact else threading.Thread(target=sample, daemon=True)
    if sampler is not None:
        sampler.start()
    try:
        yield peak
    finally:
        stop.set()
        if sampler is not None:
            sampler.join()
        peak.resident = peak_resident() if exact else max(seen[0], resident())
        peak.device = peak_device(device)


def cpu_seconds() -> float:
    """Processor seconds (user and system) of this process so far, all threads."""
    times = os.times()
    return times.user + times.system
