"""A resolved job: typed, complete, and still knowing where each value came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bequeath.given.access import Needs
from bequeath.job.document import Document
from bequeath.job.sections import Evaluate
from bequeath.kernel.errors import JobError, JobPath, Problem
from bequeath.methods.contract import Method, MethodConfig
from bequeath.methods.family import Settings
from bequeath.train.config import Budget, Train

if TYPE_CHECKING:
    from bequeath.given.data import DataHandle
    from bequeath.given.graphs import GraphHandle
    from bequeath.given.models import ModelHandle

SEED = "{seed}"


@dataclass(frozen=True)
class Arm:
    """One line of the comparison: a method with its settings.

    label: its name in folders and reports. needs: what it is given, at these settings and with
    the roles of this job in place of `*`. added: a baseline nobody asked for.
    index: its place in the list under `method:`, None where `method:` is no list.
    """

    label: str
    method: Method
    config: MethodConfig
    needs: Needs = field(default_factory=Needs)
    added: bool = False
    index: int | None = None
    reference: str = ""

    @property
    def at(self) -> JobPath:
        """Its place in the job."""
        return ("method",) if self.index is None else ("method", self.index)


@dataclass(frozen=True)
class Reference:
    """A model or data set as asked for: `ref` without its query, the settings typed."""

    ref: str
    options: Any
    written: Mapping[str, Any] = field(default_factory=dict)
    query: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """What the user asked for. Made by `load_job`; models and data are handles, nothing loaded.

    In the paths of models `{seed}` stands for the run's seed; `models` are those of the first.
    Relative paths in references and in `out` start at the working directory; `extends:` starts at
    the file that says it.
    """

    want: str
    arms: tuple[Arm, ...]
    model_refs: Mapping[str, Reference]
    data_refs: Mapping[str, Reference]
    graph_refs: Mapping[str, Reference]
    evaluate: Evaluate
    protocol: Settings | None
    seeds: tuple[int, ...]
    budget: Budget
    train: Train
    out: Path
    baselines: bool
    document: Document = field(repr=False)
    allow_code: bool = False

    @cached_property
    def models(self) -> dict[str, ModelHandle]:
        """role -> lazy handle."""
        from bequeath.given.models import model_handle

        refs = self.for_seed(self.seeds[0]).model_refs
        return {k: model_handle(k, r.ref, r.options) for k, r in refs.items()}

    @cached_property
    def data(self) -> dict[str, DataHandle]:
        """role -> lazy handle."""
        from bequeath.given.data import data_handle

        return {k: data_handle(k, r.ref, r.options) for k, r in self.data_refs.items()}

    @cached_property
    def graphs(self) -> dict[str, GraphHandle]:
        """role -> lazy handle."""
        from bequeath.given.graphs import graph_handle

        return {k: graph_handle(k, r.ref, r.options) for k, r in self.graph_refs.items()}

    @property
    def varying(self) -> tuple[str, ...]:
        """The models that are others for each seed: `{seed}` in a path stands for it."""
        texts = {r: f"{ref.ref} {ref.options.weights}" for r, ref in self.model_refs.items()}
        return tuple(role for role, text in texts.items() if SEED in text)

    def for_seed(self, seed: int) -> Job:
        """This job with the models that one seed means."""
        varying = self.varying
        if not varying:
            return self
        refs = {
            role: _seeded(ref, str(seed)) if role in varying else ref
            for role, ref in self.model_refs.items()
        }
        return replace(self, model_refs=refs)

    def only_files(self, role: str) -> bool:
        """Whether the methods read the weight files of a model and build no module of it."""
        needs = [need for arm in self.arms if (need := arm.needs.models.get(role))]
        return bool(needs) and all(need.files for need in needs)

    @property
    def judged(self) -> bool:
        """Whether there is a data set that judges."""
        return self.evaluate.data in self.data_refs

    @property
    def name(self) -> str:
        return Path(self.document.name).stem or "job"

    def metric_at(self, i: int | None = None) -> JobPath:
        """The place of `evaluate.metrics`, or of the i'th of them; `want`, which decides on them,
        where none is written."""
        if "metrics" not in (self.document.plain.get("evaluate") or {}):
            return ("want",)
        return ("evaluate", "metrics") if i is None else ("evaluate", "metrics", i)

    def located(self, problems: Iterable[Problem]) -> list[Problem]:
        """The same problems, each with its place in the job file."""
        return [self.document.locate(one) for one in problems]

    def error(self, *problems: Problem) -> JobError:
        """A JobError of these problems, located."""
        return JobError(self.located(problems))

    def to_dict(self) -> dict[str, Any]:
        """The resolved job as plain values; `load_job` of it gives an equal job."""
        from bequeath.job.show import resolved

        return resolved(self)

    def to_yaml(self, *, origins: bool = False) -> str:
        """The resolved job as YAML; with `origins`, where each value came from, as comments."""
        from bequeath.job.show import to_yaml

        return to_yaml(self, origins=origins)

    def but(self, **changes: Any) -> Job:
        """This job with other fields; the same models and data stay as far as they were read."""
        other = replace(self, **changes)
        for name in {"models", "data", "graphs"} & self.__dict__.keys():
            other.__dict__[name] = self.__dict__[name]
        return other

    def with_out(self, out: str | Path) -> Job:
        return replace(self, out=Path(out))

    def __reduce__(self) -> tuple[Any, ...]:
        # a method is a function hidden behind its decorator, which pickle cannot find by name
        return _again, (self.document, self.allow_code, self.out)


def _seeded(ref: Reference, seed: str) -> Reference:
    weights = ref.options.weights
    options = ref.options.model_copy(update={"weights": weights and weights.replace(SEED, seed)})
    return replace(ref, ref=ref.ref.replace(SEED, seed), options=options)


def _again(document: Document, allow_code: bool, out: Path) -> Job:
    from bequeath.job.resolve import resolve

    return resolve(document, allow_code=allow_code).with_out(out)
