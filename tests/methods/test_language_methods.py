"""Language models learn from each other: large vocabularies, other tokens, their own texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_language import causal_folder

from bequeath.blocks import next_words
from bequeath.evidence.record import load_record
from bequeath.fleet import check_deep, run_job
from bequeath.given import words
from bequeath.given.data import data_handle
from bequeath.given.models import load_model
from bequeath.job.api import load_job
from bequeath.kernel.errors import JobError

GPT = "zoo:gpt?layers=1&width=32&heads=2&context=48"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "cache"))


def a_job(**changes: Any) -> dict[str, Any]:
    job = {
        "want": "distill",
        "method": "ce",
        "models": {"student": GPT},
        "data": {"train": "sentences:60", "test": "sentences:30?seed=1"},
        "evaluate": {"metrics": ["nll", "accuracy"]},
        "baselines": False,
        "seeds": 1,
        "train": {
            "epochs": 10,
            "batch_size": 30,
            "threads": 1,
            "device": "cpu",
            "optimizer": {"lr": 0.01},
        },
    }
    train = {**job["train"], **changes.pop("train", {})}
    return {**job, "train": train, **changes}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("teacher") / "out"
    run_job(load_job(a_job(train={"epochs": 30}), [f"out={out}"]), quiet=True)
    return f"file:{out / 'runs' / 'ce' / 'seed-0' / 'model'}"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    pytest.importorskip("transformers")
    root = tmp_path_factory.mktemp("hf")
    return causal_folder(root / "a"), causal_folder(root / "b", words=70, kind="llama")


@pytest.fixture(scope="module")
def hf_teacher(tmp_path_factory: pytest.TempPathFactory, folders) -> str:
    out = tmp_path_factory.mktemp("hf_teacher") / "out"
    job = a_job(models={"student": f"hf:{folders[0]}"}, train={"epochs": 30})
    run_job(load_job(job, [f"out={out}"]), quiet=True)
    return f"file:{out / 'runs' / 'ce' / 'seed-0' / 'model'}"


def run(method: Any, teacher: str, student: str = GPT, out: str = "out", **more: Any):
    models = {"teacher": teacher, "student": student}
    job = load_job(a_job(method=method, models=models, **more), [f"out={out}"])
    done = run_job(job, quiet=True)
    [folder] = (done / "runs").glob("*/seed-0")
    return load_record(folder), folder / "model"


def weights(folder: Path) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in load_model(folder).module.parameters()])


@pytest.mark.parametrize("name", ["kd", "kd-top"])
def test_a_vocabulary_in_chunks_teaches_the_same(teacher, monkeypatch, name):
    method = {"name": "kd", "temperature": 1.0, "ce": 0.3, "kd": 0.7}
    method |= {"top_k": 5} if name == "kd-top" else {}
    few = {"epochs": 2, "cache": "off", "optimizer": {"name": "sgd", "lr": 0.3}}
    whole, first = run(method, teacher, out="whole", train=few)
    monkeypatch.setattr(words, "NUMBERS", 2000)
    seen = []
    fused = next_words.fused
    monkeypatch.setattr(next_words, "fused", lambda *a, **k: seen.append(1) or fused(*a, **k))
    parts, second = run(method, teacher, out="parts", train=few)
    assert len(seen) == 4
    assert (weights(first) - weights(second)).abs().max() < 1e-5
    assert parts.metrics["nll"].value == pytest.approx(whole.metrics["nll"].value, abs=1e-5)


def test_the_likeliest_words_are_kept_and_teach_what_the_live_teacher_teaches(teacher):
    method = {"name": "kd", "temperature": 1.0, "ce": 0.0, "kd": 1.0, "top_k": 5}
    found = {}
    for cache in ("on", "off"):
        record, folder = run(method, teacher, out=cache, train={"cache": cache, "epochs": 3})
        found[cache] = record, weights(folder)
    assert (found["on"][1] - found["off"][1]).abs().max() < 1e-4
    all_words, _ = run(
        {"name": "kd", "temperature": 1.0, "ce": 0.0, "kd": 1.0}, teacher, out="all",
        train={"cache": "on", "epochs": 3},
    )  # fmt: skip
    kept, whole = found["on"][0].cost.cache, all_words.cost.cache
    assert kept is not None and whole is not None
    classes = load_model(Path(teacher.removeprefix("file:"))).facts.n_classes
    assert kept.bytes / whole.bytes == pytest.approx((2 * 5 + 1) / classes, rel=1e-3)
    again, _ = run(method, teacher, out="again", train={"cache": "on", "epochs": 3})
    assert again.cost.cache is not None and again.cost.cache.hit


@pytest.mark.parametrize(
    "method",
    [
        {"name": "gkd", "on_policy": 1.0, "length": 12, "divergence": "skew_reverse"},
        {"name": "minillm", "length": 12, "lm": 0.0},
    ],
    ids=lambda m: m["name"],
)
def test_a_student_of_transformers_learns_from_what_it_writes(folders, hf_teacher, method):
    student = f"hf:{folders[0]}?pretrained=false"
    record, folder = run({**method, "sft": 0.0}, hf_teacher, student)
    assert record.metrics["nll"].value < 4.2  # log 90 is 4.5, and it began there
    from transformers import AutoModelForCausalLM

    opened = AutoModelForCausalLM.from_pretrained(folder)
    assert sum(p.numel() for p in opened.parameters()) > 0


@pytest.mark.parametrize("align", ["position", "prefix"])
def test_models_with_other_tokens_are_aligned(folders, teacher, align):
    method = {"name": "uld", "align": align}
    record, _ = run(method, teacher, f"hf:{folders[1]}", train={"epochs": 3})
    assert record.metrics["nll"].value < 4.3  # log 70 is 4.25, and it began there


def test_refused(folders, teacher):
    models = {"teacher": f"hf:{folders[0]}", "student": f"hf:{folders[1]}"}
    for name in ("kd", "gkd", "minillm"):
        with pytest.raises(JobError) as caught:
            check_deep(load_job(a_job(method=name, models=models), ["out=out"]))
        [problem] = caught.value.problems
        assert (problem.code, problem.at) == ("G491", ("models", "student"))
        assert any("uld" in remedy for remedy in problem.remedies)
    check_deep(load_job(a_job(method="uld", models=models), ["out=out"]))
    with pytest.raises(JobError) as caught:
        load_job(a_job(method={"name": "kd", "top_k": 3}, models=models), ["out=out"])
    assert "temperature: 1" in caught.value.problems[0].label
    on = a_job(method="gkd", models={"teacher": teacher, "student": GPT}, train={"cache": "on"})
    with pytest.raises(JobError) as caught:
        run_job(load_job(on, ["out=on"]), quiet=True)
    assert [p.code for p in caught.value.problems] == ["S711"]


def test_the_teacher_judges_what_students_write(folders, teacher):
    record, _ = run("gkd", teacher, train={"epochs": 4}, protocol={"write": 40})
    notes = record.notes
    assert 0 < notes["written_own_nll"] < 4 and notes["written_nll"] > 0
    apart = notes["written_nll"] - notes["written_own_nll"]
    assert notes["written_reverse_kl"] == pytest.approx(apart, abs=1e-9)
    itself, _ = run("gkd", teacher, teacher, "itself", train={"epochs": 0}, protocol={"write": 40})
    assert itself.notes["written_reverse_kl"] == pytest.approx(0, abs=1e-6)
    models = {"teacher": f"hf:{folders[0]}", "student": GPT}
    job = a_job(method="uld", models=models, protocol={"write": 4})
    with pytest.raises(JobError) as caught:
        check_deep(load_job(job, ["out=refused"]))
    assert [(p.code, p.at) for p in caught.value.problems] == [("G495", ("protocol", "write"))]


@pytest.fixture
def answers() -> dict[str, Any]:
    """Data of a job: sentences whose first two words ask for the rest."""
    for name, ref in {"train": "sentences:40", "test": "sentences:20?seed=1"}.items():
        rows = [text.split(" ", 2) for text in data_handle(name, ref).load().x]
        lines = [{"ask": f"{a} {b} ", "say": rest} for a, b, rest in rows]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    columns = {"text": "say", "prompt": "ask"}
    return {name: {"ref": f"jsonl:{name}.jsonl", **columns} for name in ("train", "test")}


@pytest.mark.parametrize(
    "method",
    [
        "ce",
        {"name": "kd", "temperature": 1.0, "ce": 0.5, "kd": 0.5, "top_k": 3},
        {"name": "gkd", "on_policy": 0.5, "length": 8},
        {"name": "minillm", "length": 8},
    ],
    ids=lambda m: m if isinstance(m, str) else m["name"],
)
def test_answers_are_learnt_and_prompts_are_not(answers, teacher, method):
    few = {"epochs": 2, "batch_size": 20}
    student = f"{GPT}&vocabulary={teacher.removeprefix('file:')}"
    record, folder = run(method, teacher, student, data=answers, train=few, protocol={"write": 20})
    lines = [json.loads(line) for line in Path("test.jsonl").read_text().splitlines()]
    said = [(len(line["ask"]) + 1, len(line["ask"] + line["say"]) + 2) for line in lines]
    assert record.metrics["nll"].n == sum(min(end, 48) - begin for begin, end in said)
    assert record.notes["written_nll"] > 0
    assert load_model(folder).facts.per_token


def test_other_tokens_are_aligned_within_answers(answers, folders, teacher):
    record, _ = run("uld", teacher, f"hf:{folders[1]}", data=answers, train={"epochs": 2})
    assert record.metrics["nll"].value < 4.6


def test_prompts_that_leave_no_room_are_refused(answers, teacher):
    lines = [json.dumps({"ask": "Mary " * 20, "say": "met Paul."})] * 8
    Path("train.jsonl").write_text("\n".join(lines))
    models = {"student": f"{GPT}&vocabulary=ascii"}
    with pytest.raises(JobError) as caught:
        check_deep(load_job(a_job(models=models, data=answers), ["out=out"]))
    [problem] = caught.value.problems
    assert (problem.code, problem.at) == ("G496", ("data", "train", "prompt"))
