"""What a job did once for all its runs: asking the teacher. A file beside the teacher's record."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field

from bequeath.evidence.record import Part
from bequeath.kernel.files import write_json

PREPARATION_FILE = "teacher_cache.json"


class Preparation(Part):
    """Cost that no single run carries, all sittings of the job together."""

    seconds: float = Field(default=0.0, ge=0, description="wall time of asking the teacher")
    asked: int = Field(default=0, ge=0, description="samples it was asked about, views counted")


def add_preparation(out: Path, role: str, seconds: float, asked: int) -> None:
    """Add a sitting to what `out/references/<role>/` says."""
    path = out / "references" / role / PREPARATION_FILE
    before = _read(path)
    now = Preparation(seconds=before.seconds + seconds, asked=before.asked + asked)
    write_json(path, now.model_dump(mode="json"))


def load_preparation(out: Path) -> Preparation:
    """What was spent in `out`, over all roles; nothing where there is nothing that can be read."""
    found = [_read(path) for path in sorted((out / "references").glob(f"*/{PREPARATION_FILE}"))]
    return Preparation(
        seconds=sum(one.seconds for one in found), asked=sum(one.asked for one in found)
    )


def _read(path: Path) -> Preparation:
    try:
        return Preparation.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return Preparation()
