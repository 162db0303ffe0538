"""GLC: which target samples are of no class of the source is found by clustering, one against all.

With z_i the unit embedding, p_i the prediction and C classes of the source, before each epoch:

    K      = r C, r of 1/4, 1/2, 1, 2, 3 by the silhouette of K-means on a t-SNE; in the first only
    w_c    = mean z of the N / K samples with the largest p_ic, normalised
    a_c    = rho + (1 - rho) * mean of these p_ic
    n_cm   = K-means centres of all other samples, m = 1..K, normalised
    y~_i   = c     if c = argmax_c <z_i, w_c> and a_c <z_i, w_c> >= max_m <z_i, n_cm>
           = 1/C   for every class otherwise: unknown

and for each batch, with q_i the mean prediction of the 4 nearest in a memory of all samples,

    L = eta mean_i CE(y~_i, p_i) + lambda mean_i CE(q_i, p_i)

after which the batch's rows of the memory are overwritten. The classifier is frozen. A sample is
unknown when H(p) / log C is above `protocol.threshold`.

Qu et al., "Upcycling Models under Domain and Category Shift", CVPR 2023, arXiv 2303.07110. The
authors report the best epoch by target labels; this is the last step.

Use it when the target may have classes the source never saw, or lack some, and you cannot say
which. It needs a source whose answers are right more often than not, and enough samples to cluster:
some tens of each class. Train the source with smoothed labels and a bottleneck (`bottleneck: 256`).
On a network without a bottleneck, whose features come straight from a ReLU, it has been seen to
reject nearly every sample and to make all answers unsure; the features are the suspects (their
cosines are all alike), which has not been tested. Look at `accepted_share` in the record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bequeath.methods.adapt._source_free import NEEDS, source_free
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context

SOURCE = "config of the paper's repository"


class Config(MethodConfig):
    eta: float = Field(
        0.3,
        ge=0,
        description="the weight of the one-vs-all pseudo-labels (1.5 on OfficeHome, DomainNet)",
        json_schema_extra={"source": f"{SOURCE}: Office-31, VisDA", "search": ["log", 0.1, 3.0]},
    )
    local: float = Field(
        1.0,
        ge=0,
        description="lambda, the weight of the neighbours' mean prediction",
        json_schema_extra={"source": SOURCE},
    )
    neighbours: int = Field(
        4,
        ge=1,
        le=1000,
        description="how many nearest neighbours",
        json_schema_extra={"source": SOURCE, "search": ["linear", 1, 10]},
    )
    drop: Literal["first", "self"] = Field(
        "first",
        description="who is no neighbour of a sample: the nearest found, or its own older row",
        json_schema_extra={"source": "the paper's repository"},
    )
    rho: float = Field(
        0.75,
        ge=0,
        le=1,
        description="least prior of a class; 1: no priors",
        json_schema_extra={"source": SOURCE},
    )
    ratio: float | None = Field(
        None,
        gt=0,
        le=100,
        description="r, classes of the target over those of the source; none: estimated",
        json_schema_extra={"source": "the paper: estimated in the first epoch"},
    )
    embed: Literal["tsne", "none"] = Field(
        "tsne",
        description="what the silhouette is taken of: a 2-d t-SNE, or the embedding itself",
        json_schema_extra={"source": "the paper's repository"},
    )
    estimate: int = Field(
        2000,
        ge=3,
        le=100_000,
        description="samples the estimate of r is made from, at most",
        json_schema_extra={"source": "ours: t-SNE in time; the authors take N / 3 of large sets"},
    )
    backbone: float = Field(
        0.1,
        ge=0,
        le=1,
        description="factor of the learning rate before a bottleneck, if the model has one",
        json_schema_extra={"source": "train_target.py of the paper's repository"},
    )

    @property
    def least_samples(self) -> int:
        """Fewer target samples than this are refused."""
        return max(4, self.neighbours + 1)


@method(
    want="adapt",
    paper="Qu et al. 2023, arXiv 2303.07110",
    needs=NEEDS,
    identity=(
        Identity("no training leaves the source as it was", "start", train={"epochs": 0}),
        Identity(
            "with both weights 0 nothing moves (no weight decay, no batch statistics)",
            "start",
            config={"eta": 0.0, "local": 0.0},
            train={"optimizer": {"name": "sgd", "weight_decay": 0.0}},
        ),
    ),
)
def glc(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Tells known from unknown by one-vs-all clusters and neighbours, then trains on both."""
    import torch

    from bequeath.blocks.bank import fill, vectors
    from bequeath.blocks.one_vs_all import class_ratio, negatives, one_vs_all
    from bequeath.losses.entropy import soft_cross_entropy
    from bequeath.train.terms import mean_over

    eps = 1e-5
    with source_free(ctx, given, backbone=cfg.backbone, least=cfg.least_samples) as this:
        model, bank, classes = this.model, this.bank, this.bank.predictions.shape[1]
        ratio = torch.tensor(cfg.ratio or 0.0, device=ctx.device)  # r; 0 until it is estimated
        bank.register_buffer("ratio", ratio)

        def cluster() -> None:
            fill(bank, model, this.tap, this.target)
            z, p = bank.features, bank.predictions
            if not ratio:
                ratio.fill_(class_ratio(z, classes, embed=cfg.embed, most=cfg.estimate)[0])
            g = ctx.rng("negatives", ctx.now.epoch)
            seed = int(torch.randint(2**31, (), generator=g))
            bank.targets.copy_(one_vs_all(z, p, float(ratio), rho=cfg.rho, seed=seed).targets)

        def step(batch):
            if bank.due(ctx.now.epoch):
                cluster()
            logits, idx = model(batch), batch["idx"]
            z = vectors(this.tap["embedding"]).detach()
            near = bank.neighbours(idx, z, cfg.neighbours, cfg.drop)
            q, y = bank.predictions[near].mean(dim=1), bank.targets[idx]
            bank.write(idx, z, logits.detach().softmax(dim=1))
            return {
                "global": mean_over(soft_cross_entropy(logits, y, eps), cfg.eta),
                "local": mean_over(soft_cross_entropy(logits, q, eps), cfg.local),
            }

        this.fit(ctx, step)
    notes = {}
    if int(bank.filled) >= 0:
        notes = {
            "class_ratio": float(ratio),
            "classes_estimated": negatives(float(ratio), classes),
            "accepted_share": float((bank.targets.amax(dim=1) == 1).double().mean()),
        }
    return Outcome(models={"model": model}, notes=notes)
