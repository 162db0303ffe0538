"""SHOT: the classifier stays, features move until the target's answers are sure and diverse.

With p_i = softmax(h(z_i)), h the frozen classifier and z_i the features that go into it,

    L = mean_i H(p_i) - H(mean_i p_i) + beta mean_i CE(p_i, y^_i)

The pseudo-labels y^ are made anew before each epoch, from all target samples without augmentation:

    c_k  = sum_i p_ik z_i / sum_i p_ik          y^_i = argmax_k cos(z_i, c_k)
    c_k' = mean of z_i with y^_i = k            y^_i = argmax_k cos(z_i, c_k')

Liang, Hu, Feng, "Do We Really Need to Access the Source Data? Source Hypothesis Transfer for
Unsupervised Domain Adaptation", ICML 2020, arXiv 2002.08546.

Use it when source and target have the same classes. Every sample is pulled to some class of the
source, and all classes to equal shares: unknown samples are made to look known, and where classes
are missing (`partial`) set `diversity: 0`, as its authors do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bequeath.methods.adapt._source_free import NEEDS, source_free
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MethodConfig):
    entropy: float = Field(
        1.0,
        ge=0,
        description="the weight of each answer's entropy",
        json_schema_extra={"source": "the paper"},
    )
    diversity: float = Field(
        1.0,
        ge=0,
        description="the weight of the entropy of the batch's mean answer",
        json_schema_extra={"source": "the paper; its authors leave it out in the partial setting"},
    )
    beta: float = Field(
        0.3,
        ge=0,
        description="the weight of the pseudo-labels",
        json_schema_extra={
            "source": "the paper's object recognition; 0.1 on digits (unverified)",
            "search": ["log", 0.05, 1.0],
        },
    )
    backbone: float = Field(
        0.1,
        ge=0,
        le=1,
        description="factor of the learning rate before a bottleneck, if the model has one",
        json_schema_extra={"source": "the paper's code"},
    )


@method(
    want="adapt",
    paper="Liang et al. 2020, arXiv 2002.08546",
    needs=NEEDS,
    identity=(
        Identity("no training leaves the source as it was", "start", train={"epochs": 0}),
        Identity(
            "with every weight 0 nothing moves (no weight decay, no batch statistics)",
            "start",
            config={"entropy": 0.0, "diversity": 0.0, "beta": 0.0},
            train={"optimizer": {"name": "sgd", "weight_decay": 0.0}},
        ),
    ),
)
def shot(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Sure and diverse answers, and clustered pseudo-labels, under a frozen classifier."""
    from torch.nn import functional as F

    from bequeath.blocks.bank import fill
    from bequeath.blocks.prototypes import cosines, soft_means
    from bequeath.losses.entropy import entropy, marginal_entropy
    from bequeath.train.terms import Term, mean_over

    with source_free(ctx, given, backbone=cfg.backbone) as this:
        model, bank = this.model, this.bank

        def label() -> None:
            fill(bank, model, this.tap, this.target)
            z, classes = bank.features, bank.predictions.shape[1]
            centres = soft_means(z, bank.predictions)
            hot = F.one_hot(cosines(z, centres).argmax(dim=1), classes).to(z.dtype)
            # a class that nobody is nearest to keeps its first centre
            centres = soft_means(z, hot).where(hot.any(dim=0)[:, None], centres)
            nearest = cosines(z, centres).argmax(dim=1)
            bank.targets.copy_(F.one_hot(nearest, classes))

        def step(batch):
            if bank.due(ctx.now.epoch):
                label()
            logits = model(batch)
            n, y = len(logits), bank.targets[batch["idx"]].argmax(dim=1)
            return {
                "entropy": mean_over(entropy(logits), cfg.entropy),
                "diversity": Term(-marginal_entropy(logits) * n, n, cfg.diversity),
                "pseudo": mean_over(F.cross_entropy(logits, y, reduction="none"), cfg.beta),
            }

        this.fit(ctx, step)
    return Outcome(models={"model": model})
