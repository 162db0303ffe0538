"""What the gradient baselines share: they learn in closed form and forget by descent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from bequeath.methods.contract import Identity, Outcome

if TYPE_CHECKING:
    from torch import Tensor

    from bequeath.given.given import Given
    from bequeath.methods.unlearn import Step
    from bequeath.methods.unlearn._head import Learner
    from bequeath.train.context import Context

Loss = Callable[["Descent", dict[str, Any]], dict[str, Any]]


def does_nothing(other: str) -> Identity:
    """Without an epoch of training two baselines leave the same head."""
    return Identity(
        f"with no epochs nothing is forgotten, as by `{other}` with none",
        other,
        train={"epochs": 0},
    )


class Descent:
    """One request being forgotten: the linear layer, the samples, and where they come from.

    The layer is trained on features of unit mean length, V = W^T sqrt(d), so that a learning rate
    means the same for any width.
    """

    def __init__(self, ctx: Context, learner: Learner, W: Tensor, step: Step, held: Tensor):
        import torch
        from torch import nn

        self.ctx, self.learner, self.step, self.held = ctx, learner, step, held
        self.scale = len(W) ** 0.5
        self.layer = nn.Linear(len(W), learner.n_classes, bias=False, dtype=torch.float64)
        with torch.no_grad():
            self.layer.weight.zero_()
            self.layer.weight[: W.shape[1]] = W.T * self.scale

    def error(self, X: Tensor, y: Tensor) -> Tensor:
        """Half the squared error of each row [n], what ridge regression minimises."""
        from bequeath.blocks.analytic_head import one_hot

        Y = one_hot(y, self.learner.n_classes)
        return 0.5 * (self.layer(X / self.scale) - Y).square().sum(dim=1)

    @property
    def W(self) -> Tensor:
        return self.layer.weight.detach().T / self.scale


def forget_by_descent(
    ctx: Context, given: Given, loss: Loss, over: Callable[[Step, Tensor], Tensor]
) -> Outcome:
    """Learn as `acu` does; at each request follow the gradient of `loss` for `train.epochs`.

    loss: of a batch, as a training step. over: the positions to train on at a request.
    """
    from bequeath.blocks.analytic_head import AnalyticHead
    from bequeath.methods.unlearn._head import open_learner

    requests = given.protocol
    learner = open_learner(ctx, given)
    head = AnalyticHead(learner.table.width, requests.head.gamma, device=learner.device)
    for step, held in zip(requests.steps, requests.held):
        if step.learns:
            head.learn(*learner.rows(step.idx))
        else:
            descent = Descent(ctx, learner, head.weight, step, held)
            data = learner.table.part(over(step, held))
            ctx.fit(descent.layer, data, partial(loss, descent), name=step.name)
            head.weight = descent.W.to(learner.device)
        ctx.stage(step.name, model=learner.hand(head.weight), head=head.weight)
    return Outcome(models={"unlearned": learner.model}, notes={"backbone": learner.exposure})
