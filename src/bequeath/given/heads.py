"""The final classifier of any module: found, checked, replaced."""

from __future__ import annotations

import difflib

from torch import nn

from bequeath.kernel.errors import JobError, Problem


def find_head(module: nn.Module, n_classes: int | None, hint: str | None = None) -> str | None:
    """Module path of the classifier: the hint if it fits, else the last layer as wide as the
    classes, a linear one before a 1x1 convolution. None when there is no such layer."""
    paths = dict(module.named_modules())
    if hint is not None and hint in paths and width(paths[hint]) in (n_classes, None):
        return _inner(hint, paths[hint], n_classes)
    for kind in (nn.Linear, nn.Conv2d):
        found = [path for path, part in paths.items() if isinstance(part, kind) and path]
        found = [path for path in found if n_classes is None or width(paths[path]) == n_classes]
        if found:
            return found[-1]
    return None


def check_head(module: nn.Module, path: str) -> None:
    """JobError (M310) when `path` leads nowhere; names what is near and what there is."""
    paths = [name for name, _ in module.named_modules() if name]
    if path in paths:
        return
    near = difflib.get_close_matches(path, paths, n=3, cutoff=0.5)
    tops = [name for name, _ in module.named_children()]
    raise JobError(
        Problem(
            "M310",
            f"the model has no module `{path}`",
            at=("head",),
            label=f"did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else "",
            notes=(f"at the top there are {', '.join(tops[:12])}",),
            remedies=("leave `head` out to have the last linear layer found",),
        )
    )


def replace_head(module: nn.Module, path: str | None, n_classes: int) -> None:
    """Put a fresh layer of `n_classes` outputs where `path` leads; JobError (M310) if it can't."""
    old = module.get_submodule(path) if path else None
    parent = module.get_submodule(path.rpartition(".")[0]) if path else module
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, n_classes, bias=old.bias is not None)
    elif isinstance(old, nn.Conv2d):
        new = nn.Conv2d(old.in_channels, n_classes, 1, bias=old.bias is not None)
    else:
        message = "the classifier was not found, so it cannot be replaced"
        raise JobError(Problem("M310", message, at=("classes",), remedies=("say `head: PATH`",)))
    setattr(parent, (path or "").rpartition(".")[2], new)


def width(part: nn.Module) -> int | None:
    """Outputs of a layer; None when it does not say."""
    for name in ("out_features", "out_channels"):
        if isinstance(value := getattr(part, name, None), int):
            return value
    return None


def _inner(path: str, part: nn.Module, n_classes: int | None) -> str:
    """A classifier that is itself a small network: its last layer of the right width."""
    if width(part) is not None:
        return path
    inner = find_head(part, n_classes)
    return f"{path}.{inner}" if inner else path
