"""A whole job in two processes (gloo): it learns what one learns, one writes, they end together."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file
from tiny_jobs import job, plain, record

from bequeath.fleet import run_job
from bequeath.fleet.gates import check_deep
from bequeath.kernel.errors import JobError
from bequeath.train.processes import Processes

PATIENCE = 240.0
# Both add the same float32 gradients in another order. Measured over these twelve steps: losses
# differ by 1.6e-7 of their size, weights (the largest is 1.05) by 3e-8.
LOSS, WEIGHT = 2e-6, 1e-6

# What a process prepares and writes, told to a file; a failure of one process on demand.
_WATCHED = """
import json, os, sys
from pathlib import Path
rank, seen = os.environ["RANK"], Path(os.environ["SEEN"])
def tell(**what):
    with seen.open("a") as file:
        file.write(json.dumps({"rank": rank, **what}) + "\\n")
def written(event, args):
    writes = event == "open" and args[2] is not None and args[2] & (os.O_WRONLY | os.O_RDWR)
    made = event == "os.mkdir" and not os.path.exists(args[0])
    if writes or made or event in ("os.rename", "os.remove"):
        path = os.fsdecode(args[0]) if not isinstance(args[0], int) else ""
        if path != str(seen):
            tell(wrote=path)
from bequeath.train.processes import hush
hush()
import accelerate
import bequeath.train.meter as meter
from bequeath.kernel.errors import Problem, RunError
prepare, step = accelerate.Accelerator.prepare_model, meter.Meter.step
def told(self, model, *args, **kwargs):
    tell(prepared=sorted(model.state_dict()), count=sum(p.numel() for p in model.parameters()))
    return prepare(self, model, *args, **kwargs)
def failing(self, number, norm):
    if (rank, str(number)) == ("1", os.environ.get("FAILS_AT")):
        raise RunError(Problem("T601", "the loss term `kd` became nan at step 5"))
    return step(self, number, norm)
accelerate.Accelerator.prepare_model, meter.Meter.step = told, failing
sys.addaudithook(written)
from bequeath.__main__ import main
main()
"""


def started(*arguments: str, **more: str) -> list[tuple[int, str, str]]:
    """The program in two processes, as a launcher starts them: (exit code, stdout, stderr)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    code = ["-c", _WATCHED] if "SEEN" in more else ["-m", "bequeath"]
    children = [
        subprocess.Popen(
            [sys.executable, *code, *arguments],
            env={**os.environ, **shared, **more, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        said = [child.communicate(timeout=PATIENCE) for child in children]
    finally:
        for child in children:
            child.kill()
    return [(child.returncode, *words) for child, words in zip(children, said)]


def write_job(folder: Path, **changes) -> str:
    path = folder / "job.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(plain(**changes), file)
    return str(path)


def logged(out: Path, arm: str) -> list[dict]:
    text = (out / "runs" / arm / "seed-0" / "log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def agree(one: Path, two: Path, arm: str) -> None:
    """The same losses at the same steps, and the same weights at the end, but for rounding."""
    a, b = logged(one, arm), logged(two, arm)
    assert [line["step"] for line in a] == [line["step"] for line in b]
    assert len(a) == 12
    for x, y in zip(a, b):
        assert y["loss"] == pytest.approx(x["loss"], rel=LOSS)
    models = (folder / "runs" / arm / "seed-0/model/model.safetensors" for folder in (one, two))
    mine, theirs = map(load_file, models)
    for name, tensor in mine.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=WEIGHT)


def test_two_processes_fail_together_go_on_and_learn_what_one_learns(tmp_path, monkeypatch):
    """One process with 32 samples a step, and two with 16 each of which one fails half way."""
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "cache"))
    two, seen = tmp_path / "two", tmp_path / "seen.jsonl"
    path = write_job(tmp_path, train={"checkpoint_every": 1e-3})
    arguments = ("run", path, "--set", f"out={two}")

    failed = started(*arguments, SEEN=str(seen), FAILS_AT="5")
    assert [code for code, _, _ in failed] == [1, 1]
    (_, _, said), (_, _, other) = failed
    assert said.count("error[T601]") == 1 and "Traceback" not in said + other
    assert other == ""
    assert (two / "work" / "kd" / "seed-0" / "checkpoints" / "fit.safetensors").is_file()
    assert not (two / "runs").exists()

    (code, printed, said), (other_code, *silent) = started(*arguments, SEEN=str(seen))
    assert (code, other_code) == (0, 0), said
    assert printed == f"{two}\n" and silent == ["", ""]
    assert "2 processes: 32 samples a step, 16 of each" in said

    one = run_job(job(tmp_path / "one", train={"batch_size": 32}), quiet=True)
    for arm in ("kd", "ce"):
        agree(one, two, arm)
        training = record(two, arm).train
        assert (training.processes, training.step_samples) == (2, 32)

    lines = [json.loads(line) for line in seen.read_text().splitlines()]
    student = record(two, "kd").model.parameters
    prepared = [line for line in lines if "prepared" in line]
    assert {line["rank"] for line in prepared} == {"0", "1"}
    assert {line["count"] for line in prepared} == {student}  # the teacher has more
    ours = (str(two), str(tmp_path / "cache"))
    wrote = {(x["rank"], x["wrote"]) for x in lines if x.get("wrote", "").startswith(ours)}
    assert {rank for rank, name in wrote if not name.endswith(".lock")} == {"0"}
    assert any(name.startswith(ours[1]) for _, name in wrote)


def test_processes_that_share_out_what_trains_learn_the_same(tmp_path, monkeypatch):
    """A whole job with `train.shard`: the model that is written is whole, and an ordinary one."""
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "cache"))
    two, changes = tmp_path / "two", {"baselines": False}
    path = write_job(tmp_path, **changes)
    sets = ("--set", f"out={two}", "--set", "train.shard=full")
    (code, _, said), (other_code, *silent) = started("run", path, *sets)
    assert (code, other_code) == (0, 0), said
    assert silent == ["", ""]
    one = run_job(job(tmp_path / "one", train={"batch_size": 32}, **changes), quiet=True)
    agree(one, two, "kd")  # measured: losses by 2.2e-7, weights by 3e-8


def test_what_shards_do_not_go_with_is_refused_at_the_gate(tmp_path):
    with pytest.raises(JobError) as caught:
        check_deep(job(tmp_path, train={"shard": "full", "compile": True}), Processes(0, 2))
    assert [p.code for p in caught.value.problems] == ["T617"]
    alone = check_deep(job(tmp_path, train={"shard": "full"}))
    assert any("there is one process" in note for note in alone.notes)


def test_what_is_wrong_with_a_job_is_said_once(tmp_path):
    path = write_job(tmp_path, method="kdd")
    (code, _, said), (other_code, *silent) = started("run", path)
    assert (code, other_code) == (2, 2) and silent == ["", ""]
    assert said.count("error[") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("--jobs", "2"), "T613"),
        (("--set", "train.device=cuda:1"), "T613"),
        (("--set", "data.test=npz:nowhere.npz"), "D201"),
    ],
)
def test_what_a_gate_refuses_is_said_once(tmp_path, more, code):
    path = write_job(tmp_path)
    out = tmp_path / "out"
    (rc, _, said), (other_rc, *silent) = started("run", path, "--set", f"out={out}", *more)
    assert (rc, other_rc) == (2, 2) and silent == ["", ""]
    assert said.count("error[") == 1 and f"error[{code}]" in said
    assert not out.exists()


@pytest.mark.slow
def test_under_the_launcher(tmp_path, monkeypatch):
    """`accelerate launch` itself; its `--cpu` alone would start one process."""
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "cache"))
    path, two = write_job(tmp_path), tmp_path / "two"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    how = "--multi_gpu --num_machines 1 --num_processes 2 --mixed_precision no --dynamo_backend no"
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *how.split()]
    program = ["-m", "bequeath", "run", path, "--set", f"out={two}"]
    done = subprocess.run(
        [*launcher, "--main_process_port", port, *program],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(str(two)) == 1
    one = run_job(job(tmp_path / "one", train={"batch_size": 32}), quiet=True)
    agree(one, two, "kd")
