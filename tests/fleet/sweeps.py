"""A sweep of four short runs in a process of its own, and how to wait for its middle."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from tiny_jobs import command, plain, result

PATIENCE = 300.0
CHANGES = {
    "seeds": 2,
    "train": {"epochs": 120, "checkpoint_every": 0.05, "batch_seeds": "off"},
}
ALL = {f"{arm}/seed-{seed}" for arm in ("kd", "ce") for seed in (0, 1)}


def begin(folder: Path, *more: str, **changes: Any) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    path = folder / "job.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(plain(**(changes or CHANGES)), file)
    return command("run", str(path), "--set", f"out={folder / 'out'}", *more)


def until(child: subprocess.Popen[str], holds: Callable[[], Any]) -> Any:
    """What `holds` answers once it is true, the program still running."""
    give_up = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.005)
    return found


def trained(out: Path, after: int = 0) -> list[Path]:
    """The checkpoints written after that time (ns)."""
    found = []
    for path in out.glob("work/*/seed-*/checkpoints/fit.safetensors"):
        try:
            found += [path] if path.stat().st_mtime_ns > after else []
        except FileNotFoundError:  # its run has just been completed
            continue
    return found


def same(out: Path, whole: Path) -> bool:
    return all(
        result(out, arm, seed) == result(whole, arm, seed)
        for arm, seed in (name.split("/seed-") for name in ALL)
    )
