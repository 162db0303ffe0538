"""What a method may see of what the user owns: declared in `Needs`, enforced by sealed views."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Literal, NoReturn

from bequeath.kernel.errors import AccessDenied

ANY = "*"  # the role that stands for every role not named otherwise


class Access(IntEnum):
    """How deep a method may reach into a model; each level includes those below it."""

    TEXT = 1
    LABEL = 2
    TOP_K = 3
    LOGITS = 4
    GRADIENTS = 5
    WEIGHTS = 6


class Labels(IntEnum):
    """What a method may see of a data set's labels."""

    NONE = 0
    FEW = 1
    ALL = 2


@dataclass(frozen=True)
class ModelNeed:
    """access: the depth; trains: the method changes its weights (a fresh copy for each seed).

    embedding: the method reads what goes into the classifier, so the classifier must be known.
    files: the method reads weight files and builds no module, so the architecture may stay unknown.
    own_classes: a trained model keeps its classes, whichever the data have.
    at_least: with the role `*`, how many such models there must be. asked_anew: the method asks
    about what is in no data set (what a student writes), so nothing can be asked beforehand.
    """

    access: Access
    trains: bool = False
    optional: bool = False
    embedding: bool = False
    files: bool = False
    own_classes: bool = False
    at_least: int = 1
    asked_anew: bool = False


@dataclass(frozen=True)
class DataNeed:
    """labels: what may be seen of them; optional: the method runs without this data set.

    at_least: with the role `*`, how many such data sets there must be.
    """

    labels: Labels
    optional: bool = False
    at_least: int = 1


@dataclass(frozen=True)
class Needs:
    """What a method must be given, by role (`teacher`, `student`, `train`, ...).

    Whatever is not named here is sealed: a method cannot reach it. The role `*` stands for every
    other role of the job, see `over`. `same_classes`: all models and data sets named here must
    agree on the number of classes. answers: what the models are to answer about, each sample
    (classifiers) or each token (language models); or noise, of which diffusion models make samples.
    """

    models: Mapping[str, ModelNeed] = field(default_factory=dict)
    data: Mapping[str, DataNeed] = field(default_factory=dict)
    graphs: tuple[str, ...] = ()
    same_classes: bool = False
    answers: Literal["samples", "tokens", "both", "noise"] = "samples"

    def over(self, models: Iterable[str], data: Iterable[str]) -> Needs:
        """The same needs with `*` replaced by those of these roles that are not named, in order.

        A `*` that nothing fills stays, as the role that is lacking.
        """
        return replace(self, models=_over(self.models, models), data=_over(self.data, data))


def _over(needs: Mapping[str, Any], roles: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for role, need in needs.items():
        others = [one for one in roles if one not in needs] if role == ANY else [role]
        found |= dict.fromkeys(others if len(others) >= need.at_least else [*others, ANY], need)
    return found


class SealedBatch(dict[str, Any]):
    """A batch without what the method may not see; reaching for it raises `AccessDenied`.

    The hidden values are not in here at all, so a copy or a move to a device loses only the
    explanation. attempts: where a reach is noted, besides being refused.
    """

    def __init__(
        self,
        batch: Mapping[str, Any],
        hidden: tuple[str, ...] = (),
        owner: str = "this method",
        attempts: list[str] | None = None,
    ):
        super().__init__({key: value for key, value in batch.items() if key not in hidden})
        self._hidden, self._owner, self._attempts = hidden, owner, attempts

    def __missing__(self, key: str) -> NoReturn:
        if key in self._hidden:
            message = f"{self._owner} may not see `{key}`: its Needs do not declare it"
            deny(message, self._attempts)
        raise KeyError(key)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self or key in self._hidden else default

    def pop(self, key: str, *default: Any) -> Any:
        return self[key] if key in self._hidden else super().pop(key, *default)


def deny(message: str, attempts: list[str] | None = None) -> NoReturn:
    """Raise `AccessDenied`, and note it: a method that swallows the error is seen all the same."""
    if attempts is not None:
        attempts.append(message)
    raise AccessDenied(message)
