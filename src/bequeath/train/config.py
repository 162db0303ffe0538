"""What a job may say under `train:`. No torch here: the schema must load without it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from bequeath.kernel import units

# for editors and help: a number, or a text with its unit
Share = Annotated[float, Field(ge=0, lt=1)]
# Where and how conveniently a result is computed: rounding apart, it does not depend on these.
INDIFFERENT = {"threads", "checkpoint_every", "cache", "device", "batch_seeds"}
_DURATION = {"anyOf": [{"type": "number"}, {"type": "string"}], "examples": ["30m"]}
_SIZE = {"anyOf": [{"type": "integer"}, {"type": "string"}], "examples": ["8GB"]}
Seconds = Annotated[float, BeforeValidator(units.seconds), WithJsonSchema(_DURATION)]
Bytes = Annotated[int, BeforeValidator(units.size), WithJsonSchema(_SIZE)]


class Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


class Optimizer(Strict):
    name: Literal["sgd", "adam", "adamw"] = Field(
        default="adamw", description="the optimizer, torch's own"
    )
    lr: float = Field(default=1e-3, gt=0, lt=100, description="learning rate at its highest")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum (sgd)")
    nesterov: bool = Field(default=False, description="Nesterov momentum (sgd)")
    weight_decay: float = Field(default=0.01, ge=0, lt=10, description="weight decay")
    betas: tuple[Share, Share] = Field(
        default=(0.9, 0.999), description="moment decay (adam, adamw)"
    )
    rates: dict[str, Annotated[float, Field(ge=0, le=1000)]] = Field(
        default={},
        description="factors on `lr` by name of module or parameter (`*` stands for any text); "
        "the first that fits counts, 1 without one: {fc: 1, '*': 0.1}",
    )


class Schedule(Strict):
    name: Literal["constant", "cosine", "multistep", "linear", "inverse"] = Field(
        default="cosine", description="how the learning rate falls after the warm-up"
    )
    warmup: float = Field(
        default=0.05, ge=0, lt=1, description="share of the steps spent warming up"
    )
    milestones: tuple[Share, ...] = Field(
        default=(0.5, 0.75),
        description="multistep: shares of the run after which lr is multiplied by gamma",
    )
    gamma: float = Field(default=0.1, gt=0, le=1, description="multistep: the factor")
    slope: float = Field(
        default=10.0,
        ge=0,
        le=1e6,
        description="inverse: a in (1 + a t)^-b, t the share of the run that is over",
    )
    power: float = Field(default=0.75, ge=0, le=10, description="inverse: b")


class Augment(Strict):
    """Random views of a training image. A view is a function of (seed, sample, view number)."""

    crop: int = Field(
        default=0, ge=0, le=64, description="pixels of reflection-free padding before a random crop"
    )
    flip: bool = Field(default=False, description="mirror left and right with probability 1/2")
    cutout: int = Field(
        default=0, ge=0, le=1024, description="side of a square set to the mean, in pixels"
    )
    views: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="how many different views a sample has; 0: a new one each epoch. "
        "A teacher's answers can be cached for a finite number only",
    )

    @property
    def active(self) -> bool:
        """Whether an image is changed at all."""
        return bool(self.crop or self.flip or self.cutout)


class Train(Strict):
    """How gradient methods train. The same for every arm of a comparison."""

    epochs: int = Field(default=30, ge=0, le=1_000_000, description="passes over the training data")
    steps: int | None = Field(
        default=None, ge=1, description="optimizer steps; takes the place of epochs"
    )
    batch_size: int = Field(
        default=128, ge=1, description="samples in one forward pass and process"
    )
    accumulate: int = Field(
        default=1, ge=1, le=65536, description="forward passes in one optimizer step"
    )
    optimizer: Optimizer = Field(default=Optimizer(), description="the optimizer and its settings")
    schedule: Schedule = Field(default=Schedule(), description="the learning rate over the run")
    clip: float | None = Field(default=None, gt=0, description="largest gradient norm")
    ema: float | None = Field(
        default=None, gt=0, lt=1, description="decay of an average of the weights"
    )
    augment: Augment = Field(default=Augment(), description="random views of the training images")
    precision: Literal["fp32", "bf16", "fp16", "auto"] = Field(
        default="fp32",
        description="autocast precision; auto: bf16 on a GPU that has it, else fp32",
    )
    compile: bool = Field(
        default=False,
        description="compile the forward passes of what is trained: quicker steps after some "
        "seconds to a minute of compiling (docs/many-devices.md has measurements)",
    )
    shard: Literal["off", "gradients", "full"] = Field(
        default="off",
        description="what several processes share out instead of each having it whole: nothing "
        "(off); gradients, moments and average (gradients: ZeRO-2); during a step the weights of "
        "repeated blocks too (full: ZeRO-3). See docs/many-devices.md",
    )
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="where to train"
    )
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="CPU threads (default: all cores)"
    )
    cache: Literal["auto", "on", "off"] = Field(
        default="auto", description="keep the teacher's answers on disk and reuse them"
    )
    batch_seeds: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="train the seeds of a method as one batched model: where it is faster and "
        "agrees with one by one (auto), wherever it agrees (on), never (off)",
    )
    checkpoint_every: Seconds = Field(default=60.0, description="time between two checkpoints")

    @property
    def identity(self) -> dict[str, Any]:
        """What a result depends on: all but where and how conveniently it is computed."""
        indifferent = set(INDIFFERENT)
        if not self.compile:  # younger than results that are kept, as the next
            indifferent.add("compile")
        if self.shard == "off":
            indifferent.add("shard")
        return self.model_dump(exclude=indifferent)


class Budget(Strict):
    """What the job may cost; checked before it starts and obeyed while it runs."""

    time: Seconds | None = Field(default=None, description="wall time of the whole job, e.g. 30m")
    memory: Bytes | None = Field(default=None, description="largest resident memory, e.g. 8GB")
    disk: Bytes | None = Field(default=None, description="what the job may write, e.g. 5GB")
