"""A tiny case for any method, made from its `Needs` alone, and what must hold for each of them.

No line in here is about one method: a new one is tested as soon as its file lies in its place.
A family whose methods need more than vectors and classifiers has a module `cases/<family>.py` with
any of these, which replace what stands here:

    build(one, store, seed, loaded) -> dict   the arguments of `Given`, but the needs
    result(outcome) -> dict[str, Tensor]      the tensors that are the result
    start(one, seed) -> dict[str, Tensor]     the same before the method ran
    check(done, tmp)                          that an outsider can use the result
    job(one) -> dict                          a job of one method with every role it declares
    TRAIN                                     settings of `train:` on top of those here
    LOOKS = False                             the methods look at no data bit by bit

`look()` counts what is looked at; a case's own data call it so that Ctrl-C can come at any time.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bequeath.given.access import Needs
from bequeath.given.bound import BoundModel, hash_tensors
from bequeath.given.given import Given
from bequeath.given.models import ModelHandle, model_handle
from bequeath.given.samples import ArraySamples
from bequeath.kernel.errors import Interrupted
from bequeath.methods.catalog import all_methods, family_of
from bequeath.methods.contract import Method, MethodConfig, Outcome
from bequeath.train import checkpoint
from bequeath.train.config import Train
from bequeath.train.context import Context
from bequeath.train.seeds import seed_everything

CLASSES = ("a", "b", "c")
SEED = 5
SETTINGS: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 16,
    "threads": 1,
    "device": "cpu",
    "optimizer": {"name": "sgd", "lr": 0.05},
}


class NoTinyCase(AssertionError):
    """A method whose needs nobody has a tiny stand-in for: give it one here."""


@dataclass
class Case:
    """A method with everything it asks for, in small.

    start: role -> the role whose model stands in for it. dropout: of the models that train.
    stop_at: Ctrl-C during so many'th look at the data (0: never). like: the method whose case this
    is, where two must give the same.
    """

    method: Method
    config: MethodConfig
    train: Mapping[str, Any] = field(default_factory=dict)
    start: Mapping[str, str] = field(default_factory=dict)
    dropout: float = 0.1
    labelled: bool = True
    stop_at: int = 0
    like: Method | None = None


@dataclass
class Done:
    """What a run of a case left: the outcome, and each model as loaded with its hash then."""

    method: Method
    outcome: Outcome
    given: Given
    loaded: dict[str, list[tuple[BoundModel, str]]]
    looks: int

    @property
    def model(self) -> BoundModel:
        model = self.outcome.models.get(family_of(self.method.want).result)
        assert isinstance(model, BoundModel), f"`{self.method.name}` handed back no result"
        return model

    @property
    def result(self) -> dict[str, Tensor]:
        own = own_case(self.method, "result")
        return own(self.outcome) if own else weights(self.model)


class Watched(ArraySamples):
    """Vectors that count how often they are looked at."""

    def fetch(self, idx: Tensor) -> dict[str, Any]:
        look()
        return super().fetch(idx)


class _Looks:
    """How often data were looked at in this run, and at which look Ctrl-C is sent (0: never)."""

    so_far = 0
    stop_at = 0


def look() -> None:
    _Looks.so_far += 1
    if _Looks.so_far == _Looks.stop_at:
        signal.raise_signal(signal.SIGINT)


def case(method: Method, config: Mapping[str, Any] | None = None, **more: Any) -> Case:
    return Case(method, method.Config.model_validate(dict(config or {})), **more)


def vectors(seed: int, labelled: bool = True, n: int = 60) -> Watched:
    """Three overlapping clouds of vectors."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % len(CLASSES)
    centres = torch.randn(len(CLASSES), 10, generator=torch.Generator().manual_seed(0))
    x = centres[y] + 0.8 * torch.randn(n, 10, generator=g)
    return Watched("vector", x, y if labelled else None, CLASSES)


def run(one: Case, store: Path, seed: int = SEED) -> Done:
    """Run the case in `store`, as the fleet does. Raises what the method raises.

    Each store has a cache of teachers' answers of its own, so that a run that is stopped looks at
    its data as often as one that is not.
    """
    os.environ["BEQUEATH_CACHE"] = str(store / "cache")  # the folder's fixture puts it back
    loaded: dict[str, list[tuple[BoundModel, str]]] = {}
    held = (own_case(one.method, "build") or build)(one, store, seed, loaded)
    held["loaders"] = {**held.get("loaders", {}), "stranger": _forbidden}
    held["data"] = {**held.get("data", {}), "stranger": vectors(99)}
    given = Given(needs_of(one), **{"facts": {}, **held})
    seed_everything(seed)
    more = own_case(one.method, "TRAIN") or {}
    train = Train.model_validate({**SETTINGS, **more, **one.train})
    ctx = Context(seed, train, store, show=False)
    _Looks.so_far, _Looks.stop_at = 0, one.stop_at
    try:
        outcome = one.method(ctx, given, one.config)
    finally:
        _Looks.stop_at = 0
    return Done(one.method, outcome, given, loaded, _Looks.so_far)


def needs_of(one: Case) -> Needs:
    """What it needs, with two roles of the test's own in place of `*`."""
    return one.method.needs_for(one.config).over(("one", "other"), ("one", "other"))


def build(
    one: Case, store: Path, seed: int, loaded: dict[str, list[tuple[BoundModel, str]]]
) -> dict[str, Any]:
    """Vectors for data, small perceptrons for models."""
    needs = needs_of(one)
    if needs.graphs:
        raise NoTinyCase(f"`{one.method.name}` needs a graph, and there is no tiny one")
    samples = {
        role: vectors(10 + i, one.labelled or need.labels > 0)
        for i, (role, need) in enumerate(sorted(needs.data.items()))
    }
    if not samples:
        raise NoTinyCase(f"`{one.method.name}` needs no data; models would have no input")
    fixes = next(iter(samples.values()))
    facts = {role: _handle(one, role).examine(fixes.facts) for role in needs.models}
    loaded |= {role: [] for role in needs.models}
    loaders = {role: loader(one, role, fixes, seed, loaded[role]) for role in needs.models}
    return {"loaders": loaders, "facts": facts, "data": samples}


def fresh(one: Case, role: str, seed: int = SEED) -> BoundModel:
    """The model of a role as the method finds it."""
    needs = needs_of(one)
    first = min(needs.data)
    fixes = vectors(10, one.labelled or needs.data[first].labels > 0)
    return loader(one, role, fixes, seed, [])()


def _start(one: Case) -> dict[str, Tensor]:
    """The result as it was before the method ran."""
    own = own_case(one.method, "start")
    if own:
        return own(one, SEED)
    return weights(fresh(one, str(family_of(one.method.want).result)))


def own_case(method: Method, name: str) -> Any:
    """What the family's own cases say instead; None when they say nothing."""
    module = f"cases.{method.want}"
    if importlib.util.find_spec("cases") is None or importlib.util.find_spec(module) is None:
        return None
    return getattr(importlib.import_module(module), name, None)


def configs(method: Method) -> Iterator[dict[str, Any]]:
    """The defaults, and the settings of each identity."""
    yield {}
    yield from (dict(identity.config) for identity in method.identity)


def weights(model: BoundModel) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in model.module.state_dict().items()}


def farthest(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The largest difference of any number in two results of one shape."""
    assert one.keys() == other.keys()
    return max(float((one[k].double() - other[k].double()).abs().max()) for k in one)


def check_result(method: Method, tmp: Path) -> None:
    """It hands back a model of its family's role, which plain torch opens to the same logits."""
    done = run(case(method), tmp / "store")
    (own_case(method, "check") or check_model)(done, tmp)


def check_model(done: Done, tmp: Path) -> None:
    """What classifies vectors opens with plain torch."""
    model = done.model
    model.save(tmp / "model")
    batch = vectors(50).fetch(torch.arange(60))
    opened = open_plainly(tmp / "model")
    with torch.no_grad():
        theirs = opened(model.preprocess(batch, torch.device("cpu")))
        assert torch.equal(theirs, model.eval()(batch))
    assert theirs.shape == (60, len(CLASSES)) and bool(theirs.isfinite().all())


def open_plainly(folder: Path) -> torch.nn.Module:
    """Do what `bequeath.json` says opens the model, with nothing of ours but the file beside it."""
    record = json.loads((folder / "bequeath.json").read_text(encoding="utf-8"))
    code = record["load"].replace("'model.safetensors'", repr(str(folder / "model.safetensors")))
    assert "bequeath" not in code
    names: dict[str, Any] = {}
    sys.path.insert(0, str(folder))
    try:
        _forget_files()
        exec(code, names)
    finally:
        sys.path.remove(str(folder))
        _forget_files()
    return names["model"]


def _forget_files() -> None:
    """Another model's files have the same names."""
    for name in ("architecture", "preprocess"):
        sys.modules.pop(name, None)


def check_repeatable(method: Method, tmp: Path) -> None:
    """The same seed gives the same bits; where training is involved, another seed others."""
    first, second = (run(case(method), tmp / name).result for name in ("a", "b"))
    assert same_bits(first, second)
    if any(need.trains for need in method.needs.models.values()):
        assert not same_bits(first, run(case(method), tmp / "c", seed=SEED + 1).result)


def same_bits(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def check_resumes(method: Method, tmp: Path, every: int = 3) -> int:
    """Stopped by Ctrl-C at any look at the data and run again: the same bits. -> stops tried.

    Every so many'th look; all of them where that would leave fewer than two.
    """
    if own_case(method, "LOOKS") is False:
        pytest.skip(f"`{method.name}` looks at no data bit by bit; a stop means to begin again")
    whole = run(case(method), tmp / "whole")
    if whole.looks <= 2:  # opening a model of vectors takes as many
        pytest.skip(f"`{method.name}` looks at no data itself: there is nothing to go on with")
    stops = range(2, whole.looks, every if whole.looks > 2 + every else 1)
    for stop in stops:
        stopped = replace(case(method), stop_at=stop)
        store = tmp / f"stop-{stop}"
        try:
            run(stopped, store)
        except (Interrupted, KeyboardInterrupt):
            pass
        else:
            raise AssertionError(f"`{method.name}` ran on after Ctrl-C at look {stop}")
        again = run(case(method), store).result
        assert same_bits(again, whole.result), f"stopped at look {stop}"
    return len(stops)


def check_frozen(method: Method, tmp: Path) -> None:
    """Models that do not train are what they were, and in no checkpoint."""
    whole = run(case(method), tmp / "whole")
    with suppress(Interrupted, KeyboardInterrupt):
        run(replace(case(method), stop_at=max(2, whole.looks - 2)), tmp / "part")
    kept = [
        tensor
        for path in sorted(tmp.glob("*/checkpoints/*"))
        for tensor in _tensors(checkpoint.load(path))
    ]
    for role, need in needs_of(case(method)).models.items():
        if need.trains or need.files or role not in whole.loaded:
            continue
        assert whole.loaded[role] or need.optional, f"`{role}` is asked for and never used"
        for model, before in whole.loaded[role]:
            assert hash_tensors(model.module) == before, f"`{role}` was changed"
            for name, tensor in model.module.state_dict().items():
                if tensor.numel() < 2 or bool((tensor == tensor.flatten()[0]).all()):
                    continue  # a constant says nothing of where it is from
                assert not any(
                    other.shape == tensor.shape and torch.equal(other, tensor) for other in kept
                ), f"`{role}`'s {name} lies in a checkpoint"


def check_sealed(method: Method, tmp: Path) -> None:
    """It reaches for nothing it did not declare, and where it declares no labels it needs none."""
    for i, config in enumerate(configs(method)):
        one = case(method, config)
        done = run(one, tmp / f"{i}")
        assert done.given.attempts == []
        if any(need.labels == 0 for need in needs_of(one).data.values()):
            bare = run(replace(one, labelled=False), tmp / f"{i}-unlabelled")
            assert farthest(bare.result, done.result) == 0.0


def check_identities(method: Method, tmp: Path) -> None:
    """What is known exactly of a method's result is so."""
    assert method.identity, f"`{method.name}` declares no case that is known exactly"
    for i, identity in enumerate(method.identity):
        more = {"train": identity.train, "start": identity.start, "dropout": 0.0}
        one = case(method, identity.config, **more)
        result = run(one, tmp / f"{i}").result
        if identity.equals == "start":
            other = _start(one)
        else:
            there = all_methods().get(f"{method.want}/{identity.equals}")
            assert there is not None and there.want == method.want, identity.equals
            other = run(case(there, like=method, **more), tmp / f"{i}-other").result
        apart = farthest(result, other)
        assert apart <= identity.within, f"{identity.says}: weights are {apart} apart"


def _handle(one: Case, role: str) -> ModelHandle:
    """All of one shape, so that any can stand in for any."""
    role = one.start.get(role, role)
    trains = needs_of(one).models[role].trains
    dropout = one.dropout if trains else 0.0
    return model_handle(role, f"zoo:mlp?hidden=16,8&dropout={dropout}")


def loader(
    one: Case, role: str, data: ArraySamples, seed: int, seen: list[tuple[BoundModel, str]]
) -> Callable[[], BoundModel]:
    """Models that train begin anew with each seed, the others are the same for all."""
    needs = needs_of(one)
    comes_from = one.start.get(role, role)
    own = 100 + sorted(needs.models).index(comes_from)

    def load() -> BoundModel:
        drawn = seed if needs.models[comes_from].trains else own
        model = _handle(one, role).load(n_classes=len(CLASSES), data=data, seed=drawn)
        seen.append((model, hash_tensors(model.module)))
        return model

    return load


def _forbidden() -> BoundModel:
    raise AssertionError("a model that was not declared has been loaded")


def _tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from _tensors(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from _tensors(value)
