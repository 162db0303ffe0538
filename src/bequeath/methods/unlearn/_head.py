"""What the methods on a closed-form head share: frozen features, the random buffer, the result."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs

if TYPE_CHECKING:
    from torch import Tensor

    from bequeath.blocks.feature_cache import FeatureTable
    from bequeath.given.bound import BoundModel
    from bequeath.given.given import Given
    from bequeath.train.context import Context

NEEDS = Needs(
    models={"model": ModelNeed(Access.WEIGHTS, optional=True, embedding=True)},
    data={"train": DataNeed(Labels.ALL), "forget": DataNeed(Labels.NONE, optional=True)},
)
EXPOSURE = {
    "none": "nothing but the head has learnt from the data: its forgetting is all there is",
    "table": "mean and deviation of the inputs were measured with the forgotten samples among them",
    "backbone": "only the head forgets: if the backbone was trained on a forgotten sample, what it "
    "took from it is still there (not so for one trained on other data)",
}
# The logit of a class of which nothing is held: below all others, which are about 0 to 1.
FORGOTTEN_CLASS = -100.0


@dataclass
class Learner:
    """The rows a head learns from, and the model it belongs to.

    table: frozen features of the training data, widened on demand. model: backbone, buffer and
    linear head, an ordinary model whose head `hand` fills. exposure: what forgetting in the head
    does not reach.
    """

    table: FeatureTable
    n_classes: int
    model: BoundModel
    out: Any
    device: Any
    exposure: str

    def rows(self, idx: Tensor) -> tuple[Tensor, Tensor]:
        """Positions -> X float64 [n, d] and one-hot Y [n, C]."""
        from bequeath.blocks.analytic_head import one_hot

        X, y = self.table.rows(idx)
        return X, one_hot(y, self.n_classes)

    def hand(self, W: Tensor, gone: Collection[int] = ()) -> BoundModel:
        """The model with W [d, C] as its head. gone: classes it must not answer any more; their
        columns are zero, and would win where all others are negative."""
        import torch

        with torch.no_grad():
            self.out.weight.zero_()
            self.out.weight[: W.shape[1]] = W.T
            self.out.bias.zero_()
            self.out.bias[list(gone)] = FORGOTTEN_CLASS
        return self.model


def open_learner(ctx: Context, given: Given) -> Learner:
    """Pass the training data through the frozen backbone once, and put a fresh head on it.

    Without a model the head's inputs are the samples themselves. RunError T653 for a backbone whose
    classifier is not a linear layer.
    """
    from bequeath.blocks.feature_cache import FeatureTable, frozen_features
    from bequeath.given.zoo.random_features import RandomHead
    from bequeath.signals.teacher import teacher

    train, how = given.data("train"), given.protocol.head
    device = ctx.device if ctx.device.type == "cuda" else "cpu"  # others have no float64
    backbone, eyes = None, None
    if given.has_model("model"):
        view = given.model("model")
        backbone = view.load()
        answers = teacher(ctx, view, train, features=("embedding",))
        x = frozen_features(answers.over_data(), "embedding")
    else:
        x, eyes = _inputs(train, how.standardise)
    settings = {"width": how.width, "normalise": how.normalise, "constant": how.constant}
    drawn = ctx.rng("random-features")
    head = RandomHead(x.shape[1], train.n_classes, **settings, generator=drawn).to(device).eval()
    kwargs = {"in_features": x.shape[1], **settings}
    model = _alone(head, eyes, kwargs, train) if backbone is None else _on(backbone, head, kwargs)
    labels = train.labels
    assert labels is not None, "the gate refuses training data without labels"
    table = FeatureTable(x.to(device), labels.to(device), head.features, key=train.hash)
    exposure = EXPOSURE["table" if how.standardise else "none"]
    if backbone is not None:
        exposure = EXPOSURE["backbone"]
    return Learner(table, train.n_classes, model.to(device), head.out, device, exposure)


def _inputs(train: Any, standardise: bool) -> tuple[Tensor, Any]:
    """The samples as vectors [N, D], and the preprocessing that makes them."""
    import torch

    from bequeath.given.preprocess import VectorPreprocess

    eyes = VectorPreprocess(standard=True).fit(train) if standardise else VectorPreprocess()
    cpu = torch.device("cpu")
    batches = (train.fetch(idx) for idx in torch.arange(len(train)).split(1024))
    return torch.cat([eyes(batch, cpu) for batch in batches]), eyes


def _alone(head: Any, eyes: Any, kwargs: dict[str, Any], train: Any) -> BoundModel:
    from bequeath.given.bound import BoundModel, Source
    from bequeath.given.facts import ModelFacts

    facts = ModelFacts(
        kind="vector",
        architecture="random_features",
        parameters=sum(p.numel() for p in head.parameters()),
        n_classes=train.n_classes,
        head="out",
        input=(kwargs["in_features"],),
        preprocess=eyes.to_dict(),
        classes=tuple(train.classes),
    )
    return BoundModel(head, eyes, facts, Source("zoo", "random_features", kwargs, train.classes))


def _on(backbone: BoundModel, head: Any, kwargs: dict[str, Any]) -> BoundModel:
    """The backbone with the head in place of its own classifier."""
    from bequeath.given.graft import grafted
    from bequeath.kernel.errors import Problem, RunError

    try:
        return grafted(backbone, head, kwargs)
    except ValueError as error:
        raise RunError(
            Problem(
                "T653",
                str(error),
                notes=("a head in closed form takes the place of a linear layer",),
                remedies=("give a model that ends in a linear layer, or name it: `head: PATH`",),
            )
        ) from error
