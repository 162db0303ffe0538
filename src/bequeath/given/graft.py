"""A backbone with another head in place of its classifier, as one ordinary model.

Heads in closed form (`random_features`) and the head of source-free adaptation (`bottleneck`). A
grafted model is saved as its own library saves the backbone (the classifier that was there
emptied), with the head beside it in `head.safetensors` and the few lines of torch that put the two
together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from bequeath.given.bound import BoundModel, plain_state
from bequeath.given.facts import DataFacts
from bequeath.given.heads import find_head
from bequeath.given.model_schemes import Blueprint, scheme
from bequeath.given.options import ModelOptions
from bequeath.given.zoo import bottleneck, random_features
from bequeath.given.zoo.random_features import RandomHead
from bequeath.kernel.errors import JobError, Problem
from bequeath.kernel.files import write_text

TENSORS = "head.safetensors"
_WITH_HEAD = '''

def with_head(model: nn.Module, path: str, tensors: dict[str, Tensor], *args, **kwargs):
    """The model with a head of these tensors in place of its module `path`."""
    head = {name}(*args, **kwargs)
    head.load_state_dict(tensors)
    model.set_submodule(path, head.eval())
    return model
'''


class _Kind(NamedTuple):
    """code: the module that stands alone; name: its class; file: of the copy beside the weights."""

    code: Any
    name: str
    file: str


_KINDS = {
    "random_features": _Kind(random_features, "RandomHead", "random_head.py"),
    "bottleneck": _Kind(bottleneck, "BottleneckHead", "bottleneck_head.py"),
}


def grafted(backbone: BoundModel, head: RandomHead, kwargs: Mapping[str, Any]) -> BoundModel:
    """`head`, made with `kwargs`, in place of the linear classifier; the backbone is changed.

    ValueError when the classifier is no linear layer.
    """
    path = str(backbone.facts.head)
    old = backbone.module.get_submodule(path)
    if not isinstance(old, nn.Linear):
        raise ValueError(f"the classifier `{path}` is a {type(old).__name__}, not a linear layer")
    was = {"path": path, "n_classes": old.out_features, "bias": old.bias is not None}
    backbone.module.set_submodule(path, head)
    facts = replace(
        backbone.facts,
        n_classes=head.out.out_features,
        head=f"{path}.out",
        parameters=sum(p.numel() for p in backbone.module.parameters()),
        hash=None,
        tensors=None,
        classes=None,
    )
    graft = {**was, "kind": "random_features", "head": dict(kwargs)}
    source = replace(backbone.source, classes=(), graft=graft)
    return BoundModel(backbone.module, backbone.preprocess, facts, source)


def bottlenecked(plan: Blueprint, options: ModelOptions) -> Blueprint:
    """The same model with a fresh bottleneck of `options.bottleneck` numbers and a new classifier.

    JobError M312 for a model whose own classifier is trained already, M310 where it has no linear
    one.
    """
    from bequeath.given import build

    if plan.weights is not None or options.weights is not None or plan.graft is not None:
        message = "a bottleneck goes before a fresh classifier, and this model has a trained one"
        remedies = ("leave `bottleneck` out: a saved model has the one it was trained with",)
        raise JobError(Problem("M312", message, at=("bottleneck",), remedies=remedies))
    shell = build._shell(plan, 2)
    path = find_head(shell, 2, options.head or plan.head)
    old = shell.get_submodule(path) if path else None
    if not isinstance(old, nn.Linear):
        message = "a bottleneck takes the place of a linear classifier, and none was found"
        remedies = ("name it with `head: PATH`, or choose a model that ends in one",)
        raise JobError(Problem("M310", message, at=("bottleneck",), remedies=remedies))
    sizes = {"in_features": old.in_features, "width": options.bottleneck}
    graft: dict[str, Any] = {"path": path, "n_classes": 2, "bias": old.bias is not None}
    graft |= {"kind": "bottleneck", "head": sizes}

    def on(make: Any) -> Any:
        def made(n_classes: int) -> nn.Module:
            module = make(2)
            module.set_submodule(path, _head(graft, n_classes))
            return module

        return made

    trained = on(plan.trained) if plan.trained is not None else None
    own: dict[str, Any] = {"n_classes": None, "head": f"{path}.out", "classes": (), "graft": graft}
    return replace(plan, make=on(plan.make), trained=trained, **own)


def save(bound: BoundModel, folder: Path) -> str:
    """What a scheme's `save` does, for a grafted model."""
    from safetensors.torch import save_file

    graft: Any = bound.source.graft
    path, n_classes, kind = graft["path"], graft["n_classes"], _KINDS[_kind(graft)]
    head: Any = bound.module.get_submodule(path)
    empty = nn.Linear(graft["head"]["in_features"], n_classes, bias=graft["bias"])
    nn.init.zeros_(empty.weight)
    if empty.bias is not None:
        nn.init.zeros_(empty.bias)
    facts = replace(bound.facts, n_classes=n_classes, head=path)
    plain = BoundModel(bound.module, bound.preprocess, facts, replace(bound.source, graft=None))
    bound.module.set_submodule(path, empty)
    try:
        load = scheme(bound.source.scheme).save(plain, folder)
    finally:
        bound.module.set_submodule(path, head)
    save_file(plain_state(head), folder / TENSORS, metadata={"format": "pt"})
    code = Path(kind.code.__file__).read_text(encoding="utf-8")
    write_text(folder / kind.file, code + _WITH_HEAD.replace("{name}", kind.name))
    said = "".join(f", {key}={value!r}" for key, value in graft["head"].items())
    model = "model" if "\nmodel = " in load else "classify.model"
    return load + (
        "from safetensors.torch import load_file\n"
        f"from {kind.file.removesuffix('.py')} import with_head  # {kind.file} of this folder\n"
        f"head = load_file('{TENSORS}')\n"
        f"model = with_head({model}, {path!r}, head, num_classes={bound.facts.n_classes}{said})\n"
    )


def reopened(
    plan: Blueprint, folder: Path, record: Mapping[str, Any], options: ModelOptions
) -> Blueprint:
    """The blueprint of a saved folder, `plan` being that of its backbone."""
    from bequeath.given import build

    graft, n_classes = record["graft"], record["n_classes"]
    path = graft["path"]
    inner = replace(plan, n_classes=graft["n_classes"], head=path, classes=())

    def make(n: int) -> nn.Module:
        module = inner.make(graft["n_classes"])
        module.set_submodule(path, _head(graft, n))
        return module

    def trained(n: int) -> nn.Module:
        from safetensors.torch import load_file

        if n != n_classes:
            message = f"the head of this model was solved for {n_classes} classes"
            raise JobError(Problem("M312", message, at=("classes",)))
        bare = options.model_copy(update={"classes": None, "head": None})
        module = build.load(build.plan(inner, bare, DataFacts()), None, 0, "cpu").module
        with torch.device("cpu"):
            head = _head(graft, n_classes)
        head.load_state_dict(load_file(folder / TENSORS))
        module.set_submodule(path, head)
        return module

    return replace(
        plan,
        make=make,
        trained=trained,
        weights=None,
        n_classes=n_classes,
        head=f"{path}.out",
        hash=record.get("hash"),
        graft=graft,
    )


def _kind(graft: Mapping[str, Any]) -> str:
    return str(graft.get("kind", "random_features"))


def _head(graft: Mapping[str, Any], n_classes: int) -> nn.Module:
    kind = _KINDS[_kind(graft)]
    return getattr(kind.code, kind.name)(num_classes=n_classes, **graft["head"])
