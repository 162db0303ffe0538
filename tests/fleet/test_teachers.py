"""A whole comparison asks its teacher once, and says what that cost and saved."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny_jobs import job, record

from bequeath.evidence.preparation import PREPARATION_FILE, load_preparation
from bequeath.fleet import run_job, teachers
from bequeath.signals.live import LiveTeacher

N = 120


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """The sizes of all batches that any teacher answers; the cache is empty."""
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "cache"))
    sizes: list[int] = []
    call = LiveTeacher.__call__

    def counted(self: LiveTeacher, batch: dict[str, Any]) -> Any:
        sizes.append(len(batch["idx"]))
        return call(self, batch)

    monkeypatch.setattr(LiveTeacher, "__call__", counted)
    return sizes


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A teacher with weights of its own, the same for every seed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEQUEATH_CACHE", str(tmp_path_factory.mktemp("cache")))
        out = run_job(
            job(tmp_path_factory.mktemp("teacher") / "out", method="ce",
                models={"student": "zoo:mlp?hidden=16"}), quiet=True,
        )  # fmt: skip
    yield f"file:{out / 'runs' / 'ce' / 'seed-0' / 'model'}"


def compared(out: Path, teacher: str, **changes: Any) -> Any:
    models = {"teacher": teacher, "student": "zoo:mlp?hidden=8"}
    # the trial of seeds as one model asks the teacher too
    changes["train"] = {"batch_seeds": "off", **changes.get("train", {})}
    return job(out, method=["kd", "nd"], models=models, seeds=2, **changes)


def test_one_pass_for_all_arms_and_seeds(
    teacher: str, asked: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run_job(compared(tmp_path / "out", teacher, train={"cache": "auto", "epochs": 2}))
    # how large an answer is, the pass, and 32 samples for each of the four runs with a teacher
    assert sum(asked) == 1 + N + 4 * 32
    assert len([p for p in (tmp_path / "cache").iterdir() if p.is_dir()]) == 1
    made = load_preparation(out)
    assert made.asked == N and made.seconds > 0
    caches = [record(out, arm, seed).cost.cache for arm in ("kd", "nd") for seed in (0, 1)]
    assert all(cache is not None and cache.hit for cache in caches)
    assert record(out, "ce").cost.cache is None
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(
        r"asked once: logits and embedding of 120 samples as they are, \d+\.\d kB, [\d.]+ s", said
    )
    assert re.search(r"teacher cache: \d+\.\d kB, made in [\d.]+ s, saved", said)


def test_nothing_is_asked_for_runs_that_are_there(
    teacher: str, asked: list[int], tmp_path: Path
) -> None:
    done = compared(tmp_path / "out", teacher)
    out = run_job(done, quiet=True)
    before = load_preparation(out)
    asked.clear()
    run_job(done, quiet=True)
    assert asked == [] and load_preparation(out) == before


def test_a_live_comparison_prepares_nothing(
    teacher: str, asked: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run_job(compared(tmp_path / "out", teacher, train={"cache": "off", "epochs": 1}))
    assert not (tmp_path / "cache").exists()
    assert load_preparation(out).asked == 0
    assert "teacher cache" not in capsys.readouterr().err
    assert sum(asked) == 4 * N + 2 * N  # an epoch of each run, and `nd` goes through the data once


def test_only_what_waiting_runs_ask_is_asked(
    teacher: str, asked: list[int], tmp_path: Path
) -> None:
    models = {"teacher": teacher, "student": "zoo:mlp?hidden=8"}
    run_job(job(tmp_path / "out", models=models), quiet=True)
    [meta] = (tmp_path / "cache").glob("*/meta.json")
    assert set(json.loads(meta.read_text())["files"]) == {"logits-0.npy"}


def test_a_broken_note_of_the_cost_counts_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "references" / "teacher" / PREPARATION_FILE
    path.parent.mkdir(parents=True)
    for text in ("", "{", "[]", '{"seconds": -1}', '{"seconds": NaN}'):
        path.write_text(text)
        assert load_preparation(tmp_path).seconds == 0
    path.write_text('{"seconds": 2.5, "asked": 7}')
    assert load_preparation(tmp_path).seconds == 2.5


def test_a_cache_that_cost_more_than_it_saved_says_so(
    teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "cache"))
    made = job(tmp_path / "out", models={"teacher": teacher, "student": "zoo:mlp?hidden=8"})
    out = run_job(made, quiet=True)
    path = out / "references" / "teacher" / PREPARATION_FILE
    path.write_text('{"seconds": 1000, "asked": 120}')
    console = Console(record=True, width=200, quiet=False, file=(tmp_path / "said").open("w"))
    planned = [one for one in _planned(made) if one.arm.label == "kd"]
    teachers.tell_saved(out, planned, console)
    assert re.search(
        r"made in 16 m 40 s, saved nothing .* more than it saved", console.export_text()
    )


def _planned(made: Any) -> Any:
    from bequeath.fleet.gates import check_deep
    from bequeath.fleet.sweep import plan

    return plan(check_deep(made))
