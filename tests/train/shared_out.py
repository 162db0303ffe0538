"""What `test_shard` asks of processes that share out what they train; each writes what it found.

python shared_out.py FOLDER        # RANK, WORLD_SIZE and MASTER_* as a launcher sets them
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jobs import Points, cross_entropy, mlp
from torch import Tensor, nn
from torch.nn import functional as F

from bequeath.blocks.whole import whole
from bequeath.given.zoo.gpt import GPT
from bequeath.kernel.errors import Interrupted, RunError
from bequeath.losses.divergence import Divergence
from bequeath.losses.vocabulary import Projected, fused
from bequeath.train.config import Train
from bequeath.train.context import Context
from bequeath.train.fit import Fit, Until
from bequeath.train.processes import Processes, hush, join
from bequeath.train.terms import Term, mean_over

KINDS = ("off", "gradients", "full")
# Adam would make steps of the rounding in gradients that are zero (a bias before normalisation).
SGD = {"name": "sgd", "lr": 0.05}
MUCH = {"accumulate": 3, "clip": 0.5, "ema": 0.9}  # of what a fit can do beside the plain steps


class Texts:
    """Rows of nine words out of fifty."""

    hash = "texts"

    def __init__(self) -> None:
        self.words = torch.randint(0, 50, (64, 9), generator=torch.Generator().manual_seed(5))

    def __len__(self) -> int:
        return len(self.words)

    def fetch(self, idx: Tensor) -> dict[str, Any]:
        return {"idx": idx, "words": self.words[idx]}


def gpt(tied: bool = False) -> GPT:
    torch.manual_seed(1)
    model = GPT(50, 2, 32, 2, 16, 0.0)
    if tied:
        model.out.weight = model.tokens.weight
    return model


def distilled(student: GPT, teacher: GPT) -> Callable[[dict[str, Any]], dict[str, Term]]:
    """`kd` on tokens, head and loss in one pass: parts of the student, and its head's weight."""

    def hidden(model: GPT, words: Tensor) -> Tensor:
        x = model.tokens(words) + model.positions.weight[: words.shape[1]]
        for block in model.blocks:
            x = block(x)
        return model.norm(x).flatten(0, 1)

    def step(batch: dict[str, Any]) -> dict[str, Term]:
        words, y = batch["words"][:, :-1], batch["words"][:, 1:].flatten()
        with torch.no_grad():
            said = teacher.out(hidden(teacher, words))
        h, rows = hidden(student, words), (y % 3 != 0).float()
        soft, hard = fused(
            Projected(h, student.out.weight), said, Divergence("forward"), temperature=2.0, y=y,
            soft=0.9, hard=0.1, soft_rows=rows, hard_rows=rows, chunk=7,
        )  # fmt: skip
        n = int(rows.sum())
        terms = {"kd": Term(soft, n, 0.9, "words"), "ce": Term(hard, n, 0.1, "words")}
        return terms | {"size": mean_over(h.square().mean(1), 0.01, "positions")}

    return step


class Room:
    """Where this process's fits take place."""

    def __init__(self, folder: Path, processes: Processes):
        self.folder, self.processes = folder, processes

    def context(self, name: str, **settings: Any) -> Context:
        plain = {"steps": 12, "batch_size": 4, "device": "cpu", "optimizer": {"lr": 0.003}}
        train = Train.model_validate(plain | settings)
        store = self.folder / name / str(self.processes.rank)
        return Context(3, train, store, processes=self.processes, show=False)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([t.detach().flatten().double() for t in model.state_dict().values()])


def ordinary(model: nn.Module, was: list[tuple[int, type, int]]) -> bool:
    """Whether objects, classes and numbers of hooks are what they were."""
    return was == looked_at(model) and all(type(p) is nn.Parameter for p in model.parameters())


def looked_at(model: nn.Module) -> list[tuple[int, type, int]]:
    hooks = ("_forward_pre_hooks", "_forward_hooks", "_state_dict_pre_hooks")
    hooks = (*hooks, "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")
    parts = [
        (id(m), type(m), sum(len(getattr(m, h)) for h in hooks) + len(vars(m)))
        for m in model.modules()
    ]
    return parts + [(id(p), type(p), p._backward_hooks is None) for p in model.parameters()]


def likeness(room: Room, tied: bool, **settings: Any) -> dict[str, Any]:
    """The same fit in the three ways: how far weights, losses and norms lie apart."""
    found, trained, logs = {}, {}, {}
    for kind in KINDS:
        model, teacher = gpt(tied), gpt().requires_grad_(False)
        with torch.no_grad():
            teacher.out.weight.mul_(20)
        was = looked_at(model)
        ctx = room.context(f"like-{len(settings)}-{tied}-{kind}", shard=kind, **settings)
        ctx.fit(model, Texts(), distilled(model, teacher))
        trained[kind], found[f"{kind} is ordinary"] = weights(model), ordinary(model, was)
        found[f"{kind} is tied"] = model.out.weight is model.tokens.weight
        logs[kind] = [json.loads(line) for line in ctx.log_text.splitlines()]
    found["lines"] = len(logs["off"])
    for kind in KINDS[1:]:
        apart = (trained[kind] - trained["off"]).abs().max().item()
        found[kind] = {"weights": apart}
        for name in ("loss", "grad_norm"):
            pairs = [(a[name], b[name]) for a, b in zip(logs[kind], logs["off"])]
            found[kind][name] = max((abs(a - b) / abs(b) for a, b in pairs), default=0.0)
    return found


class Odd(nn.Module):
    """A scale without rows, statistics, a weight that lies across, a part that one leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.scale = mlp(dropout=False), nn.Parameter(torch.tensor(1.5))
        self.fixed = nn.Linear(6, 6).requires_grad_(False)
        self.fixed.weight.data = self.fixed.weight.data.t()
        self.seldom, self.never = nn.Linear(3, 3), nn.Linear(3, 3)
        self.register_buffer("kept", torch.ones(3, 2, dtype=torch.bool).t())
        self.register_buffer("last", torch.zeros(3))

    def forward(self, x: Tensor, often: bool) -> Tensor:
        z = self.body(x + self.fixed(x)) * self.scale
        self.last.copy_(z.detach().mean(0))
        return z + self.seldom(z) if often else z


def oddities(room: Room) -> dict[str, Any]:
    """Two fits one after the other of the odd module: the largest distance to plain ones."""
    trained, moved = {}, {}
    for kind in KINDS:
        torch.manual_seed(2)
        model = Odd()
        never = weights(model.never)
        ctx = room.context(f"odd-{kind}", shard=kind, accumulate=2, optimizer=SGD)
        call = partial(model, often=room.processes.main)
        for _ in range(2):
            ctx.fit(model, Points(), cross_entropy(call), until=Until(steps=4))
        assert model.kept.all()
        trained[kind], moved[kind] = weights(model), not torch.equal(never, weights(model.never))
    apart = {k: (trained[k] - trained["off"]).abs().max().item() for k in KINDS[1:]}
    return apart | {"moved what is never used": moved}


def share(room: Room, kind: str) -> dict[str, int]:
    """Bytes of weights, gradients and moments of this process between two steps, and in all."""
    model = gpt()
    ctx = room.context(f"share-{kind}", shard=kind)
    run = Fit(ctx, {"model": model}, Texts(), distilled(model, gpt()), Until(), "fit", ctx.train)
    run._forget_gradients = lambda: None  # to see them
    next(run.steps())

    def held(tensors: list[Any]) -> int:
        local = [t.to_local() if hasattr(t, "to_local") else t for t in tensors]
        memory = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in local}
        return sum(memory.values())

    moments = [run.raw_optimizer.state[p] for p in run.params]
    found = {
        "weights": held(run.params),
        "gradients": held([p.grad for p in run.params]),
        "moments": held([m[key] for m in moments for key in ("exp_avg", "exp_avg_sq")]),
    }
    run.close()
    return found | {"parameters": sum(p.numel() for p in model.parameters())}


def goes_on(room: Room, kind: str) -> dict[str, Any]:
    """One process is told to stop at a step; both stop, whole, and end as an undisturbed run."""
    ends, found = {}, {}
    for name in ("at once", "stopped"):
        model = gpt(tied=True)
        settings = {"shard": kind, "steps": 5, **MUCH}
        inner = distilled(model, gpt())
        calls = []

        def step(batch: dict[str, Any], inner=inner, calls=calls, name=name) -> dict[str, Term]:
            calls.append(1)
            if name == "stopped" and len(calls) == 8 and room.processes.rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return inner(batch)

        was = looked_at(model)
        try:
            room.context(f"on-{kind}-{name}", **settings).fit(model, Texts(), step)
        except Interrupted:
            found["whole when stopped"] = ordinary(model, was)
            found["weights when stopped"] = weights(model).sum().item()
            model = gpt(tied=True)
            again = room.context(f"on-{kind}-{name}", **settings)
            result = again.fit(model, Texts(), distilled(model, gpt()))
            found |= {"resumed": result.resumed, "steps": result.steps}
            # and what is finished is found finished, in a model that has not been trained
            model = gpt(tied=True)
            room.context(f"on-{kind}-{name}", **settings).fit(model, Texts(), inner)
        ends[name] = weights(model)
    return found | {"same": torch.equal(*ends.values()), "sum": ends["stopped"].sum().item()}


class Asking:
    """Batches of a method's own, for which the model is asked between two steps."""

    def __init__(self, model: GPT):
        self.model = model

    def __len__(self) -> int:
        return 2

    def epoch(self, number: int, start: int = 0) -> Any:
        for _ in range(start, 2):
            batch = Texts().fetch(torch.arange(4))
            with torch.no_grad():
                self.model(batch["words"])
            yield batch


def misuse(room: Room) -> dict[str, str]:
    """What is said of steps that shards do not allow, and what became of their weights."""

    def said(name: str, kind: str, make: Callable[[GPT], Any], data: Any = Texts) -> str:
        model = gpt()
        was = looked_at(model)
        data = data(model) if data is Asking else data()
        try:
            room.context(name, shard=kind, steps=2).fit(model, data, make(model))
        except RunError as error:
            notes = " ".join(error.problem.notes)
            whole_again = "ordinary" if ordinary(model, was) else "spoilt"
            lost = "NaN" if weights(model).isnan().any() else "whole"
            return f"{error.problem.code} {error.problem.message} {notes} {whole_again} {lost}"
        return "nothing"

    def loss(model: GPT, batch: dict[str, Any]) -> Tensor:
        return model(batch["words"]).square().mean((1, 2))

    def held(model: GPT) -> Any:
        mine = [*model.blocks[0].parameters()]
        return lambda b: {"x": mean_over(loss(model, b) + sum(p.sum() for p in mine))}

    def read(model: GPT) -> Any:
        block = model.blocks[0]
        return lambda b: {"x": mean_over(loss(model, b) + block.up.weight.square().sum())}

    def other(model: GPT) -> Any:
        def step(batch: dict[str, Any]) -> dict[str, Term]:
            if room.processes.main:
                model.blocks[0](torch.zeros(1, 4, 32))
            return {"x": mean_over(loss(model, batch))}

        return step

    return {
        "between": said("between", "gradients", read, Asking),
        "held": said("held", "gradients", held),
        "read": said("read", "full", read),
        "read whole": said("read-whole", "gradients", read),
        "other": said("other", "gradients", other),
    }


def penalised(room: Room) -> float:
    """Weights of a block in the loss, read before its forward pass: the distance to a plain fit."""
    trained = []
    for kind in KINDS[:2]:
        model = gpt()

        def step(batch: dict[str, Any], model=model) -> dict[str, Term]:
            before = model.blocks[1].up.weight.square().sum() + model.norm.weight.sum()
            size = model(batch["words"]).square().mean((1, 2))
            return {"size": mean_over(size), "before": Term(before, 1, 0.1, "steps")}

        ctx = room.context(f"penalised-{kind}", shard=kind, accumulate=2, steps=4)
        ctx.fit(model, Texts(), step)
        trained.append(weights(model))
    return (trained[0] - trained[1]).abs().max().item()


def written(room: Room) -> bool:
    """Each process may call the whole model as often as it likes where it says `whole`."""
    model = gpt()

    def step(batch: dict[str, Any]) -> dict[str, Term]:
        with whole(), torch.no_grad():
            for _ in range(1 + 2 * room.processes.rank):
                model(batch["words"])
        z = model(batch["words"][:, :-1]).flatten(0, 1)
        ce = F.cross_entropy(z, batch["words"][:, 1:].flatten(), reduction="none")
        return {"ce": mean_over(ce)}

    room.context("written", shard="full", steps=2).fit(model, Texts(), step)
    return bool(weights(model).isfinite().all())


def main(folder: Path) -> None:
    hush()
    processes = join("cpu")
    torch.set_num_threads(1)
    room = Room(folder, processes)
    found = {
        "untied": likeness(room, False),
        "tied": likeness(room, True, **MUCH),
        "bf16": likeness(room, False, precision="bf16", steps=3),
        "odd": oddities(room),
        "share": {kind: share(room, kind) for kind in KINDS},
        "goes on": {kind: goes_on(room, kind) for kind in KINDS[1:]},
        "penalised": penalised(room),
        "misuse": misuse(room),
        "written": written(room),
    }
    (folder / f"{processes.rank}.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
