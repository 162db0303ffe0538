"""How far a mixture's samples are from the validation data, and how that moves with the shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bequeath.kernel.errors import Problem, RunError

if TYPE_CHECKING:
    import numpy as np

    from bequeath.given.given import Given
    from bequeath.methods.select import Question
    from bequeath.train.context import Context

Points = tuple["np.ndarray", "np.ndarray"]
FLOOR = 0.02  # share of a source below which its points would tell little of the slope


@dataclass
class Distances:
    """OT(D(n, p), validation), medians over the repeats.

    ask: of the protocol; its draws are those that were trained on. sources: features [n_i, d] and
    classes [n_i] of each pilot; there: of the validation data. how: what `distance` takes.
    """

    ask: Question
    sources: list[Points]
    there: Points
    how: dict[str, Any]
    known: dict[tuple[int, bytes], float] = field(default_factory=dict)

    def value(self, n: int, p: np.ndarray) -> float:
        import numpy as np

        key = n, p.tobytes()
        if key not in self.known:
            each = [self._one(n, p, r)[0] for r in range(self.ask.repeats)]
            self.known[key] = float(np.median(each))
        return self.known[key]

    def with_slopes(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """At n0 and n1: the distance [2], and its gradient within the simplex [2, m].

        Without a point of a source there is no telling what more of it would do: each gives at
        least a small share here.
        """
        import numpy as np

        from bequeath.blocks.mixtures import floored, project_simplex

        p = project_simplex(floored(p, FLOOR), self.ask.limits)
        each = [[self._one(n, p, r) for r in range(self.ask.repeats)] for n in self.ask.sizes]
        values = np.array([np.median([value for value, _ in row]) for row in each])
        return values, np.array([np.mean([slope for _, slope in row], axis=0) for row in each])

    def _one(self, n: int, p: np.ndarray, repeat: int) -> tuple[float, np.ndarray]:
        import numpy as np

        from bequeath.blocks.transport import Labelled, distance, slope_of_shares, steepest

        assert self.ask.trials is not None
        rows = self.ask.trials.draw(n, p, repeat)
        x = np.concatenate([x[r] for (x, _), r in zip(self.sources, rows)])
        y = np.concatenate([y[r] for (_, y), r in zip(self.sources, rows)])
        found = distance(Labelled(x, y), Labelled(*self.there), **self.how)
        taken = np.array([len(r) for r in rows])
        shares = taken / taken.sum()
        source = np.repeat(np.arange(len(rows)), taken)
        return found.value, steepest(slope_of_shares(found.f, source, shares), shares)


def embedded(
    ctx: Context, given: Given, roles: list[str], *, components: int, most: int
) -> dict[str, Points]:
    """Role -> features float64 [n, d] and classes [n] of the data sets `roles`.

    Features are what goes into the classifier of the model `embedder`, where there is one, else
    the first principal components of the raw values; in units in which their mean square norm
    around the common mean is 1. The last role gives its first `most` samples in a random order.
    RunError G453 for texts without an embedder.
    """
    import numpy as np
    import torch
    from sklearn.decomposition import PCA

    found = {}
    for role in roles:
        view = given.data(role)
        if given.has_model("embedder"):
            from bequeath.signals.teacher import teacher

            answers = teacher(ctx, given.model("embedder"), view, features=("embedding",))
            parts = [signal.features["embedding"] for _, signal in answers.over_data()]
        elif view.kind == "text":
            message = f"`data.{role}` holds texts, and no model turns them into numbers"
            remedy = "add a frozen text classifier as model `embedder`"
            raise RunError(Problem("G453", message, ("data", role), "", (remedy,)))
        else:
            parts = [view.fetch(i)["x"] for i in torch.arange(len(view)).split(1024)]
        x = torch.cat([part.detach().flatten(1).double().cpu() for part in parts]).numpy()
        labels = view.labels
        assert labels is not None, "the gate refuses data without labels"
        found[role] = (x, labels.cpu().numpy())
    everything = np.concatenate([x for x, _ in found.values()])
    if everything.shape[1] > components and not given.has_model("embedder"):
        pca = PCA(components, svd_solver="full").fit(everything)
        found = {role: (pca.transform(x), y) for role, (x, y) in found.items()}
        everything = np.concatenate([x for x, _ in found.values()])
    mean = everything.mean(0)
    scale = np.sqrt(((everything - mean) ** 2).sum(1).mean()) or 1.0
    found = {role: ((x - mean) / scale, y) for role, (x, y) in found.items()}
    x, y = found[roles[-1]]
    order = torch.randperm(len(x), generator=ctx.rng("validation")).numpy()[:most]
    found[roles[-1]] = (x[order], y[order])
    return found
