"""The two phases of a task in a network of masks, and what is around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bequeath.kernel.errors import Problem, RunError
from bequeath.methods.continual._stream import Capacity, Task

if TYPE_CHECKING:
    from torch import Tensor

    from bequeath.blocks.task_nets import Snapshot, TaskNets
    from bequeath.train.config import Train
    from bequeath.train.context import Context
    from bequeath.train.length import Until

_BATCH = 256


def lengths(train: Train, share: float, both: bool) -> tuple[Until, Until]:
    """How long masks and weights learn: what `train` says, divided. RunError G435.

    share: of the weights. both: whether they learn at all.
    """
    from bequeath.train.length import Until

    unit = "epochs" if train.steps is None else "steps"
    total = train.epochs if train.steps is None else train.steps
    if both and total == 1:
        raise RunError(
            Problem(
                "G435",
                f"one of {unit} cannot be divided between the masks and the weights",
                at=("train", unit),
                remedies=(f"say `{unit}: 2` or more", "or `weights: none`, and learn masks only"),
            )
        )
    second = min(total - 1, max(1, round(total * share))) if both and total else 0
    if unit == "epochs":
        return Until(epochs=total - second), Until(epochs=second)
    return Until(steps=total - second), Until(steps=second)


def fit(
    ctx: Context,
    nets: TaskNets,
    task: Task,
    phase: str,
    until: Until,
    lr: float | None = None,
    early: Snapshot | None = None,
) -> None:
    """Train whatever of the network learns now. early: is taken when the first epoch is over."""
    from torch.nn import functional as F

    from bequeath.train.terms import mean_over

    width = len(task.classes)

    def step(batch: dict[str, Any]) -> dict[str, Any]:
        if early is not None and ctx.now.epoch == 1:
            early.take()
        y = nets.local(batch["y"], task.index)
        return {"ce": mean_over(F.cross_entropy(nets.net(batch)[:, :width], y, reduction="none"))}

    train = ctx.train
    if lr is not None:
        optimizer = train.optimizer.model_copy(update={"lr": lr})
        train = train.model_copy(update={"optimizer": optimizer})
    trained: dict[str, Any] = {"net": nets.net}
    if early is not None:
        trained["early"] = early
    name = f"{task.name}-{phase}"
    ctx.fit(trained, task.train, step, until=until, name=name, train=train)


def learn_mask(
    ctx: Context,
    nets: TaskNets,
    task: Task,
    lengths: tuple[Until, Until],
    lr: float | None,
) -> dict[str, Tensor]:
    """The first phase; -> the masks, bool by weight. Shows the network after its first epoch."""
    from bequeath.blocks.task_nets import Snapshot

    early = Snapshot(nets)
    nets.masked.learn_scores()
    fit(ctx, nets, task, "mask", lengths[0], lr, early)
    early.take()  # if the first epoch was the only one
    nets.masked.still()
    masks = nets.masked.fix()
    after = [value.clone() for value in nets.values()]
    nets.put(early.values())
    ctx.stage(f"{task.name}/first epoch", model=nets)
    nets.put(after)
    return masks


def most_useful(ctx: Context, nets: TaskNets, task: Task, cfg: Any) -> str | None:
    """The task whose features tell the new one apart best (kNN); None when none beats chance."""
    import torch

    from bequeath.blocks.knn_probe import knn_accuracy
    from bequeath.blocks.taps import Tap, Taps

    many = round(cfg.probe * len(task.train))
    if many < 3 or not nets.bank.tasks:
        return None
    rows = torch.randperm(len(task.train), generator=ctx.rng("probe", task.index))[:many]
    batches = [task.train.fetch(idx) for idx in rows.split(_BATCH)]
    y = nets.local(torch.cat([batch["y"] for batch in batches]), task.index)
    # More neighbours than a class has samples would vote for the largest class, not the nearest.
    k = max(1, min(cfg.neighbours, 2 * many // 3 // len(task.classes)))
    found = {}
    for j, name in enumerate(nets.bank.tasks):
        predict = nets.for_task(j)
        features = []
        head = Tap(str(nets.net.facts.head), "input")
        with torch.no_grad(), Taps(nets.net.module, {"features": head}) as tap:
            for batch in batches:
                predict(batch)
                features.append(tap["features"].flatten(1).float())
        g = ctx.rng("held out", task.index)  # the same for every old task
        f = torch.cat(features)
        found[name] = knn_accuracy(f, y.to(f.device), k, g)
    best = max(found, key=lambda name: found[name])
    return best if found[best] > 1 / len(task.classes) else None


def capacity(
    nets: TaskNets, free_after: list[dict[str, Tensor]]
) -> tuple[Capacity, dict[str, Any]]:
    """What is left of each layer after each task, and how the masks overlap; in full, in short."""
    free = {
        name: [float(after[name].double().mean()) for after in free_after] for name in free_after[0]
    }
    overlap = nets.bank.overlap(nets.masked.originals)
    t = len(overlap)
    notes = {
        "free_capacity": {name: round(shares[-1], 6) for name, shares in free.items()},
        "free_capacity_least": min(shares[-1] for shares in free.values()),
        "mask_overlap": float((overlap.sum() - t) / (t * (t - 1))) if t > 1 else 0.0,
        "density": {name: mask.k / mask.mask.numel() for name, mask in nets.masked.masks.items()},
    }
    return Capacity(free, overlap.tolist()), notes
