"""Laws of the mixture alone: performance as a polynomial of the shares, distances left out.

    linear      L_n(p) = b0 + sum_i b1_i p_i
    quadratic   L_n(p) = b0 + sum_i (b1_i p_i + b2_i p_i^2)

fitted to small trials at two sizes and carried to N by a law in n: linear in log n as in
`projektor`, or `power`: the error of each mixture falls as n^-b (two sizes leave no room for an
offset). The mixture climbs along the carried surface.

The regressions that Kang et al. 2023, arXiv 2307.02460, compare `projektor` with. The compositional
law of Hashimoto 2021 is not here.

Use it to see whether the distances of `projektor` are worth their cost, or where the data cannot be
embedded. Between the mixtures that were tried it does as well; beyond them it is a guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context

PAPER = "the paper's comparisons"


class Config(MethodConfig):
    form: Literal["linear", "quadratic"] = Field(
        "quadratic",
        description="degree of the polynomial in the shares (no products of two)",
        json_schema_extra={"source": PAPER},
    )
    law: Literal["log-linear", "power"] = Field(
        "log-linear",
        description="how performance goes with size: linear in log n, or the error as n^-b",
        json_schema_extra={"source": PAPER},
    )
    rate: float = Field(
        0.1,
        gt=0,
        le=1,
        description="length of the first step on the simplex",
        json_schema_extra={"source": "as `projektor`"},
    )
    decay: float = Field(
        0.9,
        gt=0,
        le=1,
        description="of the step's length",
        json_schema_extra={"source": "as `projektor`"},
    )
    steps: int = Field(
        100, ge=0, description="steps, at most", json_schema_extra={"source": "as `projektor`"}
    )


@method(
    want="select",
    paper="compared with in Kang et al. 2023, arXiv 2307.02460",
    needs=Needs(
        models={"model": ModelNeed(Access.WEIGHTS, trains=True)},
        data={"validation": DataNeed(Labels.ALL), "*": DataNeed(Labels.ALL, at_least=2)},
    ),
    identity=(Identity("without a step it stays at equal shares", "uniform", config={"steps": 0}),),
)
def mixture_law(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Predicts any mixture at any size by its shares alone, after small trials; picks the best."""
    from bequeath.methods.select._law import choose

    selection, notes = choose(
        ctx,
        given.protocol,
        form=cfg.form,
        law=cfg.law,
        rate=cfg.rate,
        decay=cfg.decay,
        steps=cfg.steps,
    )
    return Outcome(answer=selection, notes=notes)
