"""From a model of one set of classes to a classifier of others: linear probe, fine-tuning."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bequeath.fleet.evaluate import predict
from bequeath.fleet.gates import Opened
from bequeath.given.bound import BoundModel
from bequeath.given.samples import ArraySamples, Samples
from bequeath.kernel.errors import Problem, RunError
from bequeath.train.config import Optimizer, Schedule, Train
from bequeath.train.context import Context
from bequeath.train.many import cross_entropy_step

# Adam, cosine, batches of 128, no weight decay: DP4TL's transfer configuration.
EPOCHS = {"linear": 50, "full": 200}
RATES = {"linear": 1e-2, "full": 1e-4}


def transferred(
    ctx: Context,
    opened: Opened,
    role: str,
    trained: BoundModel,
    target: Samples,
    *,
    tune: str,
    epochs: int | None = None,
    lr: float | None = None,
    seed: int = 0,
) -> BoundModel:
    """A classifier of the target's classes on the weights of `trained`.

    role: the model's role, from which a module with the target's classes is made; all its tensors
    but the last layer's are those of `trained`. tune: `linear` trains the last layer alone on
    features in evaluation mode, without random views; `full` trains all, beginning with a fresh
    last layer. RunError G455 where the classifier is not a linear layer.
    """
    model = _with_classes_of(opened, role, trained, target, seed)
    train = ctx.train.model_copy(
        update={
            "optimizer": Optimizer(name="adam", lr=lr or RATES[tune], weight_decay=0.0),
            "schedule": Schedule(name="cosine", warmup=0.0),
            "epochs": epochs or EPOCHS[tune],
            "steps": None,
            "batch_size": 128,
        }
    )
    if tune == "full":
        ctx.fit(model, target, cross_entropy_step(model), name="transfer", train=train)
    else:
        _probe(ctx, model, target, train)
    return model.eval()


def _probe(ctx: Context, model: BoundModel, target: Samples, train: Train) -> None:
    """Train the last layer on what goes into it, computed once."""
    _, features = predict(model, target, ctx.device, embedding=True)
    assert features is not None and target.y is not None
    known = ArraySamples("vector", features.to(ctx.device), target.y.to(ctx.device), target.classes)
    last: Any = model.module.get_submodule(str(model.facts.head))

    def step(batch: dict[str, Any]) -> Any:
        return cross_entropy_step(_Last(last))(batch)

    plain = train.model_copy(update={"augment": type(train.augment)()})
    ctx.fit(last, known, step, name="transfer", train=plain)


class _Last(nn.Module):
    """A layer that takes a batch's `x`."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, batch: dict[str, Any]) -> torch.Tensor:
        return self.layer(batch["x"])


def _with_classes_of(
    opened: Opened, role: str, trained: BoundModel, target: Samples, seed: int
) -> BoundModel:
    model = opened.load(role, data=target, seed=seed, n_classes=len(target.classes))
    head = model.facts.head
    if head is None or not isinstance(model.module.get_submodule(head), nn.Linear):
        message = f"the classifier of `{role}` is not a linear layer that can be replaced"
        remedy = "choose a model that ends in one, or name it with `head: PATH`"
        raise RunError(Problem("G455", message, ("models", role), "", (remedy,)))
    state = trained.module.state_dict()
    kept = {k: v for k, v in state.items() if k.rpartition(".")[0] != head}
    model.module.load_state_dict(kept, strict=False)
    model.preprocess = trained.preprocess
    return model
