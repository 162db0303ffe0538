"""Every case of the corpus: refused at a place, in bounded time and memory, and nothing done."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import bad_files as make
import pytest
from hostile_case import Case, ask, faults
from hostile_code import CASES as CODE
from hostile_data import CASES as DATA
from hostile_folders import CASES as FOLDERS
from hostile_graphs import CASES as GRAPHS
from hostile_jobs import CASES as JOBS
from hostile_models import CASES as MODELS
from hostile_tables import CASES as TABLES

from bequeath.cli import run_cli
from bequeath.kernel.codes import CODES

CORPUS: list[Case] = [*JOBS, *MODELS, *FOLDERS, *CODE, *DATA, *TABLES, *GRAPHS]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is imported late is imported once, here, and not again in every child."""
    folder = tmp_path_factory.mktemp("warm")
    make.good(folder)
    make.text("job.yaml", make.GOOD)(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run_cli(["check", "--deep", "job.yaml"]) == 0
    for name in ("pyarrow.csv", "pyarrow.parquet", "PIL.Image", "transformers"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "w"
    folder.mkdir()
    make.good(folder)
    yield folder


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_refused_within_bounds(case: Case, here: Path) -> None:
    if case.needs and importlib.util.find_spec(case.needs) is None:
        pytest.skip(f"needs {case.needs}")
    case.make(here)
    before = make.tree(here)
    answer = ask(case, here)
    wrong = faults(case, answer, before, make.tree(here))
    assert not wrong, f"{case.what}: {'; '.join(wrong)}\n{answer.said[-3000:]}"


def test_the_corpus_is_as_large_as_it_says() -> None:
    assert len(CORPUS) >= 150
    assert len({case.name for case in CORPUS}) == len(CORPUS)
    assert len({case.what for case in CORPUS}) == len(CORPUS)
    assert all(case.exit in (1, 2) and case.codes for case in CORPUS)
    assert {code for case in CORPUS for code in case.codes.split()} - {"usage"} <= CODES.keys()
