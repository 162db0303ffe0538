"""`scripts/environment.py`: made once, kept while nothing changed, and only its own is touched."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.delenv("BEQUEATH_PYTHON", raising=False)
    module = importlib.import_module("environment")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    module.installed = []
    monkeypatch.setattr(module, "call", lambda command, **_: module.installed.append(command[-1]))

    def create(base: str, folder: Path) -> None:
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to(sys.executable)

    monkeypatch.setattr(module, "_create", create)
    return module


@pytest.mark.skipif(sys.platform == "win32", reason="an environment looks different there")
def test_it_installs_once_and_again_when_the_project_or_the_extras_change(environment, tmp_path):
    python = environment.python_in(".venv")
    assert python == tmp_path / ".venv" / "bin" / "python"
    assert environment.python_in(".venv") == python
    assert environment.installed == [str(tmp_path)]
    environment.python_in(".venv", ("docs",))
    environment.python_in(".venv")  # what is more than asked for does no harm
    assert environment.installed[1:] == [f"{tmp_path}[docs]"]
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    environment.python_in(".venv")
    assert environment.installed[2:] == [f"{tmp_path}[docs]"]


def test_an_environment_somebody_else_made_is_left_alone(environment, tmp_path):
    mine = tmp_path / ".venv" / "precious"
    mine.parent.mkdir()
    mine.write_text("kept")
    with pytest.raises(SystemExit, match="not made by this script"):
        environment.python_in(".venv")
    assert mine.read_text() == "kept" and environment.installed == []


@pytest.mark.skipif(sys.platform == "win32", reason="an environment looks different there")
def test_an_install_that_broke_off_is_done_again(environment, tmp_path, monkeypatch):
    def fail(command, **_):
        sys.exit(1)

    with monkeypatch.context() as broken:
        broken.setattr(environment, "call", fail)
        with pytest.raises(SystemExit):
            environment.python_in(".venv")
    environment.python_in(".venv")
    assert environment.installed == [str(tmp_path)]
    assert json.loads((tmp_path / ".venv" / "bequeath.json").read_text())["extras"] == []


def test_an_interpreter_of_one_s_own_is_used_as_it_is(environment, monkeypatch):
    monkeypatch.setenv("BEQUEATH_PYTHON", "/somewhere/python")
    assert environment.python_in(".venv") == Path("/somewhere/python")
    assert environment.installed == []


def test_checks_all_run_and_the_failed_are_named(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    checks = importlib.import_module("checks")
    ran = []

    def run(command, **_):
        ran.append(command)
        return subprocess.CompletedProcess(command, int("mypy" in command))

    monkeypatch.setattr(checks.subprocess, "run", run)
    assert checks.run_checks(Path("python")) == ["types"]
    assert len(ran) == len(checks.CHECKS) == 4
