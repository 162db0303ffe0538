"""Hostile tables: text between commas, and Parquet."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bad_files as make
import numpy as np
import pyarrow as pa
from bad_files import TRAIN, TRAIN_REF, swap
from hostile_case import Case, job
from hostile_jobs import make_socket
from pyarrow import parquet


def table(name: str, what: str, codes: str, text: str | bytes, *says: str, more: str = "",
          scheme: str = "csv", file: str = "t.csv", **rest: Any) -> Case:  # fmt: skip
    written = swap(TRAIN, f'{{ref: "{scheme}:{file}"{more}}}')
    return Case(
        name, f"table: {what}", codes, job(written, make.text(file, text)), says=says, **rest
    )


HEAD = "a,b,c,d,e,f,label\n"
LINES = "".join(f"{i},{i},{i},{i},{i},{i / 9},{i % 3}\n" for i in range(30))
CSV = [
    table("csv-nul", "nulls in the middle of numbers", "D213", HEAD + LINES + "1,2,\0,4,5,6,0\n"),
    table("csv-nul-header", "nulls in the header", "D204", "a,b\0,la\0bel\n1,2,0\n"),
    table("csv-utf16", "UTF-16", "D202", (HEAD + LINES).encode("utf-16")),
    table("csv-late-latin", "a name that is not UTF-8, a megabyte down", "D213",
          (HEAD + LINES * 2000).encode() + b"1,2,\xe9,4,5,6,0\n"),
    table("csv-late-name", "a header longer than a megabyte, with what is not UTF-8", "D202",
          b"a," + b"b" * 999_000 + b"," + b"\xff" * 5000 + b",label\n1,2,3,0\n"),
    table("csv-columns", "150,000 columns", "D204", ",".join(f"c{i}" for i in range(150_000))
          + ",label\n" + "1," * 150_000 + "0\n"),
    table("csv-wide-field", "one field of 20 MB", "D202",
         HEAD + LINES + '"' + "x" * 20_000_000 + '",2,3,4,5,6,0\n'
          + "1\n"),
    table("csv-quote", "a quote that is never closed", "D202",
         HEAD + LINES + '1,"2,3,4,5,6,0\n' * 3),
    table("csv-formula", "a formula where a number belongs", "D213",
          HEAD + LINES + '=cmd|\' /C calc\'!A0,2,3,4,5,6,0\n', "=cmd"),
    table("csv-label-formula", "formulas as labels", "G404",
          HEAD + "".join(f"1,2,3,4,5,{i},=HYPERLINK({i % 2})\n" for i in range(30))),
    table("csv-huge-label", "a label of 10^30", "D207", HEAD + LINES + f"1,2,3,4,5,6,{10**30}\n"),
    table("csv-negative-label", "a label of -1", "D207", HEAD + LINES + "1,2,3,4,5,6,-1\n",
         "row 30"),
    table("csv-nan-label", "a label that is no number, by the word", "D207",
          HEAD + LINES + "1,2,3,4,5,6,nan\n", "row 30"),
    table("csv-date", "dates as labels", "G404",
          HEAD + "".join(f"1,2,3,4,5,{i},2024-01-0{1 + i % 2}\n" for i in range(30))),
    table("csv-only-header", "a header and a line break in quotes", "D205", 'a,"la\nbel",label\n'),
    table("csv-empty-names", "columns without names", "D205", ",,\n1,2,3\n"),
    table("csv-steer", "column names that steer a terminal", "D204", "\x1b[2Ja,\u202eb\n1,2\n",
         r"\x1b"),
    table("csv-tabs", "tabs where commas are asked for", "D204", HEAD.replace(",",
         "\t") + "1\t2\n"),
    table("csv-sep", "a separator of a line break", "J102", HEAD, more=', sep: "\\n"'),
    table("csv-nothing-but-commas", "a thousand commas", "D205", "," * 1000 + "\n"),
    table("csv-text-gap", "a column of text with gaps", "G407",
          "t,label\na,0\n,1\n", more=", text: t"),
    table("csv-traversal", "a table outside by `..`", "D204", HEAD.replace("label", "x"),
          file="../t.csv"),
    Case("csv-zero", "table: a device without end", "D201", job(swap(TRAIN_REF,
         '"csv:/dev/zero"'))),
    Case("csv-fifo", "table: a pipe", "D201", job(swap(TRAIN_REF, '"csv:p.csv"'),
         make.pipe("p.csv"))),
    Case("csv-socket", "table: a socket", "D201",
         job(swap(TRAIN_REF, '"csv:s.csv"'), lambda f: make_socket(f / "s.csv"))),
    Case("csv-folder", "table: a folder", "D201", job(swap(TRAIN_REF, '"csv:t.csv"'),
         lambda f: (f / "t.csv").mkdir())),
    Case("csv-sparse", "table: 1 TB of hole", "D210",
         job(swap(TRAIN_REF, '"csv:t.csv"'), make.text("t.csv", HEAD + LINES),
             lambda f: os.truncate(f / "t.csv", 1 << 40))),
    Case("csv-gz", "table: a table packed by gzip", "D202", job(swap(TRAIN_REF, '"csv:t.csv.gz"'),
         make.text("t.csv.gz", gzip.compress((HEAD + LINES).encode())))),
]  # fmt: skip


def columns(name: str, what: str, codes: str, made: Callable[[], Any], *says: str, more: str = "",
            change: Callable[[bytes], bytes] = lambda data: data, **rest: Any) -> Case:  # fmt: skip
    """A Parquet file of a table, perhaps damaged afterwards."""

    def build(folder: Path) -> None:
        table = made()
        file = io.BytesIO()
        if isinstance(table, pa.Table):
            parquet.write_table(table, file)
        else:
            table(file)
        (folder / "t.parquet").write_bytes(change(file.getvalue()))

    text = swap(TRAIN, f'{{ref: "parquet:t.parquet"{more}}}')
    return Case(name, f"parquet: {what}", codes, job(text, build), says=says, **rest)


def plain(**change: Any) -> pa.Table:
    data: dict[str, Any] = {name: [float(i) for i in range(30)] for name in "abcdef"}
    data["label"] = [i % 3 for i in range(30)]
    return pa.table({k: v for k, v in (data | change).items() if v is not None})


def _runs(file: Any) -> None:
    """40 million rows of one number in a few kilobytes."""
    table = pa.table({"a": np.zeros(40_000_000, np.int8), "label": np.zeros(40_000_000, np.int8)})
    parquet.write_table(table, file, row_group_size=40_000_000, compression="zstd")


def _duplicate() -> pa.Table:
    return pa.Table.from_arrays([pa.array([1.0, 2.0]), pa.array([1.0, 2.0]), pa.array([0, 1])],
                                ["a", "a", "label"])  # fmt: skip


def _latin() -> pa.Table:
    return plain(t=["some text", "more", "other"] * 10)


def footer(data: bytes) -> bytes:
    """Every byte of the last hundred before the end turned."""
    return data[:-108] + bytes(b ^ 0x55 for b in data[-108:-8]) + data[-8:]


PARQUET = [
    columns("pq-cut", "cut in the middle", "D202", plain, change=lambda d: d[: len(d) // 2]),
    columns("pq-footer", "a footer of noise", "D202", plain, change=footer),
    columns("pq-footer-length", "a footer longer than the file", "D202", plain,
            change=lambda d: d[:-8] + b"\xff\xff\xff\x7fPAR1"),
    columns("pq-footer-none", "a footer of no length", "D202", plain,
            change=lambda d: d[:-8] + bytes(4) + b"PAR1"),
    columns("pq-pages", "pages of noise under a whole footer", "D202", plain,
            change=lambda d: d[:4] + bytes(b ^ 0xA5 for b in d[4:400]) + d[400:]),
    columns("pq-marks-only", "the marks at both ends and nothing between", "D202", plain,
            change=lambda d: b"PAR1" + bytes(8) + b"PAR1"),
    columns("pq-encrypted", "a file that says it is encrypted", "D202", plain,
            change=lambda d: d[:-4] + b"PARE"),
    columns("pq-duplicate", "two columns of one name", "D204", _duplicate, "`a`"),
    columns("pq-label-twice", "two columns of labels", "D204",
            lambda: pa.Table.from_arrays([pa.array([1.0]), pa.array([0]), pa.array([1])],
                                         ["a", "label", "label"])),
    columns("pq-nested", "labels that are lists of all lengths", "D207",
            lambda: plain(label=[[i] * (i % 3) for i in range(30)])),
    columns("pq-struct", "labels that are records", "D207",
            lambda: plain(label=[{"a": i} for i in range(30)])),
    columns("pq-map", "labels that are maps", "D207",
            lambda: plain(label=pa.array([[("a", i)] for i in range(30)], pa.map_(pa.string(),
            pa.int64())))),
    columns("pq-list-lists", "vectors that are lists of lists", "D213",
            lambda: plain(a=[[[1.0]]] * 30), more=", features: [a]"),
    columns("pq-list-text", "vectors that are lists of texts", "D213",
            lambda: plain(a=[["x"]] * 30), more=", features: [a]"),
    columns("pq-list-null", "vectors with gaps", "D208",
            lambda: plain(a=[[1.0, None]] * 30), more=", features: [a]"),
    columns("pq-list-empty", "vectors of no length", "D213",
            lambda: plain(a=pa.array([[]] * 30, pa.list_(pa.float64()))), more=", features: [a]"),
    columns("pq-null-label", "labels that are all missing", "D207",
         lambda: plain(label=pa.nulls(30))),
    columns("pq-binary-label", "labels of bytes", "G405",
            lambda: plain(label=[bytes([250 + i % 3]) for i in range(30)])),
    columns("pq-decimal", "labels with fractions, exact", "D207",
            lambda: plain(label=pa.array([i / 2 for i in range(30)]).cast(pa.decimal128(10, 1)))),
    columns("pq-nan", "numbers that are none", "D208", lambda: plain(a=[float("nan")] * 30)),
    columns("pq-huge-label", "labels near 2^63", "D207",
         lambda: plain(label=[2**63 - 1 - i for i in range(30)])),
    columns("pq-negative", "labels below 0", "D207", lambda: plain(label=[-i for i in range(30)])),
    columns("pq-no-numbers", "texts only", "D204",
            lambda: pa.table({"t": ["x"] * 30, "label": [0, 1, 2] * 10})),
    columns("pq-no-rows", "no rows", "D205", lambda: plain().slice(0, 0)),
    columns("pq-runs", "40 million rows in a few kilobytes", "D210", lambda: _runs,
         more=", memory: 50MB"),
    columns("pq-dotted", "a record whose parts look like columns", "D204",
            lambda: pa.table({"x": [{"label": 1, "a": 2.0}] * 30})),
    columns("pq-steer", "column names that steer a terminal", "D204",
            lambda: pa.table({"\x1b[31ma": [1.0], "\u202e": [2]}), r"\x1b"),
    columns("pq-label-latin", "labels that are not UTF-8, in a file that says they are", "D202",
            _latin, change=lambda d: d.replace(b"some t", b"some \xff"), more=", label: t"),
    Case("pq-fifo", "parquet: a pipe", "D201", job(swap(TRAIN_REF, '"parquet:p.parquet"'),
         make.pipe("p.parquet"))),
    Case("pq-folder", "parquet: a folder of parts", "D201", job(swap(TRAIN_REF,
         '"parquet:t.parquet"'),
         lambda f: (f / "t.parquet").mkdir())),
]  # fmt: skip


def lines(name: str, what: str, codes: str, text: str | bytes, *says: str, **rest: Any) -> Case:
    return table(
        f"jsonl-{name}",
        f"JSON lines: {what}",
        codes,
        text,
        *says,
        scheme="jsonl",
        file="t.jsonl",
        **rest,
    )


ROWS = "".join(f'{{"a": {i}, "b": {i / 9}, "label": "{"xyz"[i % 3]}"}}\n' for i in range(30))
JSONL = [
    lines("deep", "100,000 brackets", "D202", "[" * 100_000 + "\n"),
    lines("deep-later", "3,000 brackets in a value", "D202",
          '{"a": ' + "[" * 3000 + "]" * 3000 + ', "label": "x"}\n'),
    lines("half", "the last line is cut", "D202", ROWS + '{"a": 3, "b"'),
    lines("mixed", "a number that becomes a text", "D202", ROWS + '{"a": "x", "label": "x"}\n'),
    lines("nan", "NaN", "D208", ROWS + '{"a": NaN, "b": 1, "label": "x"}\n', "row 30"),
    lines("huge", "a number beyond all bounds", "D202", ROWS + '{"a": 1e400, "label": "x"}\n'),
    lines("keys", "100,000 keys", "D204",
          "{" + ", ".join(f'"c{i}": {i}' for i in range(100_000)) + "}\n"),
    lines("latin", "a label that is not UTF-8", "D202", ROWS.encode() + b'{"label": "\xe9"}\n'),
    lines("latin-key", "a key that is not UTF-8", "D202", ROWS.encode() + b'{"\xe9": 1}\n'),
    lines("surrogate", "half a surrogate", "D202", ROWS + '{"a": 1, "label": "\\ud800"}\n'),
    lines("array", "one array of objects", "D202", "[" + ROWS.replace("\n", ",") + "{}]"),
    lines("later-array", "an array among objects", "D202", ROWS + "[1, 2]\n"),
    lines("twice", "a key said twice", "D202", '{"a": 1, "a": 2, "label": "x"}\n' * 2),
    lines("steer", "a key that steers a terminal", "D204", '{"\\u001b[2Ja": 1}\n', r"\x1b"),
    lines("utf16", "UTF-16", "D202", ROWS.encode("utf-16")),
    Case("jsonl-zero", "JSON lines: a device without end", "D201",
         job(swap(TRAIN_REF, '"jsonl:/dev/zero"'))),
    Case("jsonl-sparse", "JSON lines: 1 TB of hole", "D210",
         job(swap(TRAIN_REF, '"jsonl:t.jsonl"'), make.text("t.jsonl", ROWS),
             lambda f: os.truncate(f / "t.jsonl", 1 << 40))),
]  # fmt: skip

CASES = [*CSV, *JSONL, *PARQUET]
