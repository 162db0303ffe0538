"""Grounding: knowledge graphs and the texts about their entities, made into embeddings and answers.

A graph is given by its train triples (and valid ones, to choose by); its test triples are kept for
the judge. Each test triple (h, r, t) asks (h, r, ?) and (?, r, t). Every entity is scored, those
that are known to be right answers too are left out ("filtered"), ties count half ("realistic"),
and the rank of the right answer is what all measures are made of. The terms that runs are compared
by are means over the two questions of a test triple, since the two are not independent.

Two more measures are of the negatives: `false_negative_rate`, the share of those drawn that valid
or test hold to be true, and `fallback_share`, the share that did not come from its pool because
the pool had nothing left.

What must be the same for a fair comparison stands under `protocol:`, once for all methods: the
model, its width and margin, how many negatives a triple meets.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bequeath.methods.family import Family, Settings

_SCRIPT = "readme command of the authors' code, RotatE on WN18RR"


class Protocol(Settings):
    """The embedding model and its diet, the same for every method."""

    model: Literal["transe", "rotate", "distmult", "complex"] = Field(
        "rotate",
        description="the score function: PyKEEN's TransE (L1), RotatE, DistMult or ComplEx",
        json_schema_extra={"source": _SCRIPT},
    )
    dim: int = Field(
        100,
        ge=1,
        le=10_000,
        description="width of a vector; complex for rotate and complex",
        json_schema_extra={"source": "for a laptop core; the authors use 500"},
    )
    margin: float = Field(
        6.0,
        ge=0,
        description="gamma, added to minus the distance (transe, rotate)",
        json_schema_extra={"source": _SCRIPT},
    )
    negatives: int = Field(
        50,
        ge=1,
        le=10_000,
        description="N, false triples for each true one",
        json_schema_extra={"source": _SCRIPT},
    )
    subsampling: bool = Field(
        True,
        description="whether triples of often asked questions count less (u in the loss)",
        json_schema_extra={"source": "the code of RotatE"},
    )
    l3: float = Field(
        0.0,
        ge=0,
        description="weight of the mean |w|^3 of all weights (of use for distmult and complex)",
        json_schema_extra={"source": "off in the authors' RotatE command"},
    )


FAMILY = Family(
    own="a knowledge graph, text about its entities",
    get="embeddings that answer questions about the graph",
    baselines=("uniform",),
    result=None,
    judge="none",
    trial=True,
    metrics={
        "mrr": "higher",
        "hits_at_1": "higher",
        "hits_at_3": "higher",
        "hits_at_10": "higher",
        "adjusted_mean_rank_index": "higher",
        "false_negative_rate": "lower",
        "fallback_share": "lower",
    },
    protocol=Protocol,
)
