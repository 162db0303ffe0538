"""The second gate, without loading: what is given against what is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bequeath.given.facts import DataFacts, ModelFacts
from bequeath.job.api import load_job
from bequeath.job.job import Job
from bequeath.job.meaning import class_problems
from bequeath.kernel.errors import JobError, Problem

MODELS = {"teacher": "zoo:mlp", "student": "zoo:mlp"}
DATA = {"train": "sklearn:digits?split=train", "test": "sklearn:digits?split=test"}
GOOD: dict[str, Any] = {"want": "distill", "method": "kd", "models": MODELS, "data": DATA}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def problems(**changes: Any) -> list[Problem]:
    with pytest.raises(JobError) as error:
        load_job({**GOOD, **changes})
    return error.value.problems


def test_a_good_job_passes_and_its_handles_are_lazy() -> None:
    job = load_job(GOOD)
    assert set(job.models) == {"teacher", "student"} and job.data["train"].facts.n_classes == 10


def test_a_missing_role_is_named_once_for_all_methods() -> None:
    (problem,) = problems(method=["kd", "nd"], models={"student": "zoo:mlp"})
    assert (problem.code, problem.at) == ("G401", ("models",))
    assert "`kd`, `nd` need a model `teacher`" in problem.message


def test_a_role_of_the_wrong_name_is_recognised() -> None:
    found = problems(models={"techer": "zoo:mlp", "student": "zoo:mlp"})
    assert [(p.code, p.at) for p in found] == [
        ("G401", ("models", "techer")),
        ("G402", ("models", "techer")),
    ]
    assert "rename `techer` to `teacher`" in found[0].label


def test_missing_sections_are_said_at_the_method(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("want: distill\nmethod: kd\n")
    with pytest.raises(JobError) as error:
        load_job(job)
    codes = [p.code for p in error.value.problems]
    assert codes == ["G401", "G401", "G401", "G403"]
    assert all(p.place is not None for p in error.value.problems)


def test_what_nothing_uses_is_refused() -> None:
    (problem,) = problems(models={**MODELS, "extra": "zoo:lenet"})
    assert (problem.code, problem.at) == ("G402", ("models", "extra"))
    first, second = problems(graphs={"g": "kg:nowhere"})
    assert (first.code, first.at) == ("G402", ("graphs", "g"))
    assert second.at == ("graphs", "g", "ref")


def test_the_reference_and_the_judge_are_not_superfluous() -> None:
    assert [arm.label for arm in load_job({**GOOD, "method": "ce"}).arms] == ["ce"]


def test_the_judge_must_be_there_and_not_be_what_is_trained_on() -> None:
    (problem,) = problems(evaluate={"data": "tests"}, data={"train": DATA["train"]})
    assert problem.code == "G403" and problem.at == ("evaluate", "data")
    (problem,) = problems(data={"train": "sklearn:digits", "test": {"ref": "sklearn:digits"}})
    assert (problem.code, problem.at) == ("G406", ("data", "test"))
    (problem,) = problems(evaluate={"data": "train"}, data={"train": DATA["train"]})
    assert problem.code == "G406"


def test_classes_that_differ_are_found_from_what_is_known() -> None:
    (problem,) = problems(data={**DATA, "test": "sklearn:wine?split=test"})
    assert (problem.code, problem.at) == ("G404", ("data", "test"))
    assert "data.train: 10 classes" in problem.notes
    (problem,) = problems(models={**MODELS, "teacher": "zoo:mlp?classes=7"})
    assert (problem.code, problem.at) == ("G404", ("models", "teacher"))


def test_names_and_kinds_are_compared_where_known() -> None:
    job = load_job(GOOD)
    models = {"teacher": ModelFacts(), "student": ModelFacts()}

    def codes(train: DataFacts, test: DataFacts) -> list[str]:
        return [p.code for p in class_problems(job, models, {"train": train, "test": test})]

    ab, ba = DataFacts(classes=("a", "b")), DataFacts(classes=("b", "a"))
    assert codes(ab, ba) == ["G405"]
    assert codes(ab, ab) == codes(ab, DataFacts()) == []
    assert codes(DataFacts(kind="image"), DataFacts(kind="vector")) == ["G407"]


def test_missing_files_are_found_without_loading() -> None:
    found = problems(
        models={**MODELS, "teacher": {"ref": "zoo:mlp", "weights": "none.safetensors"}},
        data={**DATA, "train": "npz:none.npz"},
    )
    assert {p.at[:2] for p in found} == {("models", "teacher"), ("data", "train")}
    assert {p.at[2] for p in found} == {"weights", "ref"}


def test_a_file_in_the_way_of_the_output_is_found(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for out in ("taken", "taken/below"):
        (problem,) = problems(out=out)
        assert (problem.code, problem.at) == ("R501", ("out",))
    job: Job = load_job({**GOOD, "out": "new/deep"})
    assert not job.out.exists() and not Path("new").exists()
