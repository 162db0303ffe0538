"""A disk that is really full, a folder that may not be written, and what no file may hold."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from crash_jobs import CANARY, files, result, sandbox, unlike

from bequeath.evidence.provenance import without_passwords

URL = f"https://me:{CANARY}@mirror.example/models"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB."""
    where = tmp_path / "small"
    where.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(where)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `mount` here")
    if done.returncode:
        pytest.skip(f"no small disk can be mounted: {done.stderr.strip()}")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=False)


@pytest.mark.parametrize("name", ["kd", "ties"])
def test_a_disk_that_is_full(server, small, tmp_path, name):
    """Room for less and less; each time it is said, and with room again nothing was lost."""
    wanted = server.undisturbed(tmp_path / "whole", name)
    home = sandbox(tmp_path / "home", name)
    (small / "out").mkdir()
    (home / "out").symlink_to(small / "out")
    ballast, ends = small / "ballast", []
    for kilobytes in (64, 60, 52, 44, 36, 28, 20, 12):
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            file.write(bytes(1024 * kilobytes))
        done = server.run(home)
        assert not list(small.rglob("*.part"))
        if done["code"] == 0:
            break
        ends.append(done["code"])
        foreseen = any(f"error[{code}]" in done["said"] for code in ("R503", "W841"))
        assert foreseen or "No space left" in done["said"], done["said"]
        assert done["code"] == (2 if foreseen else 1)
    assert len(ends) >= 3 and 1 in ends
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", str(small)], check=True)
    assert server.run(home)["code"] == 0
    assert unlike(result(home), wanted) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("locked", ["out", "out/runs/ties", "out/report.html"])
def test_a_folder_that_may_not_be_written(server, tmp_path, locked):
    home = sandbox(tmp_path / "home", "ties")
    assert server.run(home)["code"] == 0
    shutil.rmtree(home / "out" / "runs" / "ties" / "seed-0")
    for path in [tmp_path, *tmp_path.rglob("*"), *tmp_path.parents]:
        if path.is_relative_to(Path("/tmp")) and path != Path("/tmp"):
            path.chmod(0o777 if path.is_dir() else 0o666)
    (home / locked).chmod(0o555)
    if not (home / locked).is_dir():
        (home / "out").chmod(0o555)
    done = server.ask(
        home=str(home), arguments=["run", "job.yaml", "--quiet"], user=65534
    )  # fmt: skip
    assert done["code"] in (1, 2) and "Traceback" not in done["said"], done["said"]
    assert "error[R5" in done["said"] and ("Permission" in done["said"] or "R501" in done["said"])


def test_passwords_in_addresses_are_masked(server, tmp_path):
    """What is in the job's file is its author's; but a password in an address goes no further."""
    home = sandbox(tmp_path / "home", "kd", vars={"mirror": URL, "password": "of the author"})
    assert CANARY in (home / "job.yaml").read_text(encoding="utf-8")
    assert server.run(home)["code"] == 0  # which looks into every file
    assert any(path.name == "report.html" for path in files(home))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("hf:https://me:secret@host/a", "hf:https://***@host/a"),
        ("s3://key@bucket/x", "s3://***@bucket/x"),
        ("ref: 'https://me:p@ss@host/x' # b", "ref: 'https://***@host/x' # b"),
        ("https://host/path@2/x", "https://host/path@2/x"),
        ("file:me@home/model", "file:me@home/model"),
        ("git+ssh://git:x@h:22/y https://a:b@c", "git+ssh://***@h:22/y https://***@c"),
    ],
)
def test_what_is_a_password_in_an_address(text, masked):
    assert without_passwords(text) == masked
