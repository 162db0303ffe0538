"""Where a result came from: code, versions, machine. Says nothing of who ran it.

No environment variables, host names or user names; home folders are written as `~`.
Never imports torch: versions are read from the installed packages' metadata.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from bequeath.evidence.record import DataSource, Machine, ModelSource, Provenance

_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "datasets",
    "accelerate",
    "safetensors",
    "numpy",
    "scikit-learn",
    "pyarrow",
)


def provenance(
    *,
    job_hash: str,
    device: str,
    threads: int,
    started: datetime,
    models: Mapping[str, ModelSource] | None = None,
    data: Mapping[str, DataSource] | None = None,
) -> Provenance:
    """The provenance of a run on `device` with `threads` CPU threads. `started` has a zone."""
    commit, dirty = checkout()
    return Provenance(
        bequeath=_own_version(),
        commit=commit,
        dirty=dirty,
        job_hash=job_hash,
        started=started.astimezone(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        machine=machine(device, threads),
        models={
            role: source.model_copy(update={"ref": _public(source.ref)})
            for role, source in (models or {}).items()
        },
        data={
            role: source.model_copy(update={"ref": _public(source.ref)})
            for role, source in (data or {}).items()
        },
    )


@lru_cache(maxsize=1)
def checkout() -> tuple[str | None, bool | None]:
    """(commit, source has changes) of bequeath's own git checkout; (None, None) when installed."""
    package = Path(__file__).resolve().parents[1]
    root = package.parents[1]
    if package.parent.name != "src" or not (root / ".git").exists():
        return None, None
    commit = _git(root, "rev-parse", "HEAD")
    if not commit:
        return None, None
    # Only the source decides: runs written into the checkout do not make the code dirty.
    status = _git(root, "status", "--porcelain", "--", "src", "pyproject.toml")
    return commit, None if status is None else bool(status)


def versions() -> dict[str, str]:
    """Python and the installed libraries that can change a number."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine(device: str, threads: int) -> Machine:
    """The machine in general terms; memory in bytes, the container's limit where there is one."""
    return Machine(
        cpu=cpu_name(),
        cores=_cores(),
        memory_bytes=_memory(),
        device=device,
        os=f"{platform.system()} {platform.release()}",
        threads=threads,
    )


@lru_cache(maxsize=1)
def cpu_name() -> str:
    """The processor's own name, e.g. `AMD EPYC 7B13`; else the architecture."""
    text = _text(Path("/proc/cpuinfo"))
    found = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, flags=re.MULTILINE)
    if found:
        return re.sub(r"\s+", " ", found[1]).strip()
    if platform.system() == "Darwin":
        name = _output(["sysctl", "-n", "machdep.cpu.brand_string"])
        if name:
            return name
    return platform.processor() or platform.machine() or "unknown"


def without_home(text: str) -> str:
    """`text` with this user's, and any other user's, home folder written as `~`."""
    home = str(Path.home())
    if len(home) > 1 and home != "/root":
        text = re.sub(rf"{re.escape(home)}(?=[/\\]|$)", "~", text)
    text = re.sub(r"(?<![\w.-])/(?:home|Users)/[^/\s:]+", "~", text)
    text = re.sub(r"(?<![\w.-])/root(?=/|$)", "~", text)
    return re.sub(r"[A-Za-z]:\\Users\\[^\\\s:]+", "~", text)


def without_passwords(text: str) -> str:
    """`text` with what stands before the `@` of its URLs, a name and a password, as `***`."""
    return re.sub(r"\b([A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s\"']+@", r"\1***@", text)


def _public(ref: str) -> str:
    return without_home(without_passwords(ref))


def _own_version() -> str:
    """As the package's first file says it: right in a checkout too, where nothing is installed."""
    text = _text(Path(__file__).resolve().parents[1] / "__init__.py")
    found = re.search(r'^__version__\s*=\s*"([^"]+)"', text, flags=re.MULTILINE)
    return found[1] if found else "unknown"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _memory() -> int:
    import psutil

    total = int(psutil.virtual_memory().total)
    limit = _text(Path("/sys/fs/cgroup/memory.max")).strip()
    return min(total, int(limit)) if limit.isdigit() else total


def _git(root: Path, *arguments: str) -> str | None:
    return _output(["git", "--no-optional-locks", "-C", str(root), *arguments])


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
