"""What the schemes of candidate pools take. Never imports torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bequeath.given.option_types import Bytes, Options, Words


class PoolData(Options):
    """pool:FILE, a table (csv, tsv, parquet; .gz too) with a row for each candidate."""

    id: str | None = Field(
        default=None,
        description="column of the candidates' names (default: id, name or arch, or the row)",
    )
    objective: str | None = Field(
        default=None,
        description="column of what is expensive to know, or py:FILE.py:NAME, called with a name "
        "(default: the column `objective`)",
    )
    metrics: Words = Field(
        default=(), description="columns of what is cheap to know; none is taken unasked"
    )
    report: Words = Field(
        default=(), description="columns reported of the candidate found, never searched with"
    )
    better: Literal["higher", "lower"] = Field(
        default="higher", description="which way the objective and the report columns are better"
    )
    lower: Words = Field(default=(), description="metrics of which less is thought to be better")
    percent: bool = Field(
        default=False, description="the objective and the report columns are per cent"
    )
    memory: Bytes | None = Field(
        default=None,
        description="most memory the table may take (default: half of what is free)",
    )
    space: Literal["nas201"] | None = Field(
        default=None, description="what the names mean: cells of NAS-Bench-201"
    )


class SyntheticData(Options):
    """synthetic:pool, made-up candidates of a hidden quality, with metrics good, bad and inverted.

    objective = q + 0.1 e; metrics: q + s e with s = 0.3 (strong), 1.5 (weak1, weak2), -q + 0.5 e
    (inverted), e alone (noise); q and every e are standard normal.
    """

    n: int = Field(default=2000, ge=1, le=1_000_000, description="how many candidates")
    seed: int = Field(default=0, ge=0, lt=2**62, description="which candidates")
