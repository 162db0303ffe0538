"""`vars:` and `${name}`."""

from __future__ import annotations

import pytest

from bequeath.job.load import load_document
from bequeath.job.resolve import resolve
from bequeath.kernel.errors import JobError

JOB = """\
want: distill
method: ce
vars: {images: somewhere, size: 2}
models:
  student: {ref: "zoo:mlp?hidden=${size}"}
data:
  train: {ref: "npz:${images}/train.npz"}
  test: {ref: "npz:${images}/test.npz"}
"""


def job_file(tmp_path, text=JOB):
    path = tmp_path / "job.yaml"
    path.write_text(text)
    return path


def test_a_variable_is_filled_in_everywhere(tmp_path):
    job = resolve(load_document(job_file(tmp_path)))
    assert job.data_refs["train"].ref == "npz:somewhere/train.npz"
    assert job.model_refs["student"].options.hidden == (2,)


def test_the_command_line_sets_one(tmp_path):
    job = resolve(load_document(job_file(tmp_path), ["vars.images=/elsewhere"]))
    assert job.data_refs["test"].ref == "npz:/elsewhere/test.npz"


def test_an_unknown_variable_is_shown_at_its_place(tmp_path):
    text = JOB.replace("${images}/test", "${image}/test")
    with pytest.raises(JobError) as caught:
        resolve(load_document(job_file(tmp_path, text)))
    (problem,) = caught.value.problems
    assert (problem.code, problem.place.line) == ("J126", 8)
    assert "did you mean `images`" in problem.label


def test_a_variable_is_text_or_a_number(tmp_path):
    with pytest.raises(JobError) as caught:
        resolve(load_document(job_file(tmp_path, JOB.replace("size: 2", "size: [2]"))))
    assert {p.code for p in caught.value.problems} == {"J102", "J126"}


def test_resolved_jobs_need_no_variables(tmp_path):
    job = resolve(load_document(job_file(tmp_path)))
    again = tmp_path / "again.yaml"
    again.write_text(job.to_yaml())
    assert "${" not in again.read_text()
    assert resolve(load_document(again)).to_dict() == job.to_dict()
