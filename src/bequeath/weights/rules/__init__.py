"""The merge rules by name. A new one is a file here and its module in the tuple below."""

from __future__ import annotations

from bequeath.weights.rule import Rule
from bequeath.weights.rules import breadcrumbs, dare, linear, slerp, task_arithmetic, ties

_MODULES = (linear, slerp, task_arithmetic, ties, dare, breadcrumbs)

RULES: dict[str, Rule] = {
    rule.name: rule
    for module in _MODULES
    for rule in vars(module).values()
    if isinstance(rule, Rule)
}

__all__ = ["RULES"]
