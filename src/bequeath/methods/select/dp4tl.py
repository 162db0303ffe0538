"""DP4TL: keep the source classes that the target's inputs look like to a small surrogate.

The surrogate f = g o h is trained once on the whole source. Each target training input votes:

    label     c_j = argmax_c f(x_j)_c                          over the source's classes
    feature   c_j = argmin_c |h(x_j) - m_c|                    m_c the mean of cluster c

n_c = #{j : c_j = c}; the classes (or clusters) with most votes stay, with all of their
samples. Clusters are k-means of h over the source, so `feature` needs no source labels where the
surrogate comes trained. Target labels are never used. Ties, most often between classes without a
vote, are drawn under the seed, in one order for all cuts.

Zhang et al., "Selectivity Drives Productivity", NeurIPS 2023, arXiv 2310.08782. The released
scorer of `feature` ranks by sample instead of class; this is the paper's text. `order: bottom` is
the control that keeps what the target looks like least.

Use it to pre-train cheaply for one target when the source is larger than what the target needs.
With more classes kept than have votes, the rest is a random choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.kernel.errors import Problem, RunError
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method
from bequeath.methods.select import Selection

if TYPE_CHECKING:
    from torch import Tensor

    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MethodConfig):
    mapping: Literal["label", "feature"] = Field(
        "label",
        description="votes for classes by the surrogate's answer, or for clusters by its features",
        json_schema_extra={"source": "the paper: LM for labelled sources, FM for others"},
    )
    keep: float = Field(
        0.4,
        gt=0,
        le=1,
        description="share of the classes (or clusters) kept, at least one",
        json_schema_extra={"source": "the paper prunes 40 to 80 % without loss"},
    )
    order: Literal["top", "bottom"] = Field(
        "top",
        description="keep those with most votes, or, as a control, with fewest",
        json_schema_extra={"source": "the paper"},
    )
    epochs: int = Field(
        16,
        ge=0,
        description="passes over the source that train the surrogate; 0: it comes trained",
        json_schema_extra={"source": "README of the DP4TL repository"},
    )
    clusters: int | None = Field(
        None,
        ge=2,
        description="`feature`: how many clusters (default: as many as the source has classes)",
        json_schema_extra={"source": "the class count, unverified"},
    )


def needs(cfg: Config) -> Needs:
    blind = cfg.mapping == "feature" and cfg.epochs == 0
    return Needs(
        models={
            "surrogate": ModelNeed(
                Access.WEIGHTS, trains=cfg.epochs > 0, embedding=cfg.mapping == "feature"
            ),
            "model": ModelNeed(Access.WEIGHTS, optional=True),
        },
        data={
            "source": DataNeed(Labels.NONE if blind else Labels.ALL),
            "target": DataNeed(Labels.NONE),
        },
    )


@method(
    want="select",
    paper="Zhang et al. 2023, arXiv 2310.08782",
    needs=needs,
    identity=(
        Identity("all classes kept is the source whole", "start", config={"keep": 1.0}),
        Identity(
            "all clusters kept is the source whole",
            "start",
            config={"mapping": "feature", "clusters": 4, "keep": 1.0},
        ),
    ),
)
def dp4tl(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Keeps the source classes that unlabelled target inputs look like to a small surrogate."""
    from bequeath.blocks.class_mapping import ranked, rows_of_classes, votes_by_label
    from bequeath.train.fit import Until
    from bequeath.train.many import cross_entropy_step

    source, target = given.data("source"), given.data("target")
    surrogate = given.model("surrogate").load()
    if cfg.epochs:
        step = cross_entropy_step(surrogate)
        ctx.fit(surrogate, source, step, until=Until(epochs=cfg.epochs), name="surrogate")
    surrogate.eval().requires_grad_(False)
    if cfg.mapping == "label":
        y = source.labels
        assert y is not None, "the gate refuses a source without labels"
        votes = votes_by_label(_answers(surrogate, target, ctx), len(source.classes))
    else:
        y, votes = _clusters(ctx, surrogate, source, target, cfg.clusters)
    order = ranked(votes, ctx.rng("ties"))
    chosen = (order if cfg.order == "top" else order.flip(0))[
        : max(1, round(cfg.keep * len(order)))
    ]
    rows = rows_of_classes(y, chosen)
    names = source.classes if cfg.mapping == "label" else range(len(votes))
    selection = Selection(
        {"source": 1.0},
        rows={"source": rows.numpy()},
        scores={str(name): float(n) for name, n in zip(names, votes.tolist())},
    )
    notes = {
        "kept": [str(names[k]) for k in chosen.tolist()],
        "with_votes": int((votes > 0).sum()),
        "votes_kept": float(votes[chosen].sum() / votes.sum()),
    }
    return Outcome(answer=selection, notes=notes)


def _answers(model: Any, data: Any, ctx: Context) -> Any:
    """The model's logits for all samples, batch by batch, without views or gradients."""
    import torch

    with torch.no_grad():
        for idx in torch.arange(len(data)).split(512):
            yield model(data.to(ctx.device).fetch(idx.to(ctx.device)))


def _clusters(
    ctx: Context, surrogate: Any, source: Any, target: Any, clusters: int | None
) -> tuple[Tensor, Tensor]:
    """k-means of the source's features: the cluster of each sample, and the target's votes."""
    import torch
    from sklearn.cluster import KMeans

    from bequeath.blocks.class_mapping import votes_by_feature
    from bequeath.blocks.taps import Tap, Taps

    with Taps(surrogate.module, {"h": Tap(surrogate.facts.head, "input")}) as tap:
        h = torch.cat([tap["h"].flatten(1).cpu() for _ in _answers(surrogate, source, ctx)])
        seed = ctx.rng("clusters").initial_seed() % 2**32
        k = min(clusters or len(source.classes), len(h))
        if k < 1:
            message = "the source has no classes, so it is not known how many clusters there are"
            raise RunError(Problem("G456", message, ("method",), "", ("say `clusters: N`",)))
        means = KMeans(k, n_init=4, random_state=seed).fit(h.double().numpy())
        centres = torch.from_numpy(means.cluster_centers_)
        looks = (tap["h"].flatten(1).cpu() for _ in _answers(surrogate, target, ctx))
        votes = votes_by_feature(looks, centres)
    return torch.from_numpy(means.labels_).long(), votes
