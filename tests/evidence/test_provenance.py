from __future__ import annotations

import getpass
import os
import platform
import subprocess
from datetime import datetime, timedelta, timezone
from importlib import metadata
from pathlib import Path

import pytest

import bequeath
from bequeath.evidence import provenance as module
from bequeath.evidence.provenance import checkout, cpu_name, provenance, versions, without_home
from bequeath.evidence.record import DataSource, ModelSource


def made(**more):
    started = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    return provenance(job_hash="h", device="cpu", threads=2, started=started, **more)


def test_it_says_what_ran_and_where():
    found = made()
    assert found.started == "2026-01-02T01:04:05+00:00"
    assert found.versions["torch"] == metadata.version("torch")
    assert found.versions["python"] == platform.python_version()
    assert found.bequeath == bequeath.__version__
    assert found.machine.cores >= 1
    assert found.machine.memory_bytes > 10**8
    assert found.machine.threads == 2
    assert cpu_name().strip() == found.machine.cpu != ""


def test_it_says_nothing_of_who_ran_it(monkeypatch):
    monkeypatch.setenv("BEQUEATH_TEST_SECRET", "s3cr3t-value")
    monkeypatch.setenv("HOME", "/data/people/ada")
    models = {"teacher": ModelSource(ref="file:/data/people/ada/t.safetensors")}
    data = {"train": DataSource(ref="npz:/home/grace/x.npz")}
    text = made(models=models, data=data).model_dump_json()
    for secret in ("s3cr3t-value", "ada", "grace", platform.node() or "\0"):
        assert secret not in text
    assert "file:~/t.safetensors" in text
    assert "npz:~/x.npz" in text
    user = getpass.getuser() if os.environ.get("USER") else ""
    assert not user or f"/{user}/" not in text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("file:/home/ada/x", "file:~/x"),
        ("/Users/ada/x", "~/x"),
        (r"file:C:\Users\ada\x", r"file:~\x"),
        ("file:/root/x", "file:~/x"),
        ("/srv/home/ada/x", "/srv/home/ada/x"),
        ("/srv/root/x", "/srv/root/x"),
        ("timm:resnet18", "timm:resnet18"),
    ],
)
def test_home_folders_are_written_short(text, clean, monkeypatch):
    monkeypatch.setenv("HOME", "/")
    assert without_home(text) == clean


def test_the_checkout_is_clean_dirty_or_not_there(tmp_path, monkeypatch):
    package = tmp_path / "src" / "bequeath" / "evidence"
    package.mkdir(parents=True)
    (package / "provenance.py").write_text("")
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setattr(module, "__file__", str(package / "provenance.py"))

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        done = subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True,
                              capture_output=True, text=True)  # fmt: skip
        return done.stdout.strip()

    def seen():
        checkout.cache_clear()
        return checkout()

    assert seen() == (None, None)
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    commit = git("rev-parse", "HEAD")
    assert seen() == (commit, False)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "record.json").write_text("{}")
    assert seen() == (commit, False)
    (package / "provenance.py").write_text("changed")
    assert seen() == (commit, True)
    checkout.cache_clear()


def test_versions_name_only_what_is_installed(monkeypatch):
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert list(versions()) == ["python"]
    assert Path(module.__file__).name == "provenance.py"
