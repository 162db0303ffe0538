"""`file:PATH`: a folder saved by bequeath or transformers, or a bare weights file with `arch`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bequeath.given.facts import (
    DataFacts,
    ModelFacts,
    absurd,
    missing,
    read_json,
    safetensors_header,
)
from bequeath.given.model_schemes import Blueprint, scheme
from bequeath.given.options import (
    MODEL_OPTIONS,
    FileModel,
    HfModel,
    ModelOptions,
    parse_ref,
)
from bequeath.kernel.errors import JobError, Problem

_ARCH = ("timm", "torchvision", "zoo", "hf")
_KWARGS = {
    "timm": {"in_chans", "img_size"},
    "torchvision": {"aux_logits", "init_weights"},
    "zoo": {"in_features", "hidden", "in_channels", "height", "width", "dropout"}
    | {"layers", "heads", "context", "normalise", "constant"}
    | {"shape", "predicts", "schedule", "t_max", "sampler", "steps"},
    "py": {"callable"},
}
_MAY_BE = {"head": str, "n_classes": int, "classes": list, "input": list, "licence": str}
_MAY_BE |= {"per_token": bool, "generates": bool, "graft": dict}
_NEEDED = {"scheme": str, "name": str, "kwargs": dict, "kind": str, "preprocess": dict}


def describe(rest: str, options: FileModel) -> tuple[ModelFacts, list[Problem]]:
    path = Path(rest)
    try:
        if not path.exists():
            raise JobError(missing(f"`{rest}` is not there", path, ("ref",)))
        if not path.is_dir():
            name, tail, own = architecture(rest, options)
            facts, problems = scheme(name).describe(tail, own)
            return facts, [_at_arch(problem) for problem in problems]
        _no_arch(options)
        if (path / "bequeath.json").is_file():
            record = read_record(path)
            return _facts(path, record, options), []
        return scheme("hf").describe(rest, transformers_options(path, options))
    except JobError as error:
        return ModelFacts(n_classes=options.classes), error.problems
    except OSError as error:  # a path too long, a folder one may not enter
        message = f"`{rest}` cannot be read: {error.strerror or error}"
        return ModelFacts(n_classes=options.classes), [Problem("M301", message, ("ref",))]


def blueprint(rest: str, options: FileModel, data: DataFacts) -> Blueprint:
    path = Path(rest)
    if not path.exists():
        raise JobError(missing(f"`{rest}` is not there", path, ("ref",)))
    if not path.is_dir():
        name, tail, own = architecture(rest, options)
        try:
            plan = scheme(name).blueprint(tail, own, data)
        except JobError as error:
            raise JobError([_at_arch(problem) for problem in error.problems]) from error
        return replace(plan, weights=path)
    _no_arch(options)
    if (path / "bequeath.json").is_file():
        return saved(path, options)
    return scheme("hf").blueprint(rest, transformers_options(path, options), data)


def saved(folder: Path, options: FileModel, *, allow_code: bool = False) -> Blueprint:
    """How to make again what `BoundModel.save` wrote."""
    record = read_record(folder, allow_code=allow_code)
    plan = _saved(folder, record, options)
    if record.get("graft") is None:
        return plan
    from bequeath.given import graft

    return graft.reopened(plan, folder, record, options)


def _saved(folder: Path, record: Mapping[str, Any], options: FileModel) -> Blueprint:
    from bequeath.given.preprocess import TextPreprocess, from_dict, override

    try:
        eyes = from_dict(record["preprocess"])
    except (ValueError, TypeError) as error:
        raise _broken(folder, str(error)) from error
    if isinstance(eyes, TextPreprocess):
        eyes = replace(eyes, tokenizer=str(folder))
    eyes = override(eyes, options.preprocess, trained=True)
    shared: dict[str, Any] = {
        "preprocess": eyes,
        "head": record.get("head"),
        "classes": tuple(record.get("classes") or ()),
        "licence": record.get("licence"),
        "n_classes": record.get("n_classes"),
        "per_token": record.get("per_token", False),
        "generates": record.get("generates", False),
    }
    if record["scheme"] == "hf":
        task = "language" if shared["per_token"] else record["kind"]
        own = HfModel.model_validate({"classes": options.classes, "task": task})
        plan = scheme("hf").blueprint(str(folder), own, DataFacts())
        return replace(plan, name=record["name"], **shared)
    return Blueprint(
        scheme=record["scheme"],
        name=record["name"],
        make=scheme(record["scheme"]).again(record["name"], record["kwargs"], folder),
        kwargs=record["kwargs"],
        weights=folder / "model.safetensors",
        origin=folder / "architecture.py" if (folder / "architecture.py").is_file() else None,
        **shared,
    )


def read_record(folder: Path, *, allow_code: bool = False) -> dict[str, Any]:
    """bequeath.json, checked. Code that lies in a folder is not run because a job names it."""
    record = read_json(folder / "bequeath.json", at=("ref",))
    for key, kind in _NEEDED.items():
        if not isinstance(record.get(key), kind):
            raise _broken(folder, f"`{key}` is missing or of the wrong type")
    for key, optional in _MAY_BE.items():
        if not isinstance(record.get(key), optional | None):
            raise _broken(folder, f"`{key}` is of the wrong type")
    if record["scheme"] not in MODEL_OPTIONS or record["scheme"] == "file":
        raise _broken(folder, f"unknown scheme `{record['scheme']}`")
    # timm, for one, takes arguments that load files and ask the network
    if strange := sorted(record["kwargs"].keys() - _KWARGS.get(record["scheme"], set())):
        raise _broken(folder, f"unknown argument `{strange[0]}`")
    if (reason := absurd(record["kwargs"])) is not None:
        raise _broken(folder, reason)
    if record["scheme"] == "zoo":
        from bequeath.given.zoo import ZOO

        if record["name"] not in ZOO:
            raise _broken(folder, f"the zoo has no `{record['name']}`")
    if record["scheme"] == "py" and not allow_code:
        code = f"py:{folder / 'architecture.py'}:{record['name']}"
        raise JobError(
            Problem(
                "M311",
                f"the model in `{folder}` is made by code of its own, which is not run from here",
                at=("ref",),
                remedies=(f"write ref: {code}, and weights: {folder / 'model.safetensors'}",),
            )
        )
    return record


def architecture(rest: str, options: FileModel) -> tuple[str, str, ModelOptions]:
    """`arch` taken apart: scheme, name, and the options that scheme would have had."""
    if options.weights is not None:
        message = "`weights` beside a weights file: only one can be loaded"
        raise JobError(Problem("M312", message, at=("weights",)))
    if options.arch is None:
        raise JobError(
            Problem(
                "M305",
                f"`{rest}` holds weights only; which architecture they belong to is not known",
                at=("ref",),
                remedies=("add `arch:`, for example arch: zoo:resnet56 or arch: timm:resnet18",),
            )
        )
    try:
        ref = parse_ref(options.arch)
        if ref.scheme not in _ARCH:
            hint = "; for code of your own write ref: py:..., and weights: PATH"
            raise ValueError(f"`arch` is one of {', '.join(s + ':' for s in _ARCH)}{hint}")
        common = {"head": options.head, "classes": options.classes, "weights": rest}
        query: dict[str, Any] = dict(ref.query)
        own = MODEL_OPTIONS[ref.scheme](**{**query, **common}, preprocess=options.preprocess)
    except ValidationError as error:
        raise JobError(_wrong_setting(ref.scheme, error)) from None
    except ValueError as error:
        raise JobError(Problem("M312", str(error), at=("arch",))) from None
    return ref.scheme, ref.rest, own


def _wrong_setting(name: str, error: ValidationError) -> Problem:
    first = error.errors()[0]
    key, there = str(first["loc"][0]), sorted(MODEL_OPTIONS[name].model_fields)
    if first["type"] != "extra_forbidden":
        return Problem("M312", f"`arch`: {key}: {first['msg']}", at=("arch",))
    near = difflib.get_close_matches(key, there, n=1)
    label = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(there)}"
    return Problem("M312", f"`{name}:` takes no `{key}`", at=("arch",), label=label)


def transformers_options(folder: Path, options: FileModel) -> HfModel:
    """A folder without bequeath.json is transformers' or nobody's."""
    if not (folder / "config.json").is_file():
        weights = sorted(p.name for p in folder.glob("*") if p.suffix in (".safetensors", ".pt"))
        remedy = f"name the file: file:{folder / weights[0]} and its `arch`" if weights else ""
        raise JobError(
            Problem(
                "M313",
                f"`{folder}` is neither a model saved by bequeath nor one of transformers",
                at=("ref",),
                notes=("it has neither bequeath.json nor config.json",),
                remedies=(remedy,) if remedy else (),
            )
        )
    shared = {"head": options.head, "classes": options.classes}
    return HfModel.model_validate({**shared, "preprocess": options.preprocess})


def _facts(folder: Path, record: Mapping[str, Any], options: FileModel) -> ModelFacts:
    weights = folder / "model.safetensors"
    tensors = None
    if weights.is_file():
        tensors = safetensors_header(weights, at=("ref",))
    elif record["scheme"] != "hf":
        raise JobError(missing(f"weights file `{weights}` is not there", weights, ("ref",)))
    shape = record.get("input")
    return ModelFacts(
        kind=record["kind"],
        architecture=record["name"],
        parameters=record.get("parameters"),
        n_classes=options.classes or record.get("n_classes"),
        head=options.head or record.get("head"),
        input=tuple(shape) if shape else None,
        preprocess=record["preprocess"],
        licence=record.get("licence"),
        tensors=tensors,
        classes=tuple(record.get("classes") or ()) or None,
        per_token=record.get("per_token", False),
        generates=record.get("generates", False),
    )


def _no_arch(options: FileModel) -> None:
    if options.arch is not None:
        message = "`arch` is for a bare weights file; the folder says itself what it is"
        raise JobError(Problem("M312", message, at=("arch",)))


def _at_arch(problem: Problem) -> Problem:
    """What is wrong with `arch`, or with a setting behind its `?`, is wrong there."""
    of_arch = problem.code in ("M307", "M308", "M312") and problem.at[:1] == ("ref",)
    elsewhere = problem.at[0] not in (*FileModel.model_fields, "ref")
    if of_arch or elsewhere:
        return replace(problem, at=("arch",))
    return problem


def _broken(folder: Path, reason: str) -> JobError:
    message = f"`{folder / 'bequeath.json'}` is not what bequeath writes"
    return JobError(Problem("M313", message, at=("ref",), notes=(reason,)))
