"""BOOT: a one-step generator from a diffusion teacher, without any data.

Each noise eps leads the teacher's deterministic walk to one sample. x_t = alpha_t y_t + sigma_t eps
with the same eps all the way, and the signal y obeys dy/dlambda = f(x_t, t) - y, lambda =
log(alpha / sigma), f the teacher's view of x_0. A student y(eps, t) learns it from its own answer
at the noisier time: with s = t - delta and d = 1 - exp(lambda_t - lambda_s),

    target = stop[ y(eps, t) + d (f(alpha_t y(eps, t) + sigma_t eps, t) - y(eps, t)) ]
    L      = E || y(eps, s) - target ||^2 / d^2  +  beta E || y(eps, T) - f(eps, T) ||^2

The second term holds the beginning of the walk; what is learnt flows from noise to data. Dividing
by d^2 puts all times on one scale. A sample is y(eps, 0): one call, and no refinement beyond it.

Gu et al., "BOOT: Data-free Distillation of Denoising Diffusion Models with Bootstrapping", 2023,
arXiv 2306.05544. No code was released: the step, beta and the learning rate are not the paper's.
Without `models.student`, the student begins as a copy of the teacher. Its input is always pure
noise, so its answer is read at the noise level of T, whatever time it is asked for.

Use it where the data are gone. Published one-step samples are about as good as DDIM in ten steps,
and less varied than the teacher's: look at recall and coverage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bequeath.given.access import Access, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context

UNVERIFIED = "unverified: the card's safe start"


class Config(MethodConfig):
    delta: float = Field(
        0.01,
        gt=0,
        le=0.5,
        description="the step in time, as a share of T",
        json_schema_extra={"source": f"{UNVERIFIED}, 1/100", "search": ["log", 0.004, 0.1]},
    )
    bootstrap: float = Field(
        1.0, ge=0, description="weight of the bootstrapping term", json_schema_extra={"source": "1"}
    )
    boundary: float = Field(
        1.0,
        ge=0,
        description="beta, weight of the term at T; 0: an ablation",
        json_schema_extra={"source": f"{UNVERIFIED}, of order 1", "search": ["log", 0.1, 10]},
    )
    scaled: bool = Field(
        True,
        description="divide by d^2; false: an ablation",
        json_schema_extra={"source": "the paper; its further weight w is unverified and 1 here"},
    )
    order: Literal[1, 2] = Field(
        1,
        description="of the teacher's step: DDIM, or Heun with two calls of the teacher",
        json_schema_extra={"source": "the paper uses DDIM"},
    )


@method(
    want="generate",
    paper="Gu et al. 2023, arXiv 2306.05544",
    needs=Needs(
        models={
            "teacher": ModelNeed(Access.WEIGHTS),
            "student": ModelNeed(Access.WEIGHTS, trains=True, optional=True),
        },
        answers="noise",
    ),
    identity=(
        Identity(
            "a copy of the teacher meets the boundary term exactly, and stays as it is",
            "start",
            config={"bootstrap": 0.0},
            train={"optimizer": {"name": "sgd", "lr": 0.1, "weight_decay": 0.0}},
        ),
    ),
)
def boot(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Distils a diffusion model into a one-step generator, without data."""
    import copy

    from bequeath.blocks.diffusion import bootstrap, generator, schedule
    from bequeath.blocks.diffusion.noise import NoiseBatches
    from bequeath.train.terms import mean_over

    teacher = given.model("teacher").load()
    own = given.has_model("student")
    student = given.model("student").load() if own else copy.deepcopy(teacher)
    f = generator.diffusion(teacher, "teacher").requires_grad_(False).data
    student = generator.walking(student, sampler="direct", steps=1, like=teacher)
    net = generator.diffusion(student, "student")
    levels, T = schedule.named(net.schedule), net.t_max
    delta = cfg.delta * T
    rank = ctx.processes.rank
    noise = NoiseBatches(ctx.rng, net.shape, ctx.train.batch_size, ctx.device, rank)

    def step(batch):
        eps = batch["noise"]
        t = delta + (T - delta) * batch["time"]
        s = (t - delta).clamp(min=0)
        end = t.new_full((len(t),), T)
        with bootstrap.still(student):
            first = f(eps, end)
            wanted, d = bootstrap.target(net.signal, f, eps, t, s, levels, order=cfg.order)
        moved = (net.signal(eps, s) - wanted) / (d if cfg.scaled else 1.0)
        begun = net.signal(eps, end) - first
        return {
            "bootstrap": mean_over(moved.square().flatten(1).mean(1), cfg.bootstrap),
            "boundary": mean_over(begun.square().flatten(1).mean(1), cfg.boundary),
        }

    ctx.fit(student, noise, step)
    calls = ctx.fits["fit"].steps * ctx.train.batch_size * ctx.train.accumulate * (1 + cfg.order)
    return Outcome(models={"model": student}, notes={"teacher_calls": calls})
