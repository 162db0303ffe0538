"""Fuzzing: whatever comes in loads, or is refused with a code; for seconds, or `--long`."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hostile_fuzz import TARGETS
from hypothesis import HealthCheck, given, settings

from bequeath.kernel.codes import CODES
from bequeath.kernel.errors import JobError, RunError, render

SHORT, LONG = 60, 3000  # examples of each target


@pytest.mark.parametrize("examples", [SHORT, pytest.param(LONG, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.filterwarnings("ignore")
def test_loads_or_is_refused(name: str, examples: int, tmp_path: Path) -> None:
    target, folders = TARGETS[name], count()
    ended = {"well": 0, "refused": 0}

    @settings(
        max_examples=examples,
        derandomize=examples == SHORT,
        database=None,
        deadline=timedelta(seconds=10),
        suppress_health_check=list(HealthCheck),
    )
    @given(target.values)
    def meet(value: Any) -> None:
        folder = tmp_path / str(next(folders))
        folder.mkdir()
        try:
            target.call(value, folder)
        except JobError as error:
            ended["refused"] += 1
            assert error.problems
            assert all(p.code in CODES and _printable(render(p)) for p in error.problems)
        except RunError as error:
            ended["refused"] += 1
            assert error.problem.code in CODES and _printable(render(error.problem))
        else:
            ended["well"] += 1

    meet()
    assert ended["refused"] > examples / 20, "nothing was ever wrong: this does not fuzz"


def _printable(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)
