"""Texts that answer prompts: named in tables and data sets, joined, and known to the batch."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from bequeath.given.data import data_handle
from bequeath.given.subset import Joined, Rows
from bequeath.kernel.errors import JobError

ROWS = [("2 + 2 = ", "4"), ("", "NA"), ("Who is it? ", "It is I, \u00fcber all.")]


def written(folder: Path, kind: str) -> str:
    """A file of ROWS -> its reference."""
    path = folder / f"rows.{kind}"
    if kind == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("question", "answer"), *ROWS])
    elif kind == "jsonl":
        lines = [json.dumps({"question": q, "answer": a, "more": {"n": 1}}) for q, a in ROWS]
        path.write_text("\n" + "\n".join(lines) + "\n", encoding="utf-8")
    elif kind == "parquet":
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        questions, answers = zip(*ROWS)
        parquet.write_table(pa.table({"question": questions, "answer": answers}), path)
    elif kind == "py":
        path.write_text(
            f"ROWS = {ROWS!r}\n\n\ndef rows():\n"
            "    return {'text': [a for _, a in ROWS], 'prompt': [q for q, _ in ROWS]}\n"
        )
        return f"py:{path}:rows"
    else:
        datasets = pytest.importorskip("datasets")
        questions, answers = zip(*ROWS)
        table = datasets.Dataset.from_dict({"question": questions, "answer": answers})
        table.save_to_disk(str(path))
    return f"{kind}:{path}"


def opened(ref: str, **more):
    columns = {} if ref.startswith("py:") else {"text": "answer", "prompt": "question"}
    more = {"labels": False, **more} if ref.startswith("py:") else more
    return data_handle("train", ref, {**columns, **more})


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "hf", "py"])
def test_prompt_and_answer_are_one_text(tmp_path, kind):
    handle = opened(written(tmp_path, kind))
    assert handle.static_problems() == [] and handle.facts.labelled is False
    samples = handle.load()
    batch = samples.fetch(torch.tensor([2, 0, 1]))
    assert batch["text"] == [q + a for q, a in (ROWS[2], ROWS[0], ROWS[1])]
    assert batch["prompt"] == [len(q) for q, _ in (ROWS[2], ROWS[0], ROWS[1])]
    assert samples.y is None and samples.kind == "text"


def test_what_is_the_prompt_belongs_to_the_data(tmp_path):
    ref = written(tmp_path, "csv")
    split = opened(ref).load()
    plain = data_handle("train", ref, {"text": "answer", "labels": False}).load()
    assert split.hash != plain.hash
    parts = Joined([split, Rows(split, torch.tensor([1]))])
    batch = parts.fetch(torch.tensor([3, 0]))
    assert batch["prompt"] == [0, 8] and batch["text"] == ["NA", "2 + 2 = 4"]
    assert opened(ref, take=2).load().fetch(torch.arange(2))["prompt"] != []


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ('{"a": "x"}\n', {"prompt": "a"}, "no `text` is named"),
        ('{"a": "x"}\n', {"text": "a", "prompt": "b"}, "there is no column `b`"),
        ("[1, 2]\n", {"text": "a"}, "its first is no object"),
        ("{'a': 1}\n", {"text": "a"}, "is not JSON lines"),
        ("\n\n", {"text": "a"}, "is empty"),
        ('{"a": "x"}\n{"a": \n', {"text": "a"}, "cannot be read as a table"),
        ('{"a": "x", "b": "y"}\n{"a": "z"}\n', {"text": "a", "prompt": "b"}, "1 cells without"),
        ("[" * 100_000, {"text": "a"}, "is not JSON lines"),
    ],
)
def test_bad_lines_are_refused(tmp_path, content, options, said):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(JobError) as caught:
        data_handle("train", f"jsonl:{path}", {"labels": False, **options}).load()
    assert said in caught.value.problems[0].message


def test_numbers_in_lines_are_vectors_as_in_other_tables(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"u": i, "v": 2.5, "label": "ab"[i % 2]}) + "\n"
                            for i in range(4)))  # fmt: skip
    samples = data_handle("train", f"jsonl:{path}").load()
    assert samples.kind == "vector" and samples.shape == (2,)
    assert samples.classes == ("a", "b") and samples.fetch(torch.tensor([3]))["x"].tolist() == [
        [3.0, 2.5]
    ]
