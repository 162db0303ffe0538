"""How each family is judged: one module a family, found by its name.

A module `protocols/<family>.py` holds a class `Run`, made once for each arm and seed:

    Run(opened, arm, seed)
    offer                            what the method finds as `given.protocol`
    data() -> dict | None            in place of the job's data, what the method is given
    stage(name, objects)             called by `ctx.stage`, while the method runs
    measure(outcome, ctx) -> Measured

and, where the family has them, `problems(opened)`, a gate of its own that runs when all data are
open, and `measure_reference(opened, model) -> Measured`. A family without a module is judged as
classifiers are. Only protocols open the labels that judge, and only once predictions exist.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any


def protocol_of(want: str) -> Any:
    """The module that judges a family."""
    name = f"{__name__}.{want}"
    if importlib.util.find_spec(name) is None:
        name = f"{__name__}.classifier"
    return importlib.import_module(name)
