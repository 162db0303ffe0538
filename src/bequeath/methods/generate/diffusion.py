"""Training a diffusion model: a network learns to take away noise of every strength.

With x_t = alpha_t x_0 + sigma_t eps, t uniform in (0, t_max), and g what the network should say
(v, x_0 or eps, as the model is declared),

    L = E || net(x_t, t) - g ||^2

Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020, arXiv 2006.11239; v: Salimans
and Ho 2022, arXiv 2202.00512. In continuous time, with the times of a batch spread evenly (Kingma
et al. 2021, arXiv 2107.00630, appendix I.1).

Use it for a teacher. Averages of the weights (`train.ema`) make better samples; papers use 0.9999,
which needs some 100 000 steps, and 0.99 or 0.999 serve shorter runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MethodConfig):
    steps: int = Field(
        50,
        ge=1,
        le=10_000,
        description="in how many DDIM steps the trained model makes its samples",
        json_schema_extra={"source": "Song, Meng, Ermon 2020, table 1: little is gained above 50"},
    )


@method(
    want="generate",
    paper="Ho, Jain, Abbeel 2020, arXiv 2006.11239",
    needs=Needs(
        models={"model": ModelNeed(Access.WEIGHTS, trains=True)},
        data={"train": DataNeed(Labels.NONE)},
        answers="noise",
    ),
    identity=(
        Identity(
            "no training leaves the model as it was", "start", train={"epochs": 0, "steps": None}
        ),
    ),
)
def diffusion(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Trains a diffusion model on your data: the teacher of the others."""
    from bequeath.blocks.diffusion import generator, learning
    from bequeath.train.terms import mean_over

    model = given.model("model").load()
    net = generator.diffusion(model, "model")

    def step(batch):
        x: Any = model.preprocess(batch, ctx.device)
        noise, u = learning.noisy(x, ctx.rng, learning.counters(ctx.now.step, batch["idx"]))
        return {"denoising": mean_over(learning.denoising(net, x, noise, u * net.t_max))}

    ctx.fit(model, given.data("train"), step)
    return Outcome(models={"model": generator.walking(model, sampler="ddim", steps=cfg.steps)})
