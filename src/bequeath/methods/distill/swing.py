"""Swing distillation: a temperature and noise of each token's own, so that secrets stay behind.

A teacher that learnt its text by heart hands its secrets on with its soft targets. Where a position
is likely to hold something private, rho_i near 1, the teacher's say is flattened and disturbed and
the label counts less; elsewhere, rho_i = 0, it is plain distillation.

    tau_i = map(rho_i), from temperature (rho 0) to temperature_max (rho 1)
    q_i   = renormalise( max( softmax(z_T,i / tau_i) + n_i, 0 ) )
    L     = mean over tokens of  hard (1 - rho_i) CE(z_S,i, x_i)
                               + soft tau_S,i^2 KL( q_i || softmax(z_S,i / tau_S,i) )

"Swing Distillation: A Privacy-Preserving Knowledge Distillation Framework", 2022, arXiv 2212.08349.
There is no public code, and the tables are unverified here. Our reading (R) of the abstract are:
the sources of rho, the form of the map, the noise (Laplace or normal, one number a class, its scale
2 / epsilon), the factor 1 - rho_i of the labels, and the student's temperature.

rho_i comes from a detector (patterns in the text, the token itself among it), from the teacher's
mass on private tokens (seen from the context alone), or from what the teacher knows of the token
and a reference, or the student so far, does not. Looking at the token is allowed in training only.

Which temperature the student is read at decides. `matching` divides both models' logits by tau_i,
and a hot softmax compared with a hot one compares logits: the secret goes over all the same. With
`base` the student answers at the base temperature for a target that is flat.

epsilon is a knob, not a certificate: nothing here bounds what all answers together give away. Judge
it with canaries (`data.canaries`), beside the quality on clean text: less exposure can also be got
by learning less.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context

OURS = "ours: the paper's abstract fixes no value"
READING = "our reading (R) of the abstract"


class Config(MethodConfig):
    score: Literal["detector", "vocabulary", "memorisation", "none"] = Field(
        "detector",
        description="where rho is from: patterns in the text, the teacher's mass on private "
        "tokens, what only the teacher knows; none: 0 everywhere",
        json_schema_extra={"source": READING},
    )
    patterns: tuple[str, ...] = Field(
        (),
        description="detector: regular expressions of what is private (none: numbers of three "
        "digits and more but years, digits in groups, addresses of e-mail)",
        json_schema_extra={"source": OURS},
    )
    private: str = Field(
        "0123456789",
        min_length=1,
        description="vocabulary: the characters that private tokens are made of",
        json_schema_extra={"source": OURS},
    )
    scale: float = Field(
        2.0,
        gt=0,
        description="memorisation: nats that the teacher knows more for a rho of 0.76",
        json_schema_extra={"source": OURS, "search": ["log", 0.5, 8.0]},
    )
    temperature: float = Field(
        2.0,
        gt=0,
        le=1000,
        description="tau_0, where nothing is private",
        json_schema_extra={"source": OURS, "search": ["log", 1.0, 4.0]},
    )
    temperature_max: float = Field(
        20.0,
        gt=0,
        le=1e6,
        description="tau_max, where everything is",
        json_schema_extra={"source": f"{OURS}; the card says 10 and more"},
    )
    map: Literal["linear", "exponential", "step"] = Field(
        "linear",
        description="how the temperature rises with rho",
        json_schema_extra={"source": READING},
    )
    threshold: float = Field(
        0.5,
        gt=0,
        le=1,
        description="`map: step`: the rho from which it is temperature_max",
        json_schema_extra={"source": OURS},
    )
    student: Literal["base", "matching", "one"] = Field(
        "base",
        description="the temperature of the student: tau_0, tau_i, or 1",
        json_schema_extra={"source": f"{READING}; `base` is ours, see above"},
    )
    noise: Literal["none", "laplace", "normal"] = Field(
        "laplace", description="of the soft targets", json_schema_extra={"source": READING}
    )
    epsilon: float = Field(
        10.0,
        gt=0,
        description="the noise has the scale 2 / epsilon",
        json_schema_extra={"source": f"{OURS}; the card sweeps 0.1 to 10"},
    )
    noise_where: Literal["private", "everywhere"] = Field(
        "private",
        description="private: the scale times rho_i",
        json_schema_extra={"source": READING},
    )
    hard: float = Field(
        0.5, ge=0, description="the weight of the labels", json_schema_extra={"source": OURS}
    )
    soft: float = Field(
        0.5,
        ge=0,
        description="the weight of the teacher's probabilities",
        json_schema_extra={"source": OURS},
    )

    @field_validator("patterns")
    @classmethod
    def _compiles(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"`{pattern}` is no regular expression: {error}") from None
        return patterns


def needs(cfg: Config) -> Needs:
    models = {
        "teacher": ModelNeed(Access.LOGITS),
        "student": ModelNeed(Access.WEIGHTS, trains=True),
    }
    if cfg.score == "memorisation":
        models["reference"] = ModelNeed(Access.LOGITS, optional=True)
    labels = (
        Labels.ALL if cfg.hard > 0 or cfg.score in ("detector", "memorisation") else Labels.NONE
    )
    return Needs(
        models=models, data={"train": DataNeed(labels)}, same_classes=True, answers="tokens"
    )


@method(
    want="distill",
    paper="2022, arXiv 2212.08349",
    needs=needs,
    identity=(
        Identity(
            "with rho 0 everywhere and no noise it is `kd` at the same weights",
            "kd",
            config={
                "score": "none", "noise": "none", "temperature": 4.0, "hard": 0.1, "soft": 0.9,
            },
        ),
        Identity(
            "a detector that finds nothing is no detector",
            "kd",
            config={
                "patterns": ("(?!)",), "noise": "none", "temperature": 4.0, "hard": 0.1,
                "soft": 0.9, "map": "exponential",
            },
        ),
    ),
)  # fmt: skip
def swing(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Distils a language model with hotter, disturbed targets where the text may be private."""
    import torch
    from torch.nn import functional as F

    from bequeath.blocks.privacy_score import source
    from bequeath.blocks.targets import characters, targets
    from bequeath.losses.tokens import draw_noise, soft_targets_at, temperature
    from bequeath.signals.teacher import teacher
    from bequeath.train.terms import mean_over

    train = given.data("train")
    student = given.model("student").load()
    answers = teacher(ctx, given.model("teacher"), train)
    known = given.has_model("reference")
    others = teacher(ctx, given.model("reference"), train) if known else None
    privacy = source(
        cfg.score,
        student.preprocess,
        patterns=cfg.patterns,
        private=cfg.private,
        scale=cfg.scale,
        reference=(lambda batch: others(dict(batch)).logits) if others else None,
    )

    def disturbance(batch, rho, classes):
        if cfg.noise == "none":
            return None
        rng = ctx.rng("swing/noise", ctx.now.step, int(batch["idx"][0]))
        drawn = draw_noise(cfg.noise, (len(rho), classes), 2 / cfg.epsilon, rng).to(rho.device)
        return drawn * rho.float()[:, None] if cfg.noise_where == "private" else drawn

    def step(batch):
        asked = targets(student, batch)
        z_s, z_t = asked.rows(student(batch)), asked.rows(answers(batch).logits)
        rho = privacy(batch, asked, z_s, z_t)
        tau = temperature(rho, cfg.temperature, cfg.temperature_max, cfg.map, cfg.threshold)
        fixed = {"base": cfg.temperature, "one": 1.0}.get(cfg.student)
        tau_s = tau if fixed is None else torch.full_like(tau, fixed)
        noise = disturbance(batch, rho, z_t.shape[1])
        soft = soft_targets_at(z_s, z_t, tau, tau_s, noise)
        terms = {"kd": mean_over(soft, cfg.soft, asked.over)}
        if cfg.hard > 0:
            loss = F.cross_entropy(z_s, asked.y, reduction="none")
            terms["ce"] = mean_over((1 - rho).to(loss.dtype) * loss, cfg.hard, asked.over)
        return terms

    @torch.no_grad()
    def rho_of(batch):
        asked = targets(student, batch)
        z_s, z_t = asked.rows(student(batch)), asked.rows(answers(batch).logits)
        return asked, privacy(batch, asked, z_s, z_t), characters(student, batch["text"], asked)

    ctx.fit(student, train, step)
    ctx.stage("privacy score", rho=rho_of)
    return Outcome(models={"student": student})
