"""Canary exposure, extraction and membership: what a model keeps of its training data by heart.

Canaries are secrets that were hidden in the training text: a prefix, and behind it one of R texts
drawn at random. The model ranks all R of them by their likelihood after the prefix,

    exposure(s) = log2 R - log2 rank(s)

log2 R bits when the secret is its first guess, 1.44 on average when it has never seen it. Spaces up
to `enumerate` are gone through whole; of larger ones `samples` secrets are drawn and a skew-normal
distribution fitted to -log p tells the rank (not above log2 R; the fit is tested and its p-value
reported). Besides: does the secret come out when the likeliest token is taken again and again, or
from a beam search among the secrets there could be? Every candidate should be cut into as many
tokens; where a tokenizer does not (`uneven_tokens` in the notes), whole texts are compared.

Carlini, Liu, Erlingsson, Kos, Song, "The Secret Sharer: Evaluating and Testing Unintended
Memorization in Neural Networks", USENIX Security 2019, arXiv 1802.08232.

With members (samples the model was trained on) and nonmembers (of the same kind, and not), of texts
or of a classifier's samples, the loss tells one from the other: `mia_auc` is the chance that a
member has the lower loss, 0.5 for a model that does not give it away.

    Yeom, Giacomelli, Fredrikson, Jha, "Privacy Risk in Machine Learning: Analyzing the Connection
    to Overfitting", CSF 2018, arXiv 1709.01604.

Use it before a model that saw private text is handed on, with ten canaries or more; one canary is
an anecdote. Hide them with `canaries:` in a `text:` data set, or in your own pipeline from a CSV
file, and name the same reference here. No exposure above chance is no proof that nothing leaks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MethodConfig):
    model: str = Field(
        "model",
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,59}$",
        description="the role of the model to audit, to have several in one job",
        json_schema_extra={"source": "ours"},
    )
    enumerate: int = Field(
        1_000_000,
        ge=1,
        le=100_000_000,
        description="the largest number of possible secrets that are all asked about",
        json_schema_extra={"source": "standard practice: six digits"},
    )
    samples: int = Field(
        10_000,
        ge=100,
        le=10_000_000,
        description="secrets drawn where there are more, to fit their distribution",
        json_schema_extra={"source": "ours"},
    )
    beams: int = Field(
        8,
        ge=1,
        le=1024,
        description="width of the beam search for a secret",
        json_schema_extra={"source": "ours"},
    )


def needs(cfg: Config) -> Needs:
    return Needs(
        models={cfg.model: ModelNeed(Access.LOGITS)},
        data={
            "canaries": DataNeed(Labels.NONE, optional=True),
            "members": DataNeed(Labels.ALL, optional=True),
            "nonmembers": DataNeed(Labels.ALL, optional=True),
        },
        answers="both",
    )


@method(
    want="audit",
    paper="Carlini, Liu, Erlingsson, Kos, Song 2019, arXiv 1802.08232",
    needs=needs,
    identity=(
        Identity(
            "a space that is gone through whole leaves nothing to chance: how many would have been "
            "drawn of a larger one is all the same",
            "exposure",
            config={"samples": 200, "enumerate": 5_000},
        ),
    ),
)
def exposure(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """How much of hidden secrets a model kept, and whether it tells members by their loss."""
    from bequeath.blocks.canaries import Found, audit, canaries_in
    from bequeath.blocks.listen import losses
    from bequeath.methods.audit import Audit

    model = given.model(cfg.model).predictor()
    canaries = canaries_in(given.data("canaries")) if given.has_data("canaries") else []
    found = Found(ctx.store / "canaries.json")  # what an earlier sitting found out
    how = {"most": cfg.enumerate, "samples": cfg.samples, "beams": cfg.beams}
    for i, canary in enumerate(canaries):
        if i not in found:
            found[i] = audit(model, canary, ctx.rng("canaries", i), **how)
    sides = [
        losses(model, given.data(side), ctx.device) if given.has_data(side) else None
        for side in ("members", "nonmembers")
    ]
    kept = [found[i] for i in range(len(canaries))]
    return Outcome(answer=Audit(cfg.model, canaries, kept, *sides))
