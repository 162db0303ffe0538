"""What the command line says: results on standard output, problems on standard error."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import typer


def done(result: Any) -> None:
    from bequeath.kernel.errors import visible

    if result is not None:
        typer.echo(visible(str(result)))


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_rich(renderable: Any) -> None:
    from rich.console import Console

    Console(markup=False, highlight=False).print(renderable)


def complain(text: str) -> None:
    if _speaks():
        typer.echo(f"bequeath: {text}", err=True)


def _speaks() -> bool:
    """Of several processes that a launcher started one on each machine says what is wrong."""
    from bequeath.train.processes import speaks

    return speaks()


def print_problem(problem: Any) -> None:
    from bequeath.kernel.errors import render

    if not _speaks():
        return
    if not sys.stderr.isatty():
        typer.echo(f"{render(problem)}\n", err=True)
        return
    from rich.console import Console

    from bequeath.job.screen import coloured

    Console(stderr=True, highlight=False).print(coloured(problem), soft_wrap=True)


def close_stdout() -> None:
    """The reader is gone (`| head`): do not let the interpreter complain when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
