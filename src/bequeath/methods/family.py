"""The ten families: what a user writes in `want:`, what they own and what they get."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """baselines: methods added to every job of the family, to answer "was it worth it?".

    reference: the role shown beside the results as it came (the teacher's own quality).
    result: the role of the model a method hands back.
    """

    own: str
    get: str
    baselines: tuple[str, ...] = ()
    reference: str | None = None
    result: str = "model"


FAMILIES: dict[str, Family] = {
    "distill": Family(
        own="a teacher (weights, logits, labels only, or its text)",
        get="a student",
        baselines=("ce",),
        reference="teacher",
        result="student",
    ),
}
