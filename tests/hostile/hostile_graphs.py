"""Hostile graphs, tables of candidates, texts for language models, lists of canaries."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bad_files as make
import numpy as np
import pyarrow as pa
from hostile_case import Case, job
from hostile_jobs import make_socket
from pyarrow import parquet


def packed(name: str, unit: bytes, count: int) -> make.Make:
    """A gzip file of `count` times the unit: one member again and again."""
    return lambda folder: (folder / name).write_bytes(gzip.compress(unit) * count) and None


GROUND = """\
want: ground
method: uniform
graphs: {{kg: {{ref: "{ref}"{more}}}}}
protocol: {{model: transe, dim: 4, negatives: 2}}
train: {{epochs: 1, threads: 1, batch_size: 16}}
out: out
"""
TRIPLES = "".join(f"e{i % 7}\tr{i % 2}\te{(i * 3 + 1) % 7}\n" for i in range(14))


def graph(name: str, what: str, codes: str, *makes: make.Make, ref: str = "tsv:g.tsv",
          more: str = "", **rest: Any) -> Case:  # fmt: skip
    return Case(
        name, f"graph: {what}", codes, job(GROUND.format(ref=ref, more=more), *makes), **rest
    )


def tsv(text: str | bytes) -> make.Make:
    return make.text("g.tsv", text)


def folder(**files: str) -> Callable[[Path], None]:
    def build(where: Path) -> None:
        (where / "g").mkdir()
        for name, text in files.items():
            (where / "g" / f"{name}.txt").write_text(text)

    return build


GRAPHS = [
    graph("kg-empty", "an empty file", "D282", tsv("")),
    graph("kg-blank", "a million blank lines", "D282", tsv("\n" * 1_000_000)),
    graph("kg-two-columns", "two columns", "D281", tsv("a\tb\n" * 50)),
    graph("kg-bad-lines", "a million lines that are no triples, after good ones", "D281",
          tsv(TRIPLES * 20 + "x\n" * 1_000_000)),
    graph("kg-no-names", "names of nothing", "D282", tsv("\t\t\n" * 9)),
    graph("kg-one-line", "one line of 100 MB", "D202", tsv("a" * 100_000_000)),
    graph("kg-gz-bomb", "a gzip file of 2 MB that unpacks to a line of 2 GB", "D202",
          packed("g.tsv", bytes(10_000_000), 200)),
    graph("kg-gz-triples", "a gzip file that unpacks to 500 million triples", "D210",
          packed("g.tsv", b"a\tb\tc\n" * 1_000_000, 60), more=", memory: 20MB"),
    graph("kg-gz-cut", "a gzip file that is cut short", "D202",
          lambda f: (f / "g.tsv").write_bytes(gzip.compress(TRIPLES.encode() * 99)[:-20])),
    graph("kg-gz-noise", "a gzip file of noise", "D202",
          tsv(b"\x1f\x8b\x08\0" + bytes(range(256)) * 20)),
    graph("kg-latin", "names that are not UTF-8", "D202", tsv(b"a\tb\t\xe9\n" * 9)),
    graph("kg-utf16", "UTF-16", "D202", tsv(TRIPLES.encode("utf-16"))),
    graph("kg-steer", "names that steer a terminal", "D282", tsv("\x1b[31m\t\u202e\t\x07\n" * 3)),
    graph("kg-nul", "names of nulls", "D282", tsv("\0\t\0\0\t\0\n" * 3)),
    graph("kg-loops", "every triple from one entity to itself", "D282", tsv("a\tr\ta\n" * 40)),
    graph("kg-fifo", "a pipe", "D201", make.pipe("g.tsv")),
    graph("kg-zero", "a link to a device without end", "D201", make.link("g.tsv", "/dev/zero")),
    graph("kg-sparse", "1 TB of hole", "D202", tsv(TRIPLES), lambda f: os.truncate(f / "g.tsv",
         1 << 40)),
    graph("kg-traversal", "a file for training outside of the folder", "D281",
          folder(test=TRIPLES), ref="kg:g",
          more=", test: test.txt, train: ../../../../../../../etc/passwd"),
    graph("kg-no-test", "a folder without a test file", "D280", folder(train=TRIPLES), ref="kg:g"),
    graph("kg-same", "the same triples to train on and to judge by", "D284",
          folder(train=TRIPLES, test=TRIPLES), ref="kg:g"),
    graph("kg-strangers", "triples to judge by of entities nobody knows", "D283",
          folder(train=TRIPLES, test="\u202ex\tr0\te1\n"), ref="kg:g"),
    graph("kg-text-zero", "texts from a device without end", "D201", tsv(TRIPLES),
         more=", text: /dev/zero"),
    graph("kg-text-lines", "texts without entities", "D286", tsv(TRIPLES),
          make.text("t.txt", "\tx\n" * 9), more=", text: t.txt"),
    graph("kg-text-bomb", "a file of texts that unpacks to 2 GB", "D202", tsv(TRIPLES),
          packed("t.txt", bytes(10_000_000), 200), more=", text: t.txt"),
    graph("kg-entities", "10^18 entities asked for", "D287", tsv(TRIPLES),
         more=f", entities: {10**18}"),
    graph("kg-sep-nul", "a null between the columns", "J102", tsv(TRIPLES), more=', sep: "\\0\\0"'),
    graph("kg-pykeen-path", "a path in the place of a name", "D216", ref="pykeen:../../etc"),
]  # fmt: skip
SEARCH = """\
want: search
method: greedy
data: {{pool: {{ref: "pool:{file}", objective: {objective}, metrics: [a]{more}}}}}
protocol: {{metrics: counts, budget: 3}}
out: out
"""
POOL = "id,a,acc\n" + "".join(f"m{i},{i},{i / 9}\n" for i in range(20))


def pool(name: str, what: str, codes: str, *makes: make.Make, file: str = "p.csv",
         objective: str = "acc", more: str = "", **rest: Any) -> Case:  # fmt: skip
    text = SEARCH.format(file=file, objective=objective, more=more)
    return Case(name, f"pool: {what}", codes, job(text, *makes), **rest)


def parquet_pool(made: Callable[[], pa.Table]) -> make.Make:
    return lambda f: parquet.write_table(made(), f / "p.parquet", compression="zstd",
                                         row_group_size=1 << 26)  # fmt: skip


def candidates(text: str | bytes) -> make.Make:
    return make.text("p.csv", text)


POOLS = [
    pool("pool-gz-bomb", "a table of 40 kB that unpacks to 400 MB", "D210",
         lambda f: (f / "p.csv.gz").write_bytes(
             gzip.compress(POOL.encode()) + gzip.compress(b"m,1,1\n" * 1_000_000) * 60),
         file="p.csv.gz", more=", memory: 50MB"),
    pool("pool-gz-header", "a table whose header unpacks to 2 GB", "D202",
         packed("p.csv.gz", bytes(10_000_000), 200), file="p.csv.gz", more=", memory: 50MB"),
    pool("pool-gz-cut", "a packed table that is cut", "D202",
         lambda f: (f / "p.csv.gz").write_bytes(gzip.compress(POOL.encode() * 99)[:-9]),
         file="p.csv.gz"),
    pool("pool-runs", "40 million candidates in a few kilobytes", "D210",
         parquet_pool(lambda: pa.table({n: np.zeros(40_000_000, np.int8) for n in ("a", "acc")})),
         file="p.parquet", more=", memory: 50MB"),
    pool("pool-parquet-cut", "a Parquet file of noise", "D202", make.text("p.parquet", b"PAR1" * 9),
         file="p.parquet"),
    pool("pool-parquet-twice", "columns of one name", "D204",
         parquet_pool(lambda: pa.Table.from_arrays([pa.array([1.0])] * 3, ["a", "acc", "acc"])),
         file="p.parquet"),
    pool("pool-list", "an objective of lists", "D213",
         parquet_pool(lambda: pa.table({"a": [1.0], "acc": [[1.0]]})), file="p.parquet"),
    pool("pool-names", "candidates of one name", "G463", candidates(POOL + "m1,1,1\n"),
         says=("`m1`",)),
    pool("pool-nan", "objectives that are no numbers", "D208", candidates(POOL + "x,1,nan\n")),
    pool("pool-inf", "objectives of infinity", "D208", candidates(POOL + "x,1,inf\n")),
    pool("pool-words", "metrics that are words", "D213", candidates(POOL + "x,high,1\n")),
    pool("pool-empty", "no candidates", "D205", candidates("id,a,acc\n")),
    pool("pool-no-header", "nothing at all", "D205", candidates("")),
    pool("pool-latin", "names that are not UTF-8, twice", "G463",
         candidates(POOL.encode() + b"\xe9,1,1\n" * 3)),
    pool("pool-fifo", "a pipe", "D201", make.pipe("p.csv")),
    pool("pool-code", "an objective by code, without leave", "J110", candidates(POOL),
         make.text("o.py", "import os\nos.mkdir('ran')\n"), objective='"py:o.py:f"'),
    pool("pool-code-missing", "an objective by code that is not there", "D219", candidates(POOL),
         make.text("o.py", "def g(x):\n    return 1\n"), objective='"py:o.py:f"',
         arguments=("check", "--deep", "job.yaml", "--allow-code")),
    Case("pool-code-raises", "pool: an objective by code that raises", "T662",
         job("want: search\nmethod: random_search\nprotocol: {budget: 3}\nout: out\nseeds: 1\n"
             'data: {pool: {ref: "pool:p.csv", objective: "py:o.py:f", metrics: [a]}}\n'
             "evaluate: {metrics: [best_found]}\n",
             candidates(POOL), make.text("o.py", "def f(x):\n    return {}[x]\n")),
         ("run", "--quiet", "job.yaml", "--allow-code"), exit=1),
    pool("pool-metric-is-answer", "the answer as a metric", "D204", candidates(POOL),
         objective="a"),
]  # fmt: skip
AUDIT = """\
want: audit
method: exposure
models: {{model: {{ref: "zoo:gpt", layers: 1, width: 8, vocabulary: ascii}}}}
data: {{members: "{text}", nonmembers: "sentences:9", canaries: "{canaries}"}}
out: out
"""


def text(name: str, what: str, codes: str, *makes: make.Make, ref: str = "text:t.txt",
         canaries: str = "canaries:digits", **rest: Any) -> Case:  # fmt: skip
    written = AUDIT.format(text=ref, canaries=canaries)
    return Case(name, f"text: {what}", codes, job(written, *makes), **rest)


def listed(content: str | bytes) -> make.Make:
    return make.text("c.csv", content)


def one_text(folder: Path) -> None:
    """Half a million rows that all name one text of a megabyte: 500 GB in a small file."""
    texts = pa.DictionaryArray.from_arrays(np.zeros(100_000, np.int32), pa.array(["x" * 1_000_000]))
    chunk = pa.table({"t": texts, "label": np.arange(100_000) % 2})
    with parquet.ParquetWriter(folder / "t.parquet", chunk.schema, compression="zstd",
                               dictionary_pagesize_limit=1 << 30) as out:  # fmt: skip
        for _ in range(5):
            out.write_table(chunk, row_group_size=100_000)


TEXTS = [
    text("text-dictionary", "a Parquet text of a megabyte, half a million times", "D210", one_text,
         ref="parquet:t.parquet?text=t&labels=false&memory=1GB"),
    text("text-nul", "nulls", "D202", make.text("t.txt", "a\0b\n" * 9)),
    text("text-latin", "not UTF-8", "D202", make.text("t.txt", b"caf\xe9\n")),
    text("text-empty", "nothing", "D205", make.text("t.txt", "")),
    text("text-blank", "a megabyte of spaces", "D205", make.text("t.txt", " \n" * 500_000)),
    text("text-fifo", "a pipe", "D201", make.pipe("t.txt")),
    text("text-gz-bomb", "a packed text of 2 GB", "D210", packed("t.txt.gz", b"a" * 10_000_000,
         200),
         ref="text:t.txt.gz?memory=100MB"),
    text("text-gz-cut", "a packed text that is cut", "D202",
         lambda f: (f / "t.txt.gz").write_bytes(gzip.compress(b"hello\n" * 999)[:-9]),
         ref="text:t.txt.gz"),
    text("text-folder-fifo", "a folder with a pipe in it", "D201", lambda f: (f / "t").mkdir(),
         make.pipe("t/a.txt"), ref="text:t"),
    text("text-folder-zero", "a folder with a link to a device without end", "D201",
         lambda f: (f / "t").mkdir(), make.link("t/a.txt", "/dev/zero"), ref="text:t"),
    text("text-folder-folder", "a folder with a folder called .txt", "D201",
         lambda f: (f / "t/a.txt").mkdir(parents=True), ref="text:t"),
    text("text-folder-loop", "a folder with a link to itself", "D201", lambda f: (f / "t").mkdir(),
         make.link("t/a.txt", "a.txt"), ref="text:t"),
    text("text-folder-none", "a folder of sockets", "D205", lambda f: (f / "t").mkdir(),
         lambda f: make_socket(f / "t/s"), ref="text:t"),
    text("text-sparse", "1 TB of hole", "D210", make.text("t.txt", "a\n"),
         lambda f: os.truncate(f / "t.txt", 1 << 40)),
    text("text-classes", "classes of texts that have none", "D211", make.text("t.txt", "a\nb\n"),
         ref="text:t.txt?classes=1"),
    text("can-empty", "a list of canaries that is empty", "D205", listed(""), ref="sentences:9",
         canaries="canaries:c.csv"),
    text("can-columns", "a list of canaries of other columns", "D270", listed("a,b\n1,2\n"),
         ref="sentences:9", canaries="canaries:c.csv"),
    text("can-ragged", "a list of canaries with too many cells", "D270",
         listed("prefix,secret\n,,,,\n"), ref="sentences:9", canaries="canaries:c.csv"),
    text("can-twice", "two canaries of one prefix", "D271", listed("prefix,secret\na,1\na,2\n"),
         ref="sentences:9", canaries="canaries:c.csv"),
    text("can-digits", "a number of repetitions of 5000 digits", "D272",
         listed(f"prefix,secret,repeat\na,1,{'9' * 5000}\n"), ref="sentences:9",
         canaries="canaries:c.csv"),
    text("can-superscript", "a number of repetitions in raised digits", "D272",
         listed("prefix,secret,repeat\na,1,\u00b2\n"), ref="sentences:9",
         canaries="canaries:c.csv"),
    text("can-field", "a secret of a megabyte", "D202",
         listed(f"prefix,secret\na,{'1' * 1_000_000}\n"),
         ref="sentences:9", canaries="canaries:c.csv"),
    text("can-fifo", "a list of canaries that is a pipe", "D201", make.pipe("c.csv"),
         ref="sentences:9",
         canaries="canaries:c.csv"),
    text("can-nul", "a list of canaries with nulls", "D272", listed("prefix,secret\na,\0\n"),
         ref="sentences:9", canaries="canaries:c.csv"),
    text("sentences-huge", "10^18 sentences", "D216", ref=f"sentences:{10**18}"),
]  # fmt: skip
LEFT = {"format": 1, "run": {"arm": "x"}}


def left(name: str, what: str, codes: str, *makes: make.Make, **rest: Any) -> Case:
    """A folder of results that somebody has been at; the report of it is asked for."""
    made = make.both(lambda f: (f / "o/runs/kd/seed-0").mkdir(parents=True), *makes)
    return Case(
        name, f"results: {what}", codes, made, ("report", "o"), exit=1, placed=False, **rest
    )


def kept(content: str | bytes) -> make.Make:
    return make.text("o/runs/kd/seed-0/record.json", content)


RESULTS = [
    left("rec-not-json", "a record that is not JSON", "R561", kept("{")),
    left("rec-binary", "a record of noise", "R561", kept(bytes(range(256)))),
    left("rec-json-deep", "a record nested 100,000 deep", "R561", kept('{"a":' * 100_000)),
    left("rec-wrong", "a record of other things", "R561", kept(json.dumps(LEFT))),
    left("rec-folder", "a folder in the place of the record", "R561",
         lambda f: (f / "o/runs/kd/seed-0/record.json").mkdir()),
    left("rec-zero", "a link to a device without end in the place of the record", "R561",
         make.link("o/runs/kd/seed-0/record.json", "/dev/zero")),
]  # fmt: skip
CASES = [*GRAPHS, *POOLS, *TEXTS, *RESULTS]
