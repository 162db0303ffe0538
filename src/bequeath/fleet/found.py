"""What was found of seeds that might train as one: kept beside their scratch, for all sittings.

A run must not change its mind when it goes on, nor when another worker makes it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bequeath.kernel.files import write_json
from bequeath.train.together import Verdict


@dataclass(frozen=True)
class Found:
    """seeds: of the group. trained: each of them has been left its finished checkpoint."""

    seeds: tuple[int, ...]
    verdict: Verdict
    trained: bool = False

    @property
    def open(self) -> bool:
        """Whether there is still something to train as one."""
        return self.verdict.batched and not self.trained


def store(out: Path, label: str, seeds: Sequence[int]) -> Path:
    """The scratch of a group. A seed is in one group only, so that its first one names it."""
    return out / "work" / label / "together" / f"seed-{seeds[0]}"


def keep(out: Path, label: str, key: str, found: Found) -> None:
    """Remember what was found for the seeds of an arm; key: of the experiment."""
    path = store(out, label, found.seeds).with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"key": key, **asdict(found)})


def kept(out: Path, label: str, key: str) -> list[Found]:
    """Everything that was found for an arm."""
    found = []
    for path in sorted((out / "work" / label / "together").glob("seed-*.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["key"] == key:
            found.append(Found(tuple(told["seeds"]), Verdict(**told["verdict"]), told["trained"]))
    return found


def found_of(out: Path, label: str, key: str, seed: int) -> Found | None:
    """What was found for the group of a seed, if it was in one."""
    return next((one for one in kept(out, label, key) if seed in one.seeds), None)
