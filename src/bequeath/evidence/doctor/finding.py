"""What a check says: one finding, its number, and what to do about it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bequeath.evidence.record import Part

Level = Literal["wrong", "look", "unknown", "fine"]
LEVELS: tuple[Level, ...] = ("wrong", "look", "unknown", "fine")  # the worst first


class Finding(Part):
    """level: `wrong` spoils the result; `look` may; `unknown` could not be measured here."""

    check: str = Field(description="which question was asked")
    level: Level
    arm: str | None = Field(default=None, description="null: it is about the whole job")
    says: str = Field(description="the answer, in a sentence with its number")
    numbers: dict[str, float] = Field(default_factory=dict)
    do: str = Field(default="", description="what to do about it; empty where nothing need be done")
