"""What a model consists of, as shards see it: parameters and their places, blocks, FSDP's hooks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

LEAST = 1e-3  # of all weights: a block with fewer is not worth an exchange of its own
_HOOKS = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
_HOOK_FLAGS = (
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
)


@dataclass
class Slot:
    """A parameter: the object it was and will be, where modules have it, and its shards.

    shards: a DTensor; None where the parameter stays whole in each process (a single number has no
    rows to share out, and whole numbers are not trained).
    """

    original: nn.Parameter
    places: list[tuple[nn.Module, str]]
    shards: Any = None

    @property
    def now(self) -> nn.Parameter:
        module, key = self.places[0]
        found = module._parameters[key]
        assert found is not None
        return found

    @property
    def trained(self) -> nn.Parameter:
        """The object whose `.grad` the optimizer sees."""
        return self.original if self.shards is None else self.shards


def slots_of(root: nn.Module) -> list[Slot]:
    """Every parameter once, in the order of `named_parameters`."""
    slots: dict[nn.Parameter, Slot] = {}
    for module in root.modules():
        for key, p in module._parameters.items():
            if p is not None:
                slots.setdefault(p, Slot(p, [])).places.append((module, key))
    return [slots[p] for p in root.parameters()]


def has_rows(p: Tensor) -> bool:
    return p.dim() > 0 and p.is_floating_point()


def units_of(root: nn.Module) -> list[nn.Module]:
    """What is gathered by itself: the modules in a ModuleList or Sequential, the outermost.

    Not those that hold less than a thousandth of all weights, that share a weight with another part
    of the model, or that have no forward pass of their own.
    """
    owners: dict[nn.Parameter, int] = {}
    for module in root.modules():
        for p in module.parameters(recurse=False):
            owners[p] = owners.get(p, 0) + 1
    total = sum(p.numel() for p in owners)

    def fits(module: nn.Module) -> bool:
        inside: dict[nn.Parameter, int] = {}
        for part in module.modules():
            for p in part.parameters(recurse=False):
                inside[p] = inside.get(p, 0) + 1
        size = sum(p.numel() for p in inside)
        own = type(module).forward is not nn.Module.forward
        return own and size > LEAST * total and all(n == owners[p] for p, n in inside.items())

    found: dict[nn.Module, None] = {}  # a set in order

    def look(module: nn.Module) -> None:
        many = isinstance(module, nn.ModuleList | nn.Sequential)
        for child in module.children():
            if many and fits(child):
                found[child] = None
            else:
                look(child)

    look(root)
    return list(found)


def without_hooks(module: nn.Module) -> None:
    """Take FSDP's hooks off a module; those of others, also of later ones, stay."""
    for name in _HOOKS:
        hooks = getattr(module, name, {})
        for key in [k for k, hook in hooks.items() if _of_fsdp(hook)]:
            del hooks[key]
            for flags in _HOOK_FLAGS:
                getattr(module, flags, {}).pop(key, None)


def _of_fsdp(hook: Any) -> bool:
    return str(getattr(hook, "__module__", "")).startswith("torch.distributed.fsdp")


def forget(module: nn.Module) -> None:
    """torch has no way back from `fully_shard`; the next fit would be told that it was done."""
    from torch.distributed import _composable_state

    _composable_state._module_state_mapping.pop(module, None)
