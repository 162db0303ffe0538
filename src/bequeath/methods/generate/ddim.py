"""The teacher itself, in few steps: no training at all.

The probability-flow ODE walked with the denoiser held still over each step,

    x_s = alpha_s f(x_t, t) + sigma_s (x_t - alpha_t f(x_t, t)) / sigma_t

at `steps` equally spaced times. Song, Meng, Ermon, "Denoising Diffusion Implicit Models", 2020,
arXiv 2010.02502 (eta = 0).

The baseline of every distillation of a diffusion model: at the same number of steps it costs
nothing. One step of it gives the mean of the data, near enough; ten to fifty give samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bequeath.given.access import Access, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context


class Config(MethodConfig):
    steps: int = Field(
        1,
        ge=1,
        le=10_000,
        description="K, calls of the network for a sample",
        json_schema_extra={"source": "as many as a one-step generator", "search": ["log", 1, 100]},
    )


@method(
    want="generate",
    paper="Song, Meng, Ermon 2020, arXiv 2010.02502",
    needs=Needs(models={"teacher": ModelNeed(Access.WEIGHTS)}, answers="noise"),
    identity=(Identity("whatever the number of steps, its weights are the teacher's", "start"),),
)
def ddim(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """The teacher sampled in few deterministic steps: the baseline without training."""
    from bequeath.blocks.diffusion.generator import diffusion, walking

    teacher = given.model("teacher").load()
    diffusion(teacher, "teacher")
    return Outcome(models={"model": walking(teacher, sampler="ddim", steps=cfg.steps)})
