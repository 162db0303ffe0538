"""`extends:` and `--set`: what is laid over what, and where each value is said to come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from bequeath.job.document import Document, from_plain
from bequeath.job.load import load_document, override
from bequeath.kernel.errors import JobError, Problem


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path, *overrides: str) -> list[Problem]:
    with pytest.raises(JobError) as error:
        load_document(path, overrides)
    return error.value.problems


def test_extends_merges_mappings_and_replaces_lists(tmp_path: Path) -> None:
    write(tmp_path, "base/grand.yaml", "train: {epochs: 1, clip: 2.0}\nseeds: [1, 2, 3]\n")
    write(tmp_path, "base/base.yaml", "extends: grand.yaml\ntrain: {epochs: 5}\nwant: distill\n")
    job = write(tmp_path, "job.yaml", "extends: base/base.yaml\ntrain: {ema: 0.9}\nseeds: [7]\n")
    document = load_document(job)
    assert document.plain["train"] == {"epochs": 5, "clip": 2.0, "ema": 0.9}
    assert document.plain["seeds"] == [7]
    assert document.origin(("train", "ema")) == f"{job}:2:14"
    assert document.origin(("train", "epochs")) == f"extends {tmp_path}/base/base.yaml:2:17"
    assert document.origin(("train", "clip")) == f"extends {tmp_path}/base/grand.yaml:1:26"
    assert document.origin(("train", "steps")) == "default"


def test_extends_in_a_circle_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "extends: b.yaml\n")
    b = write(tmp_path, "b.yaml", "seeds: 1\nextends: a.yaml\n")
    (problem,) = refused(b)
    assert problem.code == "J108" and "b.yaml -> a.yaml -> b.yaml" in problem.message
    assert problem.place is not None and problem.place.file.endswith("a.yaml")


def test_a_missing_base_is_shown_where_it_is_named(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "seeds: 1\n")
    job = write(tmp_path, "job.yaml", "seeds: 2\nextends: bsae.yaml\n")
    (problem,) = refused(job)
    assert problem.code == "J100" and problem.place is not None
    assert (problem.place.line, problem.place.column) == (2, 10)
    assert "base.yaml" in problem.remedies[0]


@pytest.mark.parametrize("text", ["extends: [a]", "extends: 3", "extends: {a: 1}"])
def test_extends_takes_one_path(tmp_path: Path, text: str) -> None:
    (problem,) = refused(write(tmp_path, "job.yaml", text))
    assert problem.code == "J108" and problem.place is not None


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.yaml")[0].code == "J100"
    assert refused(tmp_path)[0].code == "J100"
    (tmp_path / "latin.yaml").write_bytes("a: \xe9".encode("latin-1"))
    assert "UTF-8" in refused(tmp_path / "latin.yaml")[0].message
    (tmp_path / "big.yaml").write_bytes(b"a" * 1_000_001)
    assert refused(tmp_path / "big.yaml")[0].code == "J106"


def test_set_takes_yaml_and_makes_what_is_missing(tmp_path: Path) -> None:
    job = write(tmp_path, "job.yaml", "method: kd\nmodels: {a: 'zoo:mlp'}\n")
    document = load_document(
        job,
        ["train.optimizer.lr=1e-4", "seeds=[3, 4]", "method.temperature=2", "models.a.classes=3"],
    )
    assert document.plain == {
        "method": {"name": "kd", "temperature": 2},
        "models": {"a": {"ref": "zoo:mlp", "classes": 3}},
        "train": {"optimizer": {"lr": 1e-4}},
        "seeds": [3, 4],
    }
    assert document.origin(("train", "optimizer", "lr")) == "--set"
    assert document.origin(("models", "a", "ref")) == f"{job}:2:13"


def test_set_reaches_into_lists_and_the_last_wins(tmp_path: Path) -> None:
    job = write(tmp_path, "job.yaml", "method: [ce, {name: kd, ce: 0.5}]\n")
    document = load_document(job, ["method.1.ce=1", "method.1.ce=2", "method.0.label_smoothing=0"])
    assert document.plain["method"] == [
        {"name": "ce", "label_smoothing": 0},
        {"name": "kd", "ce": 2},
    ]


@pytest.mark.parametrize(
    ("text", "code", "column"),
    [
        ("train.epochs", "J109", 7),
        ("=3", "J109", 7),
        ("a..b=3", "J109", 7),
        ("method.5=kd", "J109", 7),
        ("method.x=kd", "J109", 7),
        ("seeds.x=kd", "J109", 7),
        ("out=[1", "J101", 13),
        ("out=!!python/name:os.system 1", "J107", 11),
    ],
)
def test_a_wrong_set_is_pointed_at(tmp_path: Path, text: str, code: str, column: int) -> None:
    job = write(tmp_path, "job.yaml", "method: [kd]\nseeds: 3\n")
    (problem,) = refused(job, text)
    assert problem.code == code and problem.place is not None
    assert problem.place.file == "command line" and problem.place.text == f"--set {text}"
    assert problem.place.column == column


def test_all_wrong_sets_are_reported_together(tmp_path: Path) -> None:
    job = write(tmp_path, "job.yaml", "seeds: 3\n")
    assert len(refused(job, "a", "train.epochs=1", "b")) == 2


def test_set_works_on_a_job_from_python() -> None:
    document = override(Document(from_plain({"seeds": (1, 2)})), ["train.epochs=3"])
    assert document.plain == {"seeds": [1, 2], "train": {"epochs": 3}}
    with pytest.raises(ValueError, match="not set"):
        from_plain({"seeds": {1, 2}})
