"""The context of a run: everything stateful that a method may use, passed in."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bequeath.kernel.errors import JobError, Problem
from bequeath.kernel.files import write_text
from bequeath.train import seeds
from bequeath.train.budget import Deadline
from bequeath.train.config import Train
from bequeath.train.processes import ALONE, Processes, launched

if TYPE_CHECKING:
    from accelerate import Accelerator

    from bequeath.train.fit import FitResult, Until

LOG = "log.jsonl"


@dataclass
class Position:
    """Where the fit that runs now is: optimizer steps done, of how many, and the epoch (from 0)."""

    step: int = 0
    total: int = 0
    epoch: int = 0

    @property
    def share(self) -> float:
        return self.step / self.total if self.total else 0.0


@dataclass
class Context:
    """One run of one method with one seed.

    store: the run's own folder, for checkpoints, the log and scratch.
    budget: when to stop; memory: the largest resident memory in bytes; show: progress on the
    terminal (None: only if there is one); on_stage: who measures what `stage` hands over; on_fit:
    who trains in place of `fit`, called with its arguments. `now`
    tells a step where its fit is; `notes` are facts for the record; `fits` are the results of the
    fits so far, by name; `processes` are those that share the run's gradients.
    """

    seed: int
    train: Train
    store: Path
    device: torch.device = None  # type: ignore[assignment]  # None: what `train` says
    budget: Deadline = field(default_factory=Deadline)
    memory: int | None = None
    show: bool | None = None
    now: Position = field(default_factory=Position)
    notes: dict[str, Any] = field(default_factory=dict)
    fits: dict[str, FitResult] = field(default_factory=dict)
    on_stage: Callable[[str, dict[str, Any]], None] | None = None
    processes: Processes = field(default_factory=launched)
    on_fit: Callable[..., FitResult] | None = None

    def __post_init__(self) -> None:
        self.store = Path(self.store)
        self.store.mkdir(parents=True, exist_ok=True)
        self.device = torch.device(self.device or pick_device(self.train.device))
        self.train = settled(self.train, self.device)
        if self.train.threads is not None:
            torch.set_num_threads(self.train.threads)
        # The log lives here and in the checkpoint; the file is its picture. So a run that goes on
        # continues exactly the log of its checkpoint, whatever a crash left in the file.
        self._log = ""

    def rng(self, name: str, *counters: int, device: torch.device | str = "cpu") -> torch.Generator:
        """An independent random stream, a function of (seed, name, counters) alone."""
        return seeds.generator(self.seed, name, *counters, device=device)

    def log(self, values: Mapping[str, Any]) -> None:
        """Add one line to `log.jsonl`. JSON values only, and no NaN."""
        line = json.dumps(dict(values), ensure_ascii=False, allow_nan=False) + "\n"
        if not self.processes.main:
            return
        path = self.store / LOG
        if self._log:
            with path.open("a", encoding="utf-8") as file:
                file.write(line)
        else:
            path.write_text(line, encoding="utf-8")
        self._log += line

    @property
    def log_text(self) -> str:
        """All lines so far."""
        return self._log

    def restore_log(self, text: str) -> None:
        """Make the log what it was when a checkpoint was written."""
        if self.processes.main and text != self._log:
            write_text(self.store / LOG, text)
        self._log = text

    def accelerator(self, precision: str | None = None) -> Accelerator:
        """The process's accelerator for this device and precision."""
        return accelerator_for(self.device, precision or self.train.precision)

    def stage(self, name: str, **objects: Any) -> None:
        """Hand over what a method that works in stages has now (after a task, after a request).

        The family's protocol measures it on the spot; nothing comes back. A run that goes on after
        a stop hands over its stages again.
        """
        if self.on_stage is not None:
            with self.alone():
                self.on_stage(name, objects)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """What this process does in the block, fits too, it does without the others."""
        together, self.processes = self.processes, ALONE
        try:
            yield
        finally:
            self.processes = together

    def fit(
        self,
        trainables: nn.Module | Mapping[str, nn.Module],
        data: Any,
        step: Callable[[dict[str, Any]], Mapping[str, Any]],
        *,
        until: Until | None = None,
        name: str = "fit",
        train: Train | None = None,
    ) -> FitResult:
        """Train; see `bequeath.train.fit.fit`."""
        from bequeath.train.fit import fit

        do = fit if self.on_fit is None else self.on_fit
        return do(self, trainables, data, step, until=until, name=name, train=train)


def pick_device(name: str) -> torch.device:
    """`auto` -> an accelerator if there is one, else the CPU. JobError T606 if it is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:  # an index beyond all bounds
        device = torch.device("meta")
    there = {
        "meta": False,
        "cpu": True,
        "mps": torch.backends.mps.is_available(),
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
    }
    if not there[device.type]:
        raise JobError(
            Problem(
                "T606",
                f"there is no device `{name}` here",
                at=("train", "device"),
                remedies=("use `train.device: auto`",),
            )
        )
    return device


def settled(train: Train, device: torch.device) -> Train:
    """The settings with `precision: auto` decided for a device."""
    if train.precision != "auto":
        return train
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return train.model_copy(update={"precision": "bf16" if able else "fp32"})


def refuse_sharding() -> None:
    """JobError T609 when the launcher asks for what the job alone says, or for what is not done."""
    for name, kind in _SHARDED.items():
        if os.environ.get(f"ACCELERATE_USE_{name}", "").lower() in ("1", "true", "yes"):
            message = f"the launcher asks for {kind}, and what is sharded the job says here"
            remedies = (
                "set `train.shard: gradients` or `full` in the job, and launch with `accelerate "
                f"launch --multi_gpu`, without `--use_{name.lower()}` and without it in "
                "accelerate's configuration file",
            )
            raise JobError(Problem("T609", message, remedies=remedies))


def refuse_precision(device: torch.device, precision: str) -> None:
    """JobError T607 when the device cannot compute in that precision."""
    if precision == "fp16" and device.type == "cpu":
        problem = Problem(
            "T607",
            "the CPU cannot train in fp16",
            at=("train", "precision"),
            remedies=("use `train.precision: bf16` or `fp32`",),
        )
        raise JobError(problem)


_SHARDED = {
    "FSDP": "FSDP",
    "DEEPSPEED": "DeepSpeed",
    "MEGATRON_LM": "Megatron-LM",
    "PARALLELISM_CONFIG": "a parallelism of its own",
}
_ACCELERATOR: dict[tuple[str, str], Accelerator] = {}


def accelerator_for(device: torch.device, precision: str) -> Accelerator:
    """One accelerator a process; another device or precision replaces it.

    Accelerate keeps its state in class attributes that refuse a second setting, so they are reset.
    JobError T607 when the device cannot compute in that precision, T609 for sharded training.
    """
    key = (str(device), precision)
    if key in _ACCELERATOR:
        return _ACCELERATOR[key]
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState, GradientState
    from accelerate.utils import GradientAccumulationPlugin

    refuse_sharding()
    refuse_precision(device, precision)
    _ACCELERATOR.clear()
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    if device.index is not None and "LOCAL_RANK" not in os.environ:
        torch.cuda.set_device(device)
    _ACCELERATOR[key] = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="no" if precision == "fp32" else precision,
        # Said here so that nothing of a launcher's settings changes what the job says.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        dynamo_backend="no",
        # Methods tap parts of a model; what they leave out must not stop the others.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    return _ACCELERATOR[key]
