"""What a method is handed: sealed views of the models and data it declared in its `Needs`.

The seal keeps a method honest: whatever it did not declare is refused and the attempt is noted in
`Given.attempts`, which goes into the record of the run. What a view hides is not among its
attributes. It is no wall against code that sets out to break it (Python's frames and closures can
be searched); a method one does not trust must not be run at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bequeath.given.access import Access, Labels, Needs, SealedBatch, deny
from bequeath.given.data_schemes.select import noise_of
from bequeath.given.facts import DataFacts, ModelFacts
from bequeath.given.graphs import Graph, GraphView
from bequeath.given.samples import Device, Samples
from bequeath.given.words import Speaker, has_parts, in_parts, likeliest

if TYPE_CHECKING:
    from bequeath.given.bound import BoundModel

FEW = 5  # labels of each class that a method with Labels.FEW sees, unless told otherwise


class Given:
    """The views, by role. Roles outside the method's `Needs` raise `AccessDenied`.

    needs: of the method. loaders: role -> callable that makes the model. facts: role -> what is
    known of the model. data: role -> open data. few: role -> labels of each class for Labels.FEW.
    graphs: role -> open graph. paths: role -> where a model's weights lie. protocol: what the
    family's protocol offers to its methods (tasks, requests, a counted oracle).
    attempts: what was reached for and refused, in order.
    """

    __slots__ = ("_data", "_graph", "_model", "attempts", "protocol", "roles")

    def __init__(
        self,
        needs: Needs,
        loaders: Mapping[str, Callable[[], BoundModel]],
        facts: Mapping[str, ModelFacts],
        data: Mapping[str, Samples],
        *,
        few: Mapping[str, int] | None = None,
        graphs: Mapping[str, Graph] | None = None,
        paths: Mapping[str, Path | None] | None = None,
        protocol: Any = None,
    ):
        attempts: list[str] = []
        self.attempts = attempts
        self.protocol = protocol
        held = graphs or {}
        self.roles = {
            "models": tuple(role for role in needs.models if role in loaders),
            "data": tuple(role for role in needs.data if role in data),
            "graphs": tuple(role for role in needs.graphs if role in held),
        }

        def model(role: str) -> ModelView:
            _declared("model", role, needs.models, loaders, attempts)
            known = facts.get(role, ModelFacts())
            path = (paths or {}).get(role)
            return ModelView(role, needs.models[role].access, known, loaders[role], attempts, path)

        def view(role: str) -> DataView:
            _declared("data set", role, needs.data, data, attempts)
            labels = needs.data[role].labels
            return DataView(role, labels, data[role], attempts, few=(few or {}).get(role, FEW))

        def graph(role: str) -> GraphView:
            _declared("graph", role, needs.graphs, held, attempts)
            return GraphView(role, held[role], attempts)

        self._model, self._data, self._graph = model, view, graph

    def model(self, role: str) -> ModelView:
        """The model of a role. AccessDenied when undeclared, LookupError when not given."""
        return self._model(role)

    def data(self, role: str) -> DataView:
        """The data set of a role. AccessDenied when undeclared, LookupError when not given."""
        return self._data(role)

    def graph(self, role: str) -> GraphView:
        """The graph of a role, without the triples that judge. AccessDenied when undeclared."""
        return self._graph(role)

    def has_model(self, role: str) -> bool:
        """Whether a declared (perhaps optional) model was given."""
        return role in self.roles["models"]

    def has_data(self, role: str) -> bool:
        """Whether a declared (perhaps optional) data set was given."""
        return role in self.roles["data"]


class ModelView:
    """A model, as far as `access` goes. `facts` are public to all."""

    __slots__ = ("_attempts", "_load", "_where", "access", "facts", "role")

    def __init__(
        self,
        role: str,
        access: Access,
        facts: ModelFacts,
        loader: Callable[[], BoundModel],
        attempts: list[str],
        path: Path | None = None,
    ):
        self.role, self.access, self.facts = role, access, facts
        self._attempts = attempts

        def load(least: Access, what: str) -> BoundModel:
            if access < least:
                deny(
                    f"the method may not have the {what} of model `{role}`: its Needs declare "
                    f"{access.name}, not {least.name}",
                    attempts,
                )
            return loader()

        def where() -> Path | None:
            if access < Access.WEIGHTS:
                deny(f"the method may not read the weight files of model `{role}`", attempts)
            return path

        self._load, self._where = load, where

    def __repr__(self) -> str:
        return f"ModelView({self.role!r}, {self.access.name})"

    @property
    def n_classes(self) -> int | None:
        return self.facts.n_classes

    @property
    def path(self) -> Path | None:
        """The local file or folder of its weights, None when it has none. AccessDenied below
        WEIGHTS."""
        return self._where()

    def load(self) -> BoundModel:
        """The model itself, made anew at each call. AccessDenied below WEIGHTS."""
        return self._load(Access.WEIGHTS, "weights")

    def predictor(self, *, top_k: int = 5) -> Predictor:
        """The model as a function of a batch, opened once. What it answers is what may be seen:

        LOGITS and above: logits [B, K] (at GRADIENTS and above with gradients to the input);
        TOP_K: (log-probabilities, classes), each [B, min(top_k, K)]; LABEL: classes, int64 [B].
        Of a language model each at each token, [B, T, ...]. AccessDenied at TEXT.
        """
        return Predictor(self._load(Access.LABEL, "answers"), self.access, top_k)


class Predictor:
    """`batch -> answer` of a model in eval mode; its weights are out of sight and frozen.

    in_parts: batch -> the same logits as a `Projected`, which makes them rows at a time; None where
    the model or its access does not allow that. speaker: see `words.Speaker`; None below LOGITS.
    """

    __slots__ = ("_answer", "facts", "in_parts", "preprocess", "speaker")

    def __init__(self, model: BoundModel, access: Access, top_k: int):
        model.eval().requires_grad_(False)
        self.facts = model.facts
        self.preprocess = model.preprocess
        parts = model.facts.per_token and has_parts(model)
        shows = access >= Access.LOGITS
        self.in_parts = partial(in_parts, model) if parts and shows else None
        self.speaker = partial(Speaker, model) if model.facts.per_token and shows else None

        def answer(batch: Mapping[str, Any]) -> Any:
            if access >= Access.GRADIENTS:
                return model(batch)
            with torch.no_grad():
                if parts and access == Access.TOP_K and top_k < (model.facts.n_classes or 0):
                    most = likeliest(in_parts(model, batch), top_k)
                    return most.log_p, most.index
                logits = model(batch)
                if access >= Access.LOGITS:
                    return logits
                if access == Access.LABEL:
                    return logits.argmax(-1)
                best = logits.log_softmax(-1).topk(min(top_k, logits.shape[-1]), dim=-1)
                return best.values, best.indices

        self._answer = answer

    def __call__(self, batch: Mapping[str, Any]) -> Any:
        return self._answer(batch)


class DataView:
    """A data set whose labels are seen as far as declared.

    Labels.ALL: as they are. Labels.FEW: `few` of each class, the others are -1. Labels.NONE:
    batches are `SealedBatch`es without `y`, and `labels` raises AccessDenied.
    """

    __slots__ = (
        "_fetch", "_labels", "_move", "_n", "attempts", "classes", "facts", "hash", "kind", "lazy",
        "level", "role", "shape",
    )  # fmt: skip

    def __init__(
        self, role: str, level: Labels, samples: Samples, attempts: list[str], *, few: int = FEW
    ):
        self.role, self.level, self.attempts = role, level, attempts
        self.kind, self.classes, self.shape = samples.kind, samples.classes, samples.shape
        self.hash, self.lazy, self._n = samples.hash, samples.lazy, len(samples)
        self.facts: DataFacts = replace(
            samples.facts, labelled=samples.facts.labelled and level > Labels.NONE
        )
        seen = _seen(samples, level, few)

        def fetch(idx: Tensor) -> dict[str, Any]:
            batch = samples.fetch(idx)
            if level == Labels.NONE:
                owner = f"a method given data set `{role}` without labels"
                return SealedBatch(batch, ("y",), owner, attempts)
            if seen is not None:
                batch["y"] = seen.index_select(0, batch["idx"])
            return batch

        def labels() -> Tensor | None:
            if level == Labels.NONE:
                deny(
                    f"the method may not see the labels of data set `{role}`: its Needs do not "
                    "declare it",
                    attempts,
                )
            return seen.clone() if seen is not None else None

        def move(device: Device) -> DataView:
            return DataView(role, level, samples.to(device), attempts, few=few)

        self._fetch, self._labels, self._move = fetch, labels, move

    def __repr__(self) -> str:
        return f"DataView({self.role!r}, {self._n} of kind {self.kind}, labels {self.level.name})"

    def __len__(self) -> int:
        return self._n

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    @property
    def labels(self) -> Tensor | None:
        """int64 [N], -1 where not seen; None for data that has none. AccessDenied when sealed."""
        return self._labels()

    def fetch(self, idx: Tensor) -> dict[str, Any]:
        """The batch of samples at `idx`, int64 [B], in that order."""
        return self._fetch(idx)

    def to(self, device: Device) -> DataView:
        """The same view of the same data on another device."""
        return self._move(device)


def _declared(
    what: str, role: str, needs: Collection[str], given: Mapping[str, Any], attempts: list[str]
) -> None:
    if role not in needs:
        deny(f"the method may not see {what} `{role}`: its Needs do not declare it", attempts)
    if role not in given:
        raise LookupError(f"{what} `{role}` was not given")


def _seen(samples: Samples, level: Labels, few: int) -> Tensor | None:
    """The labels a method sees. Which few is a function of (position in the data, class)."""
    if samples.y is None or level == Labels.NONE:
        return None
    if level == Labels.ALL:
        return samples.y
    import numpy as np

    y = samples.y.cpu().numpy()
    noise = noise_of(np.arange(len(y)), 0, salt=3)
    kept = np.full_like(y, -1)
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        chosen = members[np.argsort(noise[members], kind="stable")[:few]]
        kept[chosen] = label
    return torch.from_numpy(kept).to(samples.y.device)
