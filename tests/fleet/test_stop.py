"""Stopped by force, by hand, by another process or by a full disk: nothing half, nothing lost."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from tiny_jobs import command, job, plain, result, runs, tree

from bequeath import cli
from bequeath.fleet import check_deep, one, run_job
from bequeath.fleet.folder import LOCK, claim, writing
from bequeath.fleet.sweep import plan
from bequeath.given.bound import BoundModel
from bequeath.kernel.errors import JobError, RunError
from bequeath.train import checkpoint

LONG = {"epochs": 80, "checkpoint_every": 0.001}
PATIENCE = 120.0


def write_job(folder: Path, **changes) -> Path:
    path = folder / "job.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(plain(**changes), file)
    return path


def until_it_trains(child: subprocess.Popen[str], out: Path, after: int) -> Path:
    """Wait for a checkpoint of `kd` written after `after` (ns)."""
    path = out / "work" / "kd" / "seed-0" / "checkpoints" / "fit.safetensors"
    give_up = time.monotonic() + PATIENCE
    while not (path.exists() and path.stat().st_mtime_ns > after):
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < give_up, "no checkpoint came"
        time.sleep(0.005)
    return path


@pytest.mark.slow
def test_killed_then_interrupted_then_done(tmp_path):
    """kill -9, then Ctrl-C, each while it trains; the third sitting ends as an undisturbed run."""
    out = tmp_path / "out"
    path = write_job(tmp_path, train=LONG)
    arguments = ("run", str(path), "--set", f"out={out}", "--quiet")

    child = command(*arguments)
    kept = until_it_trains(child, out, 0)
    child.kill()
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert (out / LOCK).exists() and runs(out) == set()
    first = checkpoint.load(kept)
    assert first["step"] > 0 and not first["done"]

    child = command(*arguments)
    until_it_trains(child, out, time.time_ns())
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130, said
    assert "run it again to go on" in said and "Traceback" not in said
    second = checkpoint.load(kept)
    assert second["step"] > first["step"] and not second["done"]
    assert runs(out) == set()

    run_job(job(out, train=LONG), quiet=True)
    run_job(job(tmp_path / "whole", train={"epochs": 80}), quiet=True)
    for arm in ("kd", "ce"):
        assert result(out, arm) == result(tmp_path / "whole", arm)
    assert not (out / "work").exists()


def test_what_a_killed_process_half_wrote_goes(made, tmp_path):
    out = shutil.copytree(made, tmp_path / "out")
    shutil.rmtree(out / "runs" / "kd")
    half = out / "runs" / "kd" / ".seed-0.4711.part"
    half.mkdir(parents=True)
    (half / "record.json").write_text("{")
    (out / ".job.yaml.4711.part").write_text("want: dis")
    run_job(job(out), quiet=True)
    assert result(out, "kd") == result(made, "kd")
    assert not list(out.rglob("*.part"))


def test_killed_while_it_wrote_its_first_file(tmp_path):
    (tmp_path / ".job.yaml.4711.part").write_text("want: dis")
    with claim(tmp_path, []):
        pass


def refused(out: Path) -> str:
    with pytest.raises(JobError) as caught:
        run_job(job(out), quiet=True)
    (problem,) = caught.value.problems
    return problem.code


def test_two_processes_do_not_share_a_folder(made, tmp_path):
    out = shutil.copytree(made, tmp_path / "out")
    runs_of_it = [(p.folder(out), p.key) for p in plan(check_deep(job(out)))]
    with claim(out, runs_of_it):
        before = tree(out)
        assert refused(out) == "R510"
        assert tree(out) == before
    run_job(job(out), quiet=True)


@pytest.mark.parametrize("left", ["", "1 1700000000.0 another-machine", "x y z"])
def test_a_lock_is_held_by_a_process_and_not_by_a_file(made, tmp_path, left):
    """What a killed process left in the file holds nobody up, in whatever container it ran."""
    out = shutil.copytree(made, tmp_path / "out")
    (out / LOCK).write_text(left)
    run_job(job(out), quiet=True)


@pytest.mark.parametrize("where", ["model", "record", "report"])
def test_disk_full_while_storing(made, tmp_path, monkeypatch, capsys, where):
    out = shutil.copytree(made, tmp_path / "out")
    kept = tree(out, "runs", "references")
    path = write_job(tmp_path, seeds=2)
    arguments = ["run", str(path), "--set", f"out={out}", "--quiet"]

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full_after_half(self, folder):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
        full()

    with monkeypatch.context() as patch:
        if where == "model":
            patch.setattr(BoundModel, "save", full_after_half)
        elif where == "record":
            patch.setattr(one, "save_record", full)
        else:
            patch.setattr("bequeath.fleet.sweep.write_report", full)
        assert cli.run_cli(arguments) == 1
    said = capsys.readouterr().err
    assert "error[R522]" in said and "run the same command again" in said
    after = tree(out, "runs", "references")
    assert {name: after[name] for name in kept} == kept
    if where != "report":
        assert runs(out) == {"kd/seed-0", "ce/seed-0"}  # and no half folder beside them
    assert not list(out.rglob("*.part"))

    assert cli.run_cli(arguments) == 0
    assert runs(out) == {f"{arm}/seed-{s}" for arm in ("kd", "ce") for s in (0, 1)}


def test_an_error_that_is_no_full_disk_is_not_called_one(tmp_path):
    for error in (FileNotFoundError(errno.ENOENT, "no such file"), OSError("of a method")):
        with pytest.raises(OSError) as caught, writing(tmp_path):
            raise error
        assert caught.value is error
    from safetensors import SafetensorError

    text = "Error while serializing: I/O error: No space left on device (os error 28)"
    with pytest.raises(RunError) as full, writing(tmp_path):
        raise SafetensorError(text)
    assert full.value.problem.code == "R522"
