"""Search: the best of many candidates, when knowing what one is worth is expensive.

You own a pool: network architectures, settings of a training run, mixtures of data, molecules. Of
each candidate you know a few cheap scores, and you can afford to know what some of them are really
worth: from a table, or by training them. A method chooses which to ask about; the oracle it is
handed counts every different candidate once and refuses what the budget does not cover. Asking
again is free.

    data: {pool: {ref: "pool:candidates.csv", objective: val_acc, metrics: [synflow, snip],
                  report: [test_acc]}}
    protocol: {budget: 20}

The table's objective is out of the methods' sight but for the queries; the report columns are
shown of the candidate found and never searched with. With `objective: py:FILE.py:NAME` the
objective is a function of yours, called with a candidate's name; what it answers is kept, so no
candidate is paid for twice. Cells of NAS-Bench-201 (`space: nas201`) need no scores: the protocol
counts them off the architecture (`metrics: counts`) or builds each network and computes zero-cost
proxies on a batch of `data.batch` (`metrics: computed`; kept, so a stop loses nothing).

Every job is run beside random search, regularised evolution and the ranking by the plain mean of
the scores, at the same number of queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from bequeath.given.access import DataNeed, Labels, Needs
from bequeath.methods.family import Family, Settings

ROBOT = "the reference code of RoBoT, NAS-Bench-201"
ProxyName = Literal[
    "grad_norm", "snip", "grasp", "fisher", "synflow", "jacob_cov", "naswot", "params", "flops"
]
REFERENCE_PROXIES: tuple[ProxyName, ...] = (
    "grad_norm",
    "snip",
    "grasp",
    "fisher",
    "synflow",
    "jacob_cov",
)

# `batch`: images and labels on which the protocol computes zero-cost proxies
NEEDS = Needs(data={"pool": DataNeed(Labels.NONE), "batch": DataNeed(Labels.ALL, optional=True)})


@dataclass(frozen=True)
class Found:
    """What a search hands back.

    best: the candidate it chose, one it has asked about. asked: all it asked about, in order.
    weights: metric -> weight of the ranking it ended with, if it has one. explored: how many
    candidates it asked about before it settled on that ranking.
    """

    best: int
    asked: tuple[int, ...]
    weights: Mapping[str, float] | None = None
    explored: int | None = None


class Protocol(Settings):
    budget: int = Field(
        20,
        ge=1,
        description="how many different candidates a method may ask about",
        json_schema_extra={"source": ROBOT},
    )
    metrics: Literal["table", "counts", "computed"] = Field(
        "table",
        description="the scores: columns of the pool; numbers read off the cells; or zero-cost "
        "proxies of the cells' networks",
        json_schema_extra={"source": "ours"},
    )
    pool: int | None = Field(
        None,
        ge=2,
        description="only so many candidates, drawn at random (default: all)",
        json_schema_extra={"source": "ours"},
    )
    draw: Literal["once", "seed"] = Field(
        "once",
        description="`pool`: the same candidates for every seed, or others for each",
        json_schema_extra={"source": "ours"},
    )
    signs: Literal["given", "random"] = Field(
        "given",
        description="random: each metric is turned over by the toss of a coin, another for each "
        "seed, to see what a method does when nobody knows which way a metric is better; what has "
        "no value is the worst before it is turned",
        json_schema_extra={"source": "ours"},
    )
    proxies: tuple[ProxyName, ...] = Field(
        REFERENCE_PROXIES,
        min_length=1,
        description="`metrics: computed`: which",
        json_schema_extra={"source": ROBOT},
    )
    batch: int = Field(
        64,
        ge=2,
        description="`metrics: computed`: images of `data.batch` they are computed on",
        json_schema_extra={"source": "Abdelfattah et al. 2021, arXiv 2101.08134"},
    )
    width: int = Field(
        16,
        ge=1,
        le=1024,
        description="`metrics: computed`: channels of the network's first stage",
        json_schema_extra={"source": "NAS-Bench-201"},
    )
    depth: int = Field(
        5,
        ge=1,
        le=100,
        description="`metrics: computed`: cells in each of the network's three stages",
        json_schema_extra={"source": "NAS-Bench-201"},
    )


FAMILY = Family(
    own="a pool of candidates with cheap scores, a few expensive answers",
    get="the best candidate that the answers lead to",
    baselines=("random_search", "greedy", "regularized_evolution"),
    result=None,
    judge="none",
    metrics={
        "regret": "lower",
        "rank": "lower",
        "best_found": "higher",
        "reported": "higher",
        "queries": "lower",
    },
    protocol=Protocol,
)
