from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pyarrow.parquet as parquet
import pytest
from made_runs import add_run, record
from pydantic import ValidationError

from bequeath.evidence.predictions import from_arrays, load_predictions, save_predictions
from bequeath.evidence.record import (
    RunRecord,
    find_references,
    find_runs,
    load_record,
    record_schema,
    save_record,
)
from bequeath.kernel.errors import RunError


def test_a_record_comes_back_as_it_went(tmp_path):
    cache = {"hit": True, "saved_s": 1.5, "bytes": 10}
    made = record("kd", 3, 0.5, 10, notes={"ratio": 1.5, "list": [1, 2]}, cache=cache)
    save_record(made, tmp_path)
    assert load_record(tmp_path) == made
    assert json.loads((tmp_path / "record.json").read_text())["schema_version"] == 1


def test_unknown_keys_and_numbers_that_are_none_are_refused():
    raw = record("kd", 0, 0.5, 10).model_dump()
    with pytest.raises(ValidationError, match="sead"):
        RunRecord.model_validate(raw | {"run": raw["run"] | {"sead": 1}})
    with pytest.raises(ValidationError, match="finite"):
        RunRecord.model_validate(raw | {"cost": raw["cost"] | {"wall_s": float("nan")}})


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("{", "R561", "cannot be read"),
        ("[]", "R561", "not a run record"),
        ('{"schema_version": 2}', "R562", "install the bequeath that wrote it"),
        ('{"schema_version": 1, "run": {}}', "R561", "run.arm"),
    ],
)
def test_a_bad_record_says_what_is_wrong(tmp_path, text, code, says):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(RunError) as caught:
        load_record(tmp_path)
    assert caught.value.problem.code == code
    assert says in str(caught.value)


def test_the_schema_accepts_what_is_written_and_lists_the_parts():
    schema = record_schema()
    assert set(schema["required"]) <= set(record("kd", 0, 0.5, 10).model_dump())
    assert schema["additionalProperties"] is False
    assert {"Run", "Cost", "Machine", "Seal"} <= set(schema["$defs"])


def test_unfinished_folders_are_not_runs(tmp_path):
    right = np.ones(4, dtype=bool)
    for seed in (0, 2, 10):
        add_run(tmp_path / f"runs/kd/seed-{seed}", "kd", seed, right)
    add_run(tmp_path / "runs/kd/.seed-1.77.part", "kd", 1, right)
    (tmp_path / "runs/kd/seed-4").mkdir()
    add_run(tmp_path / "references/teacher", "teacher", 0, right)
    assert [f.name for f in find_runs(tmp_path)] == ["seed-0", "seed-2", "seed-10"]
    assert [f.name for f in find_references(tmp_path)] == ["teacher"]


def test_predictions_come_back_sorted_with_their_metadata(tmp_path):
    answers = {"classes": ("é", "b"), "label": [1, 0], "pred": [1, 1], "confidence": [0.9, 0.6],
               "p_label": [0.9, 0.4], "nll": [0.1, 0.9]}  # fmt: skip
    terms = {"brier": [0.02, 0.72], "accuracy": [1, 0]}
    save_predictions(
        from_arrays(arm="kd", seed=7, idx=[9, 4], terms=terms, answers=answers), tmp_path
    )
    back = load_predictions(tmp_path)
    assert back.answers is not None
    assert (back.arm, back.seed, back.answers.classes) == ("kd", 7, ("é", "b"))
    assert back.idx.tolist() == [4, 9]
    assert back.answers.correct.tolist() == [False, True]
    assert back.answers.nll.dtype == np.float32
    assert back.answers.nll.tolist() == pytest.approx([0.9, 0.1])
    assert back.term("brier").tolist() == pytest.approx([0.72, 0.02])
    assert back.term("nll").tolist() == back.answers.nll.tolist()
    assert back.term("ece") is None
    columns = parquet.read_schema(tmp_path / "predictions.parquet").names
    assert columns == ["idx", "label", "pred", "confidence", "p_label", "nll", "correct",
                       "term_brier", "term_accuracy"]  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["predictions.parquet"]


def test_predictions_that_cannot_be_read_or_count_a_sample_twice(tmp_path):
    (tmp_path / "predictions.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(RunError) as caught:
        load_predictions(tmp_path)
    assert caught.value.problem.code == "R563"
    with pytest.raises(ValueError, match="twice"):
        from_arrays(arm="a", seed=0, idx=[1, 1], terms={"mrr": [0, 0]})
    with pytest.raises(ValueError, match="length"):
        from_arrays(arm="a", seed=0, idx=[1, 2], terms={"mrr": [0, 0], "hits@1": [0, 0, 1]})
    with pytest.raises(ValueError, match="infinite"):
        from_arrays(arm="a", seed=0, idx=[1, 2], terms={"ppl": [0, np.inf]})


def test_terms_without_answers_and_samples_that_do_not_count(tmp_path):
    made = from_arrays(
        arm="lemon", seed=0, idx=[2, 0], terms={"mrr": [0.5, 1.0], "hits@1": [np.nan, 1.0]}
    )
    save_predictions(made, tmp_path)
    back = load_predictions(tmp_path)
    assert back.answers is None
    assert back.term("mrr").tolist() == [1.0, 0.5]
    assert back.term("hits@1")[0] == 1.0 and np.isnan(back.term("hits@1")[1])
    assert back.term("accuracy") is None
    table = parquet.read_table(tmp_path / "predictions.parquet")
    assert table["term_hits@1"].to_pylist() == [1.0, None]


def test_a_run_without_terms_writes_no_predictions(tmp_path):
    assert save_predictions(from_arrays(arm="linear", seed=0, idx=[]), tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_records_and_comparisons_load_without_torch():
    code = (
        "import sys, bequeath.evidence.record, bequeath.evidence.compare, "
        "bequeath.evidence.verdicts, bequeath.evidence.provenance; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
