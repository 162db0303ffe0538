from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sweeps import CHANGES
from tiny_jobs import SECRET, job

from bequeath.fleet import evaluate, run_job


@pytest.fixture(scope="session", autouse=True)
def _quick() -> Iterator[None]:
    """One thread; latency is not what is tested here, and measuring it well takes its time."""
    before, threads = evaluate.LATENCY_SECONDS, torch.get_num_threads()
    evaluate.LATENCY_SECONDS = 0.0
    torch.set_num_threads(1)
    yield
    evaluate.LATENCY_SECONDS = before
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _surroundings(_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEQUEATH_CACHE", str(_cache))
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setenv("MY_PASSWORD", SECRET)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, _cache: Path) -> Path:
    """A finished job, `kd` and its baseline with one seed. Copy it before you change it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEQUEATH_CACHE", str(_cache))
        patch.setenv("HF_TOKEN", SECRET)
        patch.setenv("MY_PASSWORD", SECRET)
        return run_job(job(tmp_path_factory.mktemp("made") / "out"), quiet=True)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, _cache: Path) -> Path:
    """The sweep of `sweeps.py`, run by run in one process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEQUEATH_CACHE", str(_cache))
        out = tmp_path_factory.mktemp("undisturbed") / "out"
        return run_job(job(out, **CHANGES), jobs=1, quiet=True)
