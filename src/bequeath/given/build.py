"""From a reference to a module: shapes on the meta device first, weights afterwards."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bequeath.given.bound import BoundModel, Source, hash_tensors, logits_of
from bequeath.given.facts import DataFacts, ModelFacts, TensorFact
from bequeath.given.heads import check_head, find_head
from bequeath.given.model_schemes import Blueprint
from bequeath.given.options import ModelOptions
from bequeath.given.preprocess import (
    CharacterPreprocess,
    ImagePreprocess,
    TextPreprocess,
    VectorPreprocess,
)
from bequeath.given.weights_file import (
    bad_tensors,
    file_facts,
    file_hash,
    not_finite,
    read_tensors,
)
from bequeath.kernel.errors import JobError, Problem
from bequeath.kernel.files import digest

_NAMED = 5  # tensors named in an error, of each sort


@dataclass(frozen=True)
class Plan:
    """A blueprint with every question answered: how wide, which head, what is loaded."""

    blueprint: Blueprint
    facts: ModelFacts
    n_classes: int
    weights: Path | None
    fresh_head: bool
    at: tuple[str, ...]


def plan(blueprint: Blueprint, options: ModelOptions, data: DataFacts) -> Plan:
    """Build on the meta device and compare with the weights and the data. Raises JobError."""
    weights, at = blueprint.weights, ("ref",)
    if options.weights is not None and weights is None:
        weights, at = Path(options.weights), ("weights",)
        if blueprint.trained is not None and blueprint.scheme != "hf":
            message = "`weights` and `pretrained: true` are two sets of weights for one model"
            raise JobError(Problem("M312", message, at=at, remedies=("leave out one of them",)))
    _check_kind(blueprint, data)
    tensors = file_facts(weights, at=at) if weights is not None else None
    n_classes = options.classes or blueprint.n_classes or data.n_classes
    if blueprint.generates:
        n_classes = 0  # what it makes has none
    module = _shell(blueprint, n_classes or 2)
    head = _head(module, n_classes or 2, options, blueprint)
    fresh_head = False
    if tensors is not None:
        trained = _rows(tensors, head)
        if trained and trained != n_classes:
            fresh_head = options.classes is not None
            if not fresh_head:
                n_classes = trained
                module = _shell(blueprint, trained)
                head = _head(module, trained, options, blueprint)
        _compare(module, tensors, head if fresh_head else None, weights, at)
    if n_classes is None:
        message = "the number of classes is not known"
        raise JobError(Problem("M312", message, at=("ref",), remedies=("say `classes: N`",)))
    shape = _eaten(blueprint, data)
    _check_classes(module, shape, n_classes, data, blueprint, trained=tensors is not None)
    read = file_hash(weights, at=at) if weights is not None else blueprint.hash
    if weights is not None:
        _refuse_not_finite(not_finite(weights, at=at), at)
    new_head = fresh_head or (blueprint.trained is not None and n_classes != blueprint.n_classes)
    facts = ModelFacts(
        kind=blueprint.preprocess.kind,
        architecture=blueprint.name,
        parameters=sum(p.numel() for p in module.parameters() if p.requires_grad),
        n_classes=n_classes or None,
        head=head,
        input=shape,
        preprocess=blueprint.preprocess.to_dict(),
        licence=blueprint.licence,
        hash=None if new_head else read,
        tensors=_shapes(module),
        classes=None if new_head else _names(blueprint, n_classes),
        made_of=digest(str(read), str(blueprint.made_of)),
        per_token=blueprint.per_token,
        generates=blueprint.generates,
    )
    return Plan(blueprint, facts, n_classes, weights, fresh_head, at)


def load(made: Plan, samples: Any, seed: int, device: torch.device | str) -> BoundModel:
    """The module with its weights: fresh ones are a function of the seed, trained ones complete."""
    blueprint = made.blueprint
    with _seeded(seed):
        make = blueprint.trained or blueprint.make
        if made.weights is not None:
            make = blueprint.make
        module = make(made.n_classes)
    if made.weights is not None:
        _fill(module, made)
    if made.weights is not None or blueprint.trained is not None:
        _refuse_not_finite(bad_tensors(module.state_dict()), made.at)
    eyes = blueprint.preprocess
    if isinstance(eyes, VectorPreprocess) and eyes.standard and eyes.mean is None:
        if samples is None:
            message = "the training data is needed to standardise the input"
            raise JobError(Problem("M312", message, at=("preprocess", "scale")))
        eyes = eyes.fit(samples)
    known = getattr(samples, "classes", ()) or ()
    classes = made.facts.classes or ()
    if not classes and len(known) == made.n_classes:
        classes = tuple(known)
    source = Source(
        blueprint.scheme,
        blueprint.name,
        blueprint.kwargs,
        classes,
        blueprint.origin,
        blueprint.graft,
    )
    facts = replace(made.facts, hash=hash_tensors(module), preprocess=eyes.to_dict())
    return BoundModel(module, eyes, facts, source).to(device).eval()


def data_facts(samples: Any, n_classes: int | None = None) -> DataFacts:
    """Facts of an open data set, as far as a model needs them."""
    if samples is None:
        return DataFacts(n_classes=n_classes)
    shape = None
    if samples.kind != "text" and len(samples):
        shape = tuple(samples.fetch(torch.zeros(1, dtype=torch.int64))["x"].shape[1:])
    classes = tuple(samples.classes or ())
    return DataFacts(
        kind=samples.kind,
        n=len(samples),
        shape=shape,
        classes=classes,
        n_classes=n_classes or len(classes) or None,
        alphabet=getattr(samples, "alphabet", None),
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """torch's CPU generator seeded, and afterwards as it was; devices' generators untouched."""
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def _shell(blueprint: Blueprint, n_classes: int) -> nn.Module:
    """The module without memory for its weights; on the CPU where its code cannot do that."""
    try:
        with _seeded(0):
            try:
                with torch.device("meta"):
                    return blueprint.make(n_classes)
            except (NotImplementedError, RuntimeError) as error:
                if "meta" not in str(error).lower():
                    raise
                return blueprint.make(n_classes)
    except JobError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        message = f"`{blueprint.scheme}:{blueprint.name}` cannot be built"
        raise JobError(Problem("M312", message, at=("ref",), notes=(reason,))) from error


def _head(
    module: nn.Module, n_classes: int, options: ModelOptions, blueprint: Blueprint
) -> str | None:
    if blueprint.generates:
        return None
    if options.head is None:
        return find_head(module, n_classes, blueprint.head)
    check_head(module, options.head)
    return options.head


def _names(blueprint: Blueprint, n_classes: int) -> tuple[str, ...] | None:
    """Names of the outputs, where there is one for each."""
    return tuple(blueprint.classes) if len(blueprint.classes) == n_classes else None


def _rows(tensors: Mapping[str, TensorFact], head: str | None) -> int | None:
    """Outputs of the classifier in the file."""
    found = tensors.get(f"{head}.weight")
    return found.shape[0] if found and found.shape else None


def _shapes(module: nn.Module) -> dict[str, TensorFact]:
    from bequeath.given.bound import DTYPES

    return {
        name: TensorFact(tuple(t.shape), DTYPES.get(t.dtype, str(t.dtype)))
        for name, t in module.state_dict().items()
    }


def _compare(
    module: nn.Module,
    tensors: Mapping[str, TensorFact],
    skip: str | None,
    path: Path | None,
    at: tuple[str, ...],
) -> None:
    """JobError (M306) when names or shapes differ; the first few of each sort are named."""
    wanted = {name: fact.shape for name, fact in _shapes(module).items()}
    if skip:
        wanted = {name: s for name, s in wanted.items() if not name.startswith(skip + ".")}
        tensors = {name: t for name, t in tensors.items() if not name.startswith(skip + ".")}
    # Old files lack the counters of batch norm; torch starts them at zero.
    missing = [n for n in wanted if n not in tensors and not n.endswith("num_batches_tracked")]
    surplus = [n for n in tensors if n not in wanted]
    bent = [n for n in wanted if n in tensors and tensors[n].shape != wanted[n]]
    if not missing and not surplus and not bent:
        return
    notes = [f"missing in the file: {text}" for text in _few(missing, wanted)]
    notes += [
        f"not in the architecture: {text}"
        for text in _few(surplus, {n: tensors[n].shape for n in surplus})
    ]
    for name in bent[:_NAMED]:
        have, want = list(tensors[name].shape), list(wanted[name])
        notes.append(f"another shape: `{name}` is {have} in the file, {want} in the architecture")
    if len(bent) > _NAMED:
        notes.append(f"... and {len(bent) - _NAMED} more of another shape")
    label = ""
    if missing and (near := difflib.get_close_matches(missing[0], surplus, n=1, cutoff=0.8)):
        label = f"`{missing[0]}` may be what the file calls `{near[0]}`"
    same = len(wanted) - len(missing) - len(bent)
    message = f"`{path}` does not fit the architecture: {same} of {len(wanted)} tensors agree"
    remedy = "name the architecture the weights were trained in"
    raise JobError(
        Problem("M306", message, at=at, label=label, notes=tuple(notes), remedies=(remedy,))
    )


def _few(names: list[str], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    said = [f"`{name}` {list(shapes[name])}" for name in names[:_NAMED]]
    return said + ([f"... and {len(names) - _NAMED} more"] if len(names) > _NAMED else [])


def _check_kind(blueprint: Blueprint, data: DataFacts) -> None:
    """Vectors cannot be seen by a model of images; images can by one of vectors (flattened)."""
    eats, given = blueprint.preprocess.kind, data.kind
    if given is None or eats == given or (eats == "vector" and given == "image"):
        return
    message = f"`{blueprint.scheme}:{blueprint.name}` takes {eats}s, the data are {given}s"
    remedies = ("zoo:mlp takes vectors",) if given == "vector" else ()
    raise JobError(Problem("G408", message, at=("ref",), remedies=remedies))


def _eaten(blueprint: Blueprint, data: DataFacts) -> tuple[int, ...] | None:
    eyes = blueprint.preprocess
    if data.shape is None or isinstance(eyes, TextPreprocess | CharacterPreprocess):
        return None
    shape = eyes.shape(data.shape)
    problem = None
    if isinstance(eyes, ImagePreprocess):
        channels = data.shape[2]
        if shape[0] != channels and (shape[0], channels) not in ((3, 1), (1, 3), (3, 4), (1, 4)):
            problem = f"the model takes {shape[0]} channels, the images have {channels}"
        elif len(eyes.mean) != len(eyes.std) or len(eyes.mean) not in (1, shape[0]):
            problem = f"`mean` and `std` need {shape[0]} values each, one a channel"
        elif min(eyes.std) <= 0:
            problem = "`std` must be more than 0"
    elif eyes.mean is not None and len(eyes.mean) not in (1, math.prod(data.shape)):
        problem = f"`mean` has {len(eyes.mean)} values, the vectors {math.prod(data.shape)}"
    if problem:
        raise JobError(Problem("G409", problem, at=("preprocess",)))
    return shape


def _check_classes(
    module: nn.Module,
    shape: tuple[int, ...] | None,
    n_classes: int,
    data: DataFacts,
    blueprint: Blueprint,
    *,
    trained: bool,
) -> None:
    """A pass over the meta device gives the width of the output; it must be that of the data."""
    gives = n_classes
    if shape is not None:
        gives = _output_width(module, shape, blueprint) or n_classes
    if blueprint.generates:
        return
    if gives != n_classes or (data.n_classes is not None and gives != data.n_classes):
        wanted = n_classes if gives != n_classes else data.n_classes
        remedy = f"`classes: {wanted}` puts a fresh classifier on it"
        if blueprint.scheme == "py":
            remedy = "the callable is given the number of classes; use it"
        elif not trained and blueprint.trained is None:
            remedy = "leave `classes` out: it is taken from the data"
        message = f"`{blueprint.name}` has {gives} outputs, {wanted} classes are wanted"
        raise JobError(Problem("G404", message, at=("ref",), remedies=(remedy,)))


def _output_width(module: nn.Module, shape: tuple[int, ...], blueprint: Blueprint) -> int | None:
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            logits = logits_of(module(torch.zeros((2, *shape), device=device)))
        return logits.shape[1] if logits.ndim == 2 else None
    except NotImplementedError:
        return None
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        if "meta" in str(error).lower():
            return None  # the model looks at values, which the meta device does not have
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        message = f"`{blueprint.name}` cannot take inputs of shape {list(shape)}"
        raise JobError(Problem("G409", message, at=("ref",), notes=(reason,))) from error
    finally:
        module.train(was_training)


def _fill(module: nn.Module, made: Plan) -> None:
    """Put the file's tensors into the module, every one of them."""
    assert made.weights is not None
    tensors = read_tensors(made.weights, at=made.at)
    if made.fresh_head and made.facts.head:
        head = made.facts.head + "."
        own = module.state_dict()
        tensors = {n: t for n, t in tensors.items() if not n.startswith(head)}
        tensors |= {n: t for n, t in own.items() if n.startswith(head)}
    for name, value in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensors.setdefault(name, torch.zeros_like(value))
    module.load_state_dict(tensors, strict=True)


def _refuse_not_finite(bad: list[str], at: tuple[str, ...]) -> None:
    if bad:
        names = ", ".join(f"`{name}`" for name in bad[:_NAMED])
        message = f"the weights hold NaN or infinity in {len(bad)} tensors: {names}"
        raise JobError(Problem("M314", message, at=at, remedies=("use an earlier checkpoint",)))
