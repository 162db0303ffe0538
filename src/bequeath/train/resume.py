"""What a fit puts into its checkpoint, and how it goes on from one."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bequeath.kernel.files import canonical, digest
from bequeath.train import checkpoint, seeds
from bequeath.train.config import INDIFFERENT, Train
from bequeath.train.spread import held, spread, whole

if TYPE_CHECKING:
    from bequeath.train.fit import Fit


_LARGE = ("trainables", "optimizer", "ema")  # what of a checkpoint grows with the model


def file_name(name: str) -> str:
    """The name of a fit as part of a file name."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name) else digest(name)


def place(store: Path, name: str) -> Path:
    """Where the checkpoint of a fit lies in its run's folder."""
    return store / "checkpoints" / f"{file_name(name)}.safetensors"


def fingerprint(
    seed: int,
    name: str,
    train: Train,
    total: int,
    parts: Mapping[str, nn.Module],
    data: Any,
    world: int = 1,
) -> str:
    """What must agree for a checkpoint to be of this fit: settings, shapes, data."""
    shapes = [
        (part, key, str(tensor.dtype), list(tensor.shape))
        for part, module in parts.items()
        for key, tensor in [*module.named_parameters(), *module.named_buffers()]
    ]
    settings = train.model_dump(mode="json", exclude=INDIFFERENT)
    about = [seed, name, settings, total, shapes, len(data), str(getattr(data, "hash", ""))]
    if world > 1:  # it shares out the data: another number of processes has other batches
        about.append(world)
    return digest(canonical(about))


def shared(run: Fit) -> dict[str, Any] | None:
    """The checkpoint, if there is one: the main process reads it for all."""
    state = read(run.path, run.fingerprint) if run.main else None
    if run.world == 1:
        return state
    from accelerate.utils import broadcast_object_list

    if run.shards is not None and state is not None:  # `put` sends its tensors one by one
        state |= {name: held(state[name]) for name in _LARGE if name in state}
    return broadcast_object_list([state])[0]


def read(path: Path, expected: str) -> dict[str, Any] | None:
    """The checkpoint, if there is one and it is whole and of this fit; says why not otherwise."""
    if not path.exists():
        return None
    try:
        state = checkpoint.load(path)
    except checkpoint.Damaged as error:
        text = f"the checkpoint `{path.name}` is damaged, training starts over: {error}"
        warnings.warn(text, stacklevel=5)
        return None
    if state.get("fingerprint") != expected:
        text = f"the checkpoint `{path.name}` is of other settings or data, training starts over"
        warnings.warn(text, stacklevel=5)
        return None
    if not state["done"] and state["threads"] != torch.get_num_threads():
        text = f"the checkpoint was made with {state['threads']} CPU threads, now there are "
        text += f"{torch.get_num_threads()}: the result may differ in its last bits"
        warnings.warn(text, stacklevel=5)
    return state


def align(run: Fit) -> None:
    """After a fit all processes draw what the main one draws: they had streams of their own."""
    if run.world > 1:
        from accelerate.utils import broadcast_object_list

        state = seeds.capture()
        if "cuda" in state:  # each has a device of its own
            state["cuda"] = torch.cuda.get_rng_state()
        state = broadcast_object_list([state])[0]
        cuda = state.pop("cuda", None)
        if not run.main:
            seeds.restore(state)
            if cuda is not None:
                torch.cuda.set_rng_state(cuda)


def take(run: Fit, done: bool, seconds: float) -> dict[str, Any]:
    """The state of a fit between two steps. A finished one needs no optimizer any more."""
    own = seeds.capture()
    everyone = [own]
    if run.world > 1:
        from accelerate.utils import gather_object

        everyone = gather_object([own])
    state: dict[str, Any] = {
        "fingerprint": run.fingerprint,
        "done": done,
        "step": run.now.step,
        "epoch": run.now.epoch,
        "batch": run.batch,
        "stopped": run.stopped,
        "seconds": seconds,
        "threads": torch.get_num_threads(),
        "log": run.ctx.log_text,
        "rng": everyone,
        "trainables": {n: part.state_dict(keep_vars=True) for n, part in run.parts.items()},
    }
    if not done:
        scaler = run.accelerator.scaler
        state |= {
            "optimizer": run.raw_optimizer.state_dict(),
            "scheduler": _plain(run.scheduler.state_dict()),
            "scaler": None if scaler is None else scaler.state_dict(),
            "ema": None if run.ema is None else run.ema.state(),
            "meter": run.meter.state(),
        }
    return state if run.shards is None else whole(state, run.main)


def put(run: Fit, state: Mapping[str, Any]) -> None:
    """Bring a fit to a state that `take` took."""
    device, optimizer = run.ctx.device, run.raw_optimizer
    for name, part in run.parts.items():
        like = part.state_dict(keep_vars=True)
        part.load_state_dict(spread(state["trainables"][name], like, device))
    run.now.step = run.resumed = state["step"]
    run.now.epoch, run.batch = state["epoch"], state["batch"]
    run.stopped, run.seconds_before = state["stopped"], state["seconds"]
    run.together = state.get("together")
    run.ctx.restore_log(state["log"])
    if not state["done"]:
        rows = [p for group in optimizer.param_groups for p in group["params"]]
        moments = state["optimizer"]["state"]
        like = {"state": {i: dict.fromkeys(values, rows[i]) for i, values in moments.items()}}
        optimizer.load_state_dict(spread(state["optimizer"], like, device))
        run.scheduler.load_state_dict(state["scheduler"])
        if state["scaler"] is not None and run.accelerator.scaler is not None:
            run.accelerator.scaler.load_state_dict(state["scaler"])
        if run.ema is not None:
            run.ema.load(spread(state["ema"], {"average": run.ema.average}, device))
        run.meter.load(state["meter"])
    if run.ctx.processes.rank < len(state["rng"]):
        seeds.restore(state["rng"][run.ctx.processes.rank])


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """A scheduler's state without its functions, which are made anew."""
    return {k: v for k, v in state.items() if k != "lr_lambdas"} | {"lr_lambdas": [None]}
