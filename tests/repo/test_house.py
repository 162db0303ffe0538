"""The rules of the house that a machine can hold: see CONTRIBUTING.md."""

from __future__ import annotations

import ast
import importlib.util
import os
import pkgutil
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from bequeath.kernel.codes import CODES

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "bequeath"
TORCH_FREE = (
    "__init__",
    "__main__",
    "cli",
    "kernel",
    "job",
    "methods",
    "given.access",
    "given.options",
    "given.facts",
    "train.config",
    "metrics.names",
    "evidence.record",
)
LONGEST_FILE, LONGEST_FUNCTION = 400, 60


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@cache
def trees() -> dict[Path, ast.Module]:
    return {
        file.relative_to(ROOT): ast.parse(file.read_text(encoding="utf-8"))
        for file in sorted(SOURCE.rglob("*.py"))
    }


def torch_free_modules() -> list[str]:
    found = []
    for name in TORCH_FREE:
        where = SOURCE.joinpath(*name.split("."))
        full = "bequeath" if name == "__init__" else f"bequeath.{name}"
        if where.is_dir():
            below = pkgutil.walk_packages([str(where)], prefix=f"{full}.")
            found += [full, *(module.name for module in below)]
        elif where.with_suffix(".py").is_file():
            found.append(full)
    return found


def test_the_import_contract_holds():
    if importlib.util.find_spec("importlinter") is None:
        pytest.skip("import-linter is not installed (extra `lint`)")
    done = python("-c", "from importlinter.cli import lint_imports_command as c; c()")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


def test_torch_is_not_imported_where_it_must_not_be():
    modules = torch_free_modules()
    assert {"bequeath", "bequeath.kernel.errors", "bequeath.methods.distill.nd"} <= set(modules)
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(name)\n"
    )
    done = python("-c", code)
    assert done.returncode == 0, f"imports torch, or fails: {done.stderr}"


def test_files_are_short():
    long = {
        str(file): lines
        for file in trees()
        if (lines := len((ROOT / file).read_text(encoding="utf-8").splitlines())) > LONGEST_FILE
    }
    assert not long, f"more than {LONGEST_FILE} lines"


def test_functions_are_short():
    long = {
        f"{file}:{node.lineno} {node.name}": lines
        for file, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    }
    assert not long, f"more than {LONGEST_FUNCTION} lines"


def test_every_error_code_is_explained_and_used():
    used = {
        node.value
        for file, tree in trees().items()
        if "codes" not in file.parts
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"[A-Z]\d{3}", node.value)
    }
    assert sorted(used - set(CODES)) == [], "raised and not explained in kernel/codes.py"
    assert sorted(set(CODES) - used) == [], "explained and never raised"
    assert list(CODES) == sorted(CODES)


def test_explanations_are_whole_sentences():
    for code, entry in CODES.items():
        assert entry.title and not entry.title.endswith("."), code
        assert entry.why.endswith("."), code
        assert entry.fix.endswith("."), code


def test_the_package_is_typed():
    assert (SOURCE / "py.typed").is_file()


def tracked_files() -> list[Path]:
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_path_of_somebody_s_machine_is_committed():
    before, after = rb"(?<![\w.~/-])/(?:", rb")/[\w.-]+"
    everywhere = re.compile(before + b"work|opt/venv" + after)
    # A test may invent somebody's home to show that it is not written down.
    outside_tests = re.compile(before + b"home|Users|root" + after)
    found = {}
    for file in tracked_files():
        name = file.relative_to(ROOT).as_posix()
        content = file.read_bytes()
        match = everywhere.search(content)
        if not name.startswith("tests/"):
            match = match or outside_tests.search(content)
        if match:
            found[name] = match[0]
    assert found == {}


def test_every_file_ends_as_text_does():
    wrong = []
    for file in tracked_files():
        if file.suffix in {".py", ".md", ".toml", ".yaml", ".yml", ".cff"} and file.stat().st_size:
            content = file.read_bytes()
            if b"\r" in content or not content.endswith(b"\n"):
                wrong.append(str(file.relative_to(ROOT)))
    assert wrong == []
