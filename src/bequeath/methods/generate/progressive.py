"""Progressive distillation: halve the steps of a sampler, again and again.

A student that begins as its teacher learns to do in one DDIM step what the teacher does in two.
With times t > m > s a half step apart, x_m and x_s the teacher's two steps from x_t, the student's
view of x_0 that would lead from x_t to x_s at once is

    target = (x_s - (sigma_s / sigma_t) x_t) / (alpha_s - (sigma_s / sigma_t) alpha_t)
    L      = E  max(1, alpha_t^2 / sigma_t^2) || x_0(x_t, t) - target ||^2

and then it is the teacher of the next halving. x_t is data with noise, at one of the sampler's own
times. Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", 2022,
arXiv 2202.00512; the weight is its truncated SNR.

The training is divided evenly among the halvings. It needs data, which BOOT does not.
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
    steps: int = Field(
        1,
        ge=1,
        le=1024,
        description="K, calls of the network for a sample at the end",
        json_schema_extra={"source": "as many as a one-step generator"},
    )
    halvings: int = Field(
        4,
        ge=0,
        le=12,
        description="it begins with K 2^halvings steps of the teacher",
        json_schema_extra={"source": "16 to 1 here; the paper begins at 1024 or 8192"},
    )


@method(
    want="generate",
    paper="Salimans and Ho 2022, arXiv 2202.00512",
    needs=Needs(
        models={"teacher": ModelNeed(Access.WEIGHTS)},
        data={"train": DataNeed(Labels.NONE)},
        answers="noise",
    ),
    identity=(Identity("without a halving it is `ddim`", "ddim", config={"halvings": 0}),),
)
def progressive(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Distils two steps of a sampler into one, again and again; needs data."""
    import copy

    import torch

    from bequeath.blocks.diffusion import generator, learning, schedule
    from bequeath.blocks.diffusion.bootstrap import still
    from bequeath.blocks.diffusion.halving import two_steps
    from bequeath.train.fit import Until
    from bequeath.train.terms import mean_over

    train = given.data("train")
    model = given.model("teacher").load()
    levels = schedule.named(generator.diffusion(model, "teacher").schedule)

    def halve(teacher, steps):
        """A student that goes in `steps` steps where the teacher goes in twice as many."""
        student = copy.deepcopy(teacher)
        f, net = teacher.module.requires_grad_(False), student.module

        def step(batch):
            x0 = student.preprocess(batch, ctx.device)
            noise, u = learning.noisy(x0, ctx.rng, learning.counters(ctx.now.step, batch["idx"]))
            t = net.t_max * (1 - torch.floor(u * steps) / steps)
            s = (t - net.t_max / steps).clamp(min=0)
            alpha, sigma = net.levels(t)
            x = alpha * x0 + sigma * noise
            with still(teacher):
                wanted = two_steps(f.data, x, t, s, levels)
            weight = (alpha / sigma).square().clamp(min=1)
            loss = weight * (net.data(x, t) - wanted).square()
            return {"halving": mean_over(loss.flatten(1).mean(1))}

        return student, step

    for part in range(cfg.halvings):
        steps = cfg.steps * 2 ** (cfg.halvings - 1 - part)
        model, step = halve(model, steps)
        until = Until(share=(part / cfg.halvings, (part + 1) / cfg.halvings))
        ctx.fit(model, train, step, until=until, name=f"to-{steps}-steps")
    return Outcome(models={"model": generator.walking(model, sampler="ddim", steps=cfg.steps)})
