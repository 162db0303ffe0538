"""The checks that need no test: all of them run, then the names of those that failed come back."""

from __future__ import annotations

import subprocess
from pathlib import Path

from environment import ROOT

CHECKS = {
    "format": ("-m", "ruff", "format", "--check", "."),
    "rules": ("-m", "ruff", "check", "."),
    "types": ("-m", "mypy"),
    # The script of import-linter is not beside an interpreter given by BEQUEATH_PYTHON for sure.
    "imports": ("-c", "from importlinter.cli import lint_imports_command as c; c()"),
}


def run_checks(python: Path) -> list[str]:
    """Run every check with `python`; the names of the failed."""
    failed = []
    for name, arguments in CHECKS.items():
        print(f"== {name}", flush=True)
        if subprocess.run([str(python), *arguments], cwd=ROOT, check=False).returncode:
            failed.append(name)
    return failed
