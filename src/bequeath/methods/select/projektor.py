"""projektor: predict what any mixture of sources gives at any size, from small samples; choose one.

A learner is trained on small draws D(n, p) from the pilots, at two sizes n0 < n1 and on a grid of
mixtures p. How far a draw is from the validation data, OT(n, p), is known without training. For
each size performance is a linear model of both,

    L_n(p) = [b0 + sum_i (b1_i p_i + b2_i p_i^2)] OT(n, p) + [c0 + sum_i (c1_i p_i + c2_i p_i^2)]

(the last share is left out), and performance is linear in log n, so that at any N

    L_N(p) = [log(N/n0) L_n1(p) - log(N/n1) L_n0(p)] / log(n1/n0).

No OT at N is needed. The mixture climbs along

    dL_n/dp_i = (b0 + ...) dOT/dp_i + (b1_i + 2 b2_i p_i) OT + c1_i + 2 c2_i p_i

combined over both sizes, with dOT/dp_i from the dual potentials f,

    mean_i f - sum_{k != i} p_k mean_k f / (1 - p_i)

turned into a tangent vector of the simplex and projected back after every step.

Kang et al., "Performance Scaling via Optimal Transport", NeurIPS 2023, arXiv 2307.02460. Other
than the released example: performance is accuracy and higher is better, the learner is measured in
evaluation mode, both sizes count in the gradient, and the mixture stays on the simplex. `form` has
the paper's ablations.

Use it when sources are only seen in samples and the learner is cheap to train on a few hundred.
Fitted to few mixtures the squares of the paper's form carry noise far: for mixtures unlike those
that were tried, look at `form: ot-linear` or `pseudo-linear` beside it.
Far beyond n1 a law in log n promises too much: see `size_over_largest_trial` in the notes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context

CODE = "the projektor repository"


class Config(MethodConfig):
    form: Literal["pseudo-quadratic", "pseudo-linear", "ot-linear"] = Field(
        "pseudo-quadratic",
        description="the surface over mixtures: the paper's, without squares, or in OT alone",
        json_schema_extra={"source": "the paper; the others are its ablations"},
    )
    law: Literal["log-linear", "power"] = Field(
        "log-linear",
        description="how performance goes with size: linear in log n, or the error as n^-b",
        json_schema_extra={"source": "the paper"},
    )
    lam_x: float = Field(
        1.0,
        ge=0,
        description="weight of the features' distance",
        json_schema_extra={"source": CODE},
    )
    lam_y: float = Field(
        1.0, ge=0, description="weight of the classes' distance", json_schema_extra={"source": CODE}
    )
    inner: Literal["exact", "gaussian", "none"] = Field(
        "exact",
        description="distance between classes: exact transport, Gaussians, or none",
        json_schema_extra={"source": CODE},
    )
    blur: float = Field(
        0.0,
        ge=0,
        description="0: exact transport; above: entropy blur^2, debiased",
        json_schema_extra={"source": f"exact duals; {CODE} has 0.01, nearly exact at its scale"},
    )
    components: int = Field(
        32,
        ge=1,
        description="principal components of the raw values, where there is no `embedder`",
        json_schema_extra={"source": "ours; the authors embed with a network trained elsewhere"},
    )
    validation: int = Field(
        1000,
        ge=2,
        description="validation samples that distances look at, at most",
        json_schema_extra={"source": "ours"},
    )
    rate: float = Field(
        0.1,
        gt=0,
        le=1,
        description="length of the first step on the simplex",
        json_schema_extra={"source": f"ours; {CODE} multiplies the raw gradient by 5e-4"},
    )
    decay: float = Field(
        0.9, gt=0, le=1, description="of the step's length", json_schema_extra={"source": CODE}
    )
    steps: int = Field(100, ge=0, description="steps, at most", json_schema_extra={"source": CODE})


@method(
    want="select",
    paper="Kang et al. 2023, arXiv 2307.02460",
    needs=Needs(
        models={
            "model": ModelNeed(Access.WEIGHTS, trains=True),
            "embedder": ModelNeed(Access.WEIGHTS, optional=True, embedding=True),
        },
        data={"validation": DataNeed(Labels.ALL), "*": DataNeed(Labels.ALL, at_least=2)},
    ),
    identity=(Identity("without a step it stays at equal shares", "uniform", config={"steps": 0}),),
)
def projektor(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Predicts any mixture at any size by optimal transport after small trials; picks the best."""
    from bequeath.methods.select._distances import Distances, embedded
    from bequeath.methods.select._law import choose

    ask = given.protocol
    roles = [*ask.sources, "validation"]
    points = embedded(ctx, given, roles, components=cfg.components, most=cfg.validation)
    distances = Distances(
        ask,
        [points[role] for role in ask.sources],
        points["validation"],
        {"lam_x": cfg.lam_x, "lam_y": cfg.lam_y, "inner": cfg.inner, "blur": cfg.blur},
    )
    selection, notes = choose(
        ctx,
        ask,
        form=cfg.form,
        law=cfg.law,
        rate=cfg.rate,
        decay=cfg.decay,
        steps=cfg.steps,
        distances=distances,
    )
    return Outcome(answer=selection, notes=notes)
