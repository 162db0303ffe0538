"""The seeds of a job as one batched model: the same results, or one after the other."""

from __future__ import annotations

import signal
import threading

import pytest
import torch
from tiny_jobs import job, record, result, runs

from bequeath.fleet import groups, run_job
from bequeath.fleet import together as fleet_together
from bequeath.fleet.found import kept
from bequeath.given.models import load_model
from bequeath.kernel.errors import Interrupted, JobError
from bequeath.train import together
from bequeath.train.batches import BesideOneAnother

ON = {"train": {"batch_seeds": "on"}}
OFF = {"train": {"batch_seeds": "off"}}
SEEDS = 2


def held() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == fleet_together.HELD]


def key(out, arm: str) -> str:
    """What identifies the experiment of a job that is not done yet."""
    return (out / "work" / arm / "seed-0" / "key").read_text()


def weights(out, arm: str, seed: int) -> torch.Tensor:
    model = load_model(out / "runs" / arm / f"seed-{seed}" / "model")
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.fixture(scope="module")
def whole(tmp_path_factory, _cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEQUEATH_CACHE", str(_cache))
        folder = tmp_path_factory.mktemp("batched")
        return run_job(job(folder / "out", seeds=SEEDS, **ON), quiet=True)


def test_results_are_those_of_one_by_one(whole, tmp_path):
    out = run_job(job(tmp_path / "out", seeds=SEEDS, **OFF), quiet=True)
    assert runs(out) == runs(whole) and len(runs(out)) == 2 * SEEDS
    for arm in ("kd", "ce"):
        for seed in range(SEEDS):
            off = (weights(out, arm, seed) - weights(whole, arm, seed)).abs().max()
            assert off < 1e-5
            a, b = record(out, arm, seed), record(whole, arm, seed)
            for name, metric in a.metrics.items():
                assert metric.value == pytest.approx(b.metrics[name].value, rel=1e-4)
            assert a.train.together is None and a.train.steps == b.train.steps
            assert result(out, arm, seed)[2] == result(whole, arm, seed)[2]  # lines of the log
    assert not (whole / "work").exists()


def test_the_record_says_so(whole):
    found = record(whole, "kd", 1)
    assert found.train.together.runs == SEEDS and found.train.stopped == "done"
    assert found.train.together.difference < 1e-4 < found.train.together.tolerance * 1.1
    assert found.cost.train_s > found.train.together.wall_s > 0
    assert found.cost.cpu_s > found.train.together.cpu_s > 0
    assert found.provenance.job_hash == record(whole, "kd", 0).provenance.job_hash


def test_a_short_job_is_left_alone(tmp_path, capsys):
    out = run_job(job(tmp_path / "auto", seeds=3))
    assert "before a trial has paid" not in capsys.readouterr().err.replace("\n", " ")
    plain = run_job(job(tmp_path / "off", seeds=3, **OFF), quiet=True)
    for arm in ("kd", "ce"):
        assert result(out, arm, 1) == result(plain, arm, 1)
        found = record(out, arm, 1).train
        assert found.together is None and found.alone.runs == 3
        assert "before a trial has paid" in found.alone.why and found.alone.alone_s is None
        assert record(plain, arm, 1).train.alone is None


def test_auto_takes_it_where_it_pays(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(together, "unpromising", lambda *_: "")
    monkeypatch.setattr(together, "race", lambda *_: (2.0, 1.0))
    out = run_job(job(tmp_path / "out", seeds=2, method="ce"))
    assert "2 seeds trained as one model, 2.0 times as fast" in " ".join(
        capsys.readouterr().err.split()
    )
    found = record(out, "ce", 1).train
    assert found.together.faster == 2.0 and found.alone is None
    assert (found.together.alone_s, found.together.together_s) == (2.0, 1.0)


def test_why_it_was_not_taken_is_kept_with_both_times(tmp_path, monkeypatch):
    monkeypatch.setattr(together, "unpromising", lambda *_: "")
    monkeypatch.setattr(together, "race", lambda *_: (2.0, 1.9))
    out = run_job(job(tmp_path / "out", seeds=2, method="ce"), quiet=True)
    found = record(out, "ce", 1).train.alone
    assert (found.runs, found.alone_s, found.together_s) == (2, 2.0, 1.9)
    assert "0.95 of the time" in found.why and found.difference < found.tolerance
    plain = run_job(job(tmp_path / "off", seeds=2, method="ce", **OFF), quiet=True)
    assert all(result(out, "ce", seed) == result(plain, "ce", seed) for seed in range(2))


def test_on_where_it_cannot_be_is_refused_at_its_place(tmp_path):
    student = "zoo:mlp?hidden=8&dropout=0.5"
    models = {"teacher": "zoo:mlp?hidden=16", "student": student}
    with pytest.raises(JobError) as caught:
        run_job(job(tmp_path / "out", seeds=2, models=models, **ON), quiet=True)
    (problem,) = caught.value.problems
    assert problem.code == "T615" and problem.at == ("train", "batch_seeds")
    assert "draws random numbers" in problem.label
    assert not held()


def test_a_teacher_for_each_seed_is_noticed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(together, "unpromising", lambda *_: "")
    teachers = run_job(job(tmp_path / "teachers", seeds=2, method="ce", **OFF), quiet=True)
    ref = f"file:{teachers}/runs/ce/seed-{{seed}}/model"
    models = {"teacher": ref, "student": "zoo:mlp?hidden=8"}
    out = run_job(job(tmp_path / "out", seeds=2, models=models, baselines=False))
    said = " ".join(capsys.readouterr().err.split())
    assert "2 seeds each by itself: gradients differ by" in said
    assert record(out, "kd", 1).train.together is None


def test_an_interrupted_group_goes_on(whole, tmp_path, monkeypatch):
    out, epoch = tmp_path / "out", BesideOneAnother.epoch

    def run():
        return run_job(job(out, seeds=SEEDS, **ON), quiet=True)

    def stops(self, number, start=0):
        for i, batch in enumerate(epoch(self, number, start)):
            if number == 1 and i == 2:
                signal.raise_signal(signal.SIGINT)
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(together, "compare", lambda *_: 1e-7)  # it looks into later epochs
        patch.setattr(together, "race", lambda *_: (2.0, 1.0))
        patch.setattr(BesideOneAnother, "epoch", stops)
        with pytest.raises(Interrupted, match="run it again"):
            run()
    (found,) = kept(out, "kd", key(out, "kd"))
    assert found.open and found.seeds == tuple(range(SEEDS))
    assert runs(out) == set() and not held()
    with monkeypatch.context() as patch:
        patch.setattr(together, "decide", lambda *_, **__: pytest.fail("decided twice"))
        with pytest.raises(BaseException, match="decided twice"):  # kd goes on, ce is new
            run()
    assert (out / "work" / "kd" / "seed-1" / "checkpoints").is_dir()
    assert kept(out, "kd", key(out, "kd"))[0].trained  # and its scratch is gone
    assert not (out / "work" / "kd" / "together" / "seed-0").exists()
    run()
    assert runs(out) == runs(whole)
    for arm in ("kd", "ce"):
        assert result(out, arm, 1) == result(whole, arm, 1)


def test_runs_that_began_alone_go_on_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(groups, "begun", lambda planned, out: planned.seed == 0)
    out = run_job(job(tmp_path / "out", seeds=3, method="ce", **ON), quiet=True)
    batched = [record(out, "ce", seed).train.together for seed in range(3)]
    assert batched[0] is None and batched[1].runs == batched[2].runs == 2


def test_what_fails_in_the_group_fails_as_it_does_alone(tmp_path):
    from bequeath.kernel.errors import RunError

    huge = {"optimizer": {"name": "sgd", "lr": 90.0}, "epochs": 20}
    for how in ("on", "off"):
        with pytest.raises(RunError) as caught:
            train = {**huge, "batch_seeds": how}
            run_job(job(tmp_path / how, seeds=2, method="ce", train=train), quiet=True)
        assert caught.value.problem.code in ("T601", "T602")
