"""Bad jobs, models and data, through the command line: refused at a place, and nothing done.

A row says what is wrong, how the good job or its files are changed, which codes must come (all of
a gate together, in this order), what stands above the caret, and words of the answer. What every
row must keep is in `refused`: exit code 2, no traceback, nothing new or changed on disk, a remedy,
no control characters, bounded time, memory and output.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import bad_files as make
import numpy as np
import pytest
import torch
from bad_files import GOOD, STUDENT, TEACHER, TEACHER_REF, TRAIN, TRAIN_REF, entry, swap, tree
from PIL import Image

from bequeath.cli import run_cli
from bequeath.fleet.folder import alone
from bequeath.job.yaml import parse
from bequeath.kernel.codes import CODES
from bequeath.train.budget import peak_memory

SOURCE = str(Path(__file__).parents[1] / "src")


@dataclass(frozen=True)
class Row:
    """caret: the text above it, None when no line of the job is at fault. job: all of it."""

    what: str
    codes: str
    caret: str | None
    says: tuple[str, ...] = ()
    job: str | bytes = GOOD
    make: Callable[[Path], object] | None = None
    command: str = "run"


def written(what: str, codes: str, caret: str | None, job: str | bytes, *says: str) -> Row:
    return Row(what, codes, caret, says, job, command="check")


def teacher(what: str, codes: str, caret: str | None, value: str, *says: str) -> Row:
    return Row(what, codes, caret, says, swap(TEACHER, value))


def train(what: str, codes: str, caret: str | None, value: str, *says: str) -> Row:
    return Row(what, codes, caret, says, swap(TRAIN, value))


def weights(what: str, codes: str, made: make.Make, *says: str) -> Row:
    return Row(what, codes, TEACHER_REF, says, make=made)


def arrays(what: str, codes: str, made: make.Make, *says: str, caret: str = TRAIN_REF) -> Row:
    return Row(what, codes, caret, says, make=made)


def key(old: str, new: str, what: str, codes: str, caret: str, *says: str) -> Row:
    return written(what, codes, caret, swap(old, new), *says)


BILLION = "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9 if i else ['x'] * 9)}]\n" for i in range(30)
)
SYNTAX = [
    written("empty file", "J104", None, "", "empty"),
    written("only a comment", "J104", None, "# nothing\n"),
    written("a list", "J102", "-", "- a\n- b\n"),
    written("a word", "J102", "hello", "hello"),
    written("null byte", "J101", r"\x00", GOOD + "x: \0"),
    written("escape sequence", "J101", r"\x1b", GOOD + "x: \x1b[31m"),
    written("UTF-16", "J100", None, GOOD.encode("utf-16"), "not UTF-8"),
    written("Latin-1", "J100", None, GOOD.encode() + b"# \xe9", "byte"),
    written("binary", "J100", None, bytes(range(256)) * 9),
    written("tab", "J101", " ", "train:\n\tepochs: 1\n", "replace the tab"),
    written("tab after U+2028", "J101", None, "# \u2028\ntrain:\n\tx: 1\n", "job.yaml:3"),
    written("key twice", "J105", "seeds", GOOD + "seeds: 2\n", "line 9"),
    written("alias bomb", "J106", "*a3", BILLION),
    written("alias of itself", "J101", "*a", "a: &a [*a]"),
    written("a tag with code", "J107", "!", "a: !!python/object/apply:os.mkdir [ran]"),
    written("deep brackets", "J106", "[", "a: " + "[" * 5000),
    written("deep blocks", "J106", "a", "".join("  " * i + "a:\n" for i in range(99))),
    written("two documents", "J101", "---", GOOD + "---\na: 1\n"),
    written("1 MB of text", "J106", None, GOOD + "# " + "x" * 1_000_000),
    written("a long key", "J101", "", GOOD + "k" * 300_000 + ": 1\n"),
    written("3000 unknown keys", " ".join(["J103"] * 100), "k0",
            GOOD + "".join(f"k{i}: 1\n" for i in range(3000)), "3000 problems"),
    written("merge key", "J103", "<<", swap("{epochs", "{<<: {lr: 1}, epochs"), "extends"),
]  # fmt: skip
WRITTEN = [
    key("seeds: 1", "sedes: 1", "key of the job", "J103", "sedes", "did you mean `seeds`?"),
    key("seeds", "se\u200beds", "zero-width key", "J103", r"se\u200beds", "mean `seeds`"),
    key("seeds: 1", "seeds: \u202e1", "right to left", "J102", r"\u202e1"),
    key("seeds: 1", "seeds: \uff11", "full-width digit", "J102", "\uff11"),
    key("epochs", "epcohs", "key of train", "J103", "epcohs", "did you mean `epochs`?"),
    key("threads: 1", "optimizer: {lrr: 1}", "key of optimizer", "J103", "lrr", "`lr`"),
    key("kd", "{name: kd, temprature: 4}", "key of a method", "J103", "temprature", "temperature"),
    key("hidden: [4]", "hiden: [4]", "key of a model", "J103", "hiden", "`hidden`"),
    key("hidden: [4]", "preprocess: {sizes: 1}", "key of preprocess", "J103", "sizes", "`size`"),
    key(TRAIN_REF, TRAIN_REF + ", tkae: 3", "key of data", "J103", "tkae", "`take`"),
    key("seeds: 1", "budget: {tme: 3s}", "key of budget", "J103", "tme", "`time`"),
    key("seeds: 1", "evaluate: {date: test}", "key of evaluate", "J103", "date", "`data`"),
    key("want: distill\n", "", "no want", "J104", "m", "distill"),
    key("distill", "distil", "want", "J102", "distil", "did you mean `distill`?"),
    key("method: kd", "method:", "no method", "J104", "method"),
    key("method: kd", "method: kdd", "unknown method", "J122", "kdd", "did you mean `kd`?"),
    key("method: kd", "method: k\u0501", "look-alike letter", "J122", "k\u0501", "dkd, gkd, kd"),
    key("method: kd", "method: [[kd]]", "list in a list", "J102", "["),
    key("method: kd", "method: [kd, kd]", "method twice", "J125", "kd", "as: kd-2"),
    key("method: kd", "method: ./evil.py:kd", "code as a method", "J110", "./evil.py:kd"),
    key("method: kd", "method: {name: kd, as: ../../x}", "label with a path", "J102", "../../x"),
    key("method: kd", "method: {name: kd, as: '<script>'}", "label", "J102", "'<script>'"),
    key("method: kd", f"method: [{'kd, ' * 51}]", "too many methods", "J102", "method"),
    key("kd", "{name: kd, temperature: hot}", "text for a number", "J102", "hot", "number > 0"),
    key("kd", "{name: kd, temperature: true}", "true for a number", "J102", "true"),
    key("kd", "{name: kd, temperature: .nan}", "NaN", "J102", ".nan"),
    key("kd", "{name: kd, ce: .inf}", "infinity", "J102", ".inf"),
    key("kd", "{name: nd, form: dn}", "not of the choices", "J102", "dn", "direction"),
    key("epochs: 1,", "epochs: 1e-4,", "a fraction of an epoch", "J102", "1e-4", "whole number"),
    key("threads: 1", "threads: yes", "yes for a number", "J102", "yes"),
    key("seeds: 1", "baselines: no", "no for false", "J102", "no", "true or false"),
    key("epochs: 1,", f"epochs: {'9' * 40},", "absurd epochs", "J102", "9" * 40),
    key("epochs: 1,", f"epochs: {'9' * 5000},", "5000 digits", "J102", None),
    key("batch_size: 16", "batch_size: 0", "no batch", "J102", "0"),
    key("threads: 1", "steps: 0", "no steps", "J102", "0"),
    key("threads: 1", "accumulate: 99999999", "absurd accumulation", "J102", "99999999"),
    key("threads: 1", "optimizer: {lr: .nan}", "lr NaN", "J102", ".nan"),
    key("threads: 1", "optimizer: {betas: [5, 7]}", "betas", "J102 J102", "5"),
    key("threads: 1", "schedule: {milestones: [.nan]}", "milestones", "J102", ".nan"),
    key("threads: 1", "schedule: {name: cosin}", "schedule", "J102", "cosin", "`cosine`"),
    key("threads: 1", "optimizer: adam", "word for a mapping", "J102", "adam"),
    key("threads: 1", "clip: .inf", "clip", "J102", ".inf"),
    key("threads: 1", "device: tpu", "device", "J102", "tpu"),
    key("hidden: [4]", "preprocess: {mean: [0], std: [0]}", "deviation 0", "J102", "0"),
    *[
        key("seeds: 1", f"seeds: {seeds}", f"seeds {seeds}", "J102", caret)
        for seeds, caret in {
            "0": "0", "-1": "-1", "1.5": "1.5", "many": "many", "true": "true", "1001": "1001",
            "[1, 1]": "seeds", "[4294967296]": "seeds", "1:30": "1:30", "[]": "seeds",
        }.items()
    ],
    *[
        key("seeds: 1", f"budget: {{{kind}: {value}}}", f"{kind} {value[:9]}", "J102", caret)
        for kind, value, caret in [
            ("time", "-3", "-3"), ("time", ".nan", ".nan"), ("time", "true", "true"),
            ("time", "3 parsecs", "3 parsecs"), ("memory", "0", "0"), ("memory", "8gigs", "8gigs"),
            ("time", "1" * 400_000, None), ("memory", "1" * 400_000, None),
        ]
    ],
    key("out: out", 'out: ""', "empty out", "J102", '""'),
    key("out: out", "out: 3", "number for a folder", "J102", "3"),
    key("out: out", "out: ${nowhere}", "unknown variable", "J126", "${nowhere}", "no `vars:`"),
    key("out: out", f"vars: {{a: {'x' * 200_000}}}\nout: {'${a}' * 90_000}", "variable bomb",
        "J106", None),
    key("out: out", f"out: '{'${' * 400_000}'", "unclosed variables", "J106", None),
    key("student: {", "'stu dent': x\n  student: {", "a role of two words", "J111", "'stu dent'"),
    key("student: {", '"\\e[31m": x\n  student: {', "a role that paints", "J111", '"\\e[31m"'),
    key("seeds: 1", "extends: bas.yaml", "extends nothing", "J100", "bas.yaml"),
    key("seeds: 1", "extends: job.yaml", "extends itself", "J108", "job.yaml", "circle"),
    key("seeds: 1", "extends: .", "extends a folder", "J100", "."),
    key("seeds: 1", "extends: /dev/zero", "extends a device", "J100", "/dev/zero"),
    key("seeds: 1", 'extends: "a\\0b"', "extends a null", "J100", '"a\\0b"'),
    key("seeds: 1", "sedes: 1\nbudget: {time: x}", "several at once", "J103 J102", "sedes"),
]  # fmt: skip
MEANT = [
    key(f"  teacher: {TEACHER}\n", "", "no teacher", "G401", "models", "add `teacher:`"),
    key("student:", "pupil:", "wrong role", "G401 G402", "models", "`models.pupil`"),
    key("student: {", "critic: zoo:mlp\n  student: {", "unused", "G402", "zoo:mlp"),
    key("test:", "tset:", "no test", "G403", "data", "did you mean `tset`?"),
    key("seeds: 1", "evaluate: {data: tets}", "unknown judge", "G403", "tets", "mean `test`"),
    key("seeds: 1", "evaluate: {metrics: [acuracy]}", "metric", "J102", "acuracy", "`accuracy`"),
    key(TRAIN_REF, '"npz:test.npz"', "judge trained on", "G406", "test"),
    key(TRAIN_REF, '"npx:train.npz"', "data scheme", "J112", '"npx:train.npz"', "npz"),
    key(TRAIN_REF, '"py:a.py:b"', "data by code", "J110", '"py:a.py:b"', "--allow-code"),
    key(TRAIN_REF, '"sklearn:digitz"', "no such set", "D216", '"sklearn:digitz"', "`digits`"),
    key(TRAIN_REF, '"csv:train.npz"', "no table", "D202", '"csv:train.npz"'),
    key(TRAIN_REF, '"parquet:train.npz"', "no parquet", "D202", '"parquet:train.npz"', "PAR1"),
    key(TRAIN_REF, f'"npz:{"a" * 5000}"', "a path too long", "D201", None),
    key(TRAIN_REF, '"npz:a\\0b"', "a null in a path", "D201", '"npz:a\\0b"'),
    key(TRAIN_REF, '"npz:~nobody-here/x"', "no such home", "D201", '"npz:~nobody-here/x"'),
    key(TRAIN_REF, '"npz:/dev/zero"', "a device as data", "D201", '"npz:/dev/zero"', "device"),
]  # fmt: skip
FULL = {name: entry(list(s), 0, 4 * int(np.prod(s))) for name, s in make.WEIGHTS.items()}
WEIGHTS = [
    weights("0 bytes", "M302", make.text("teacher.safetensors", b"")),
    weights("cut", "M302", make.cut("teacher.safetensors", -40), "`out.weight`"),
    weights("cut in the header", "M302", make.cut("teacher.safetensors", 30)),
    weights("header of 2^63", "M302", make.tensors({}, length=2**63 - 1)),
    weights("header beyond the file", "M302", make.tensors({}, length=5000), "5000"),
    weights("header not JSON", "M302", make.tensors(b"{nonsense")),
    weights("header a list", "M302", make.tensors([1])),
    weights("header deep", "M302", make.tensors(b'{"a":' + b"[" * 99_999)),
    weights("no tensors", "M302", make.tensors({"__metadata__": {"a": "b"}})),
    weights("negative offset", "M302", make.tensors({"out.bias": entry([3], -12, 0)})),
    weights("negative shape", "M302", make.tensors({"out.bias": entry([-3], 0, 12)})),
    weights("huge shape", "M302", make.tensors({"a": entry([2**62, 2**62], 0, 12)})),
    weights("backwards", "M302", make.tensors({"a": entry([3], 12, 0)})),
    weights("beyond the end", "M302", make.tensors({"a": entry([300], 0, 1200)}), "1200"),
    weights("no entry", "M302", make.tensors({"a": 3})),
    weights("overlapping", "M302", make.tensors(FULL)),
    weights("unknown type", "M302", make.tensors(
        FULL | {"out.bias": entry([3], 0, 12, "F99")})),
    weights("names with paths", "M306", make.tensors(
        {"../../etc/passwd": entry([3], 0, 12), "\x1b[31m": entry([0], 12, 12)}, bytes(12)),
        "../../etc/passwd", r"\x1b[31m", "`out.weight` [3, 8]"),
    weights("a tensor missing", "M306", make.weights(out_bias=()), "`out.bias` [3]"),
    weights("a tensor too many", "M306", make.weights(extra=(2,)), "`extra` [2]"),
    weights("another shape", "M306", make.weights(body_0_bias=(9,)), "`body.0.bias` is [9]"),
    weights("4 classes", "G404", make.weights(out_weight=(4, 8), out_bias=(4,)), "4 outputs"),
    weights("NaN", "M314", make.state(lambda s: torch.full(s, float("nan"))), "`body.0.weight`"),
    weights("pickle", "M303", make.pickled("teacher.safetensors"), "run code"),
    weights("torch file with code", "M303", make.pickled("teacher.safetensors", True)),
    weights("no state dict", "M304", make.saved({"a": 3})),
    weights("sparse tensors", "M304", make.state(lambda s: torch.zeros(s).to_sparse(), True)),
    weights("a tensor of 4 TB in 4 bytes", "M304", make.saved(
        {"a": torch.zeros(1).expand(10**6, 10**6)})),
    weights("text", "M302", make.text("teacher.safetensors", "hello, I am text")),
    weights("half a zip", "M302", make.text("teacher.safetensors", b"PK\3\4" + bytes(99))),
    weights("misspelt", "M301", make.moved("teacher.safetensors", "taecher.safetensors"),
            "did you mean `taecher.safetensors`?"),
    weights("a link to itself", "M301", make.link("teacher.safetensors", "teacher.safetensors")),
    Row("a folder", "M312", '"zoo:mlp?hidden=8"', make=make.folder("teacher.safetensors")),
    weights("a pipe", "M301", make.pipe("teacher.safetensors"), "pipe"),
]  # fmt: skip
MODELS = [
    teacher("no architecture", "M305", TEACHER_REF, TEACHER_REF, "arch: zoo:resnet56"),
    *[
        teacher(f"arch {arch}", code, f'"{arch}"', TEACHER.replace("zoo:mlp?hidden=8", arch), says)
        for arch, code, says in [
            ("zoo:mpl", "M307", "did you mean `mlp`?"), ("py:a.py:b", "J110", "--allow-code"),
            ("zoo:mlp?hiden=8", "M312", "did you mean `hidden`?"),
            ("zoo:mlp?hidden=0", "M312", "1 or more"),
        ]
    ],
    teacher("another architecture", "M306", TEACHER_REF, TEACHER.replace("mlp?hidden=8", "resnet8"),
            "`conv1.weight` [16, 3, 3, 3]", "7 of"),
    teacher("head", "M310", "otu", TEACHER[:-1] + ", head: otu}", "did you mean `out`?"),
    *[
        teacher(f"ref {ref[:20]}", code, f'"{ref}"', f'"{ref}"', says)
        for ref, code, says in [
            ("zo:mlp", "J112", "did you mean `zoo:`?"), ("teacher.pt", "J112", "scheme:name"),
            ("zoo:../mlp", "M307", "mlp"), ("zoo:<script>", "M307", "the zoo has"),
            ("file:a\\0b", "M301", "not there"), ("zoo:mlp?hidden=4&hidden=5", "J112", "twice"),
            ("hf:nobody/nothing", "M309", "BEQUEATH_DOWNLOAD"), ("zoo:resnet8", "G409", "[6]"),
        ]
    ],
    teacher("a long path", "M301", None, f'"file:{"a" * 5000}"', "too long"),
    teacher("no model", "J102", "3", "3"),
    teacher("width -3", "M312", "hidden", '{ref: "zoo:mlp", hidden: [-3]}'),
    teacher("width 2e12", "R503 R502", "out", '{ref: "zoo:mlp", hidden: [2000000, 2000000]}', "TB"),
    teacher("width 2^70", "M312", '"zoo:mlp"', f'{{ref: "zoo:mlp", hidden: [{2**70}]}}'),
    teacher("5 outputs", "G404", '"zoo:mlp"', '{ref: "zoo:mlp", classes: 5}', "3 classes"),
    teacher("no file", "M301", "techer.safetensors",
            '{ref: "zoo:mlp", weights: techer.safetensors}', "mean `teacher.safetensors`"),
]  # fmt: skip
NUMBERS = "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 6), }"
DATA = [
    arrays("0 bytes", "D202", make.text("train.npz", b"")),
    arrays("cut", "D202", make.cut("train.npz", -300)),
    arrays("pickle", "D202", make.pickled("train.npz")),
    arrays("pickled objects", "D209", make.objects),
    arrays("a directory that lies", "D202", make.shorter_zip),
    arrays("encrypted", "D202", make.encrypted, "encrypted"),
    arrays("no x", "D204", make.npz(x=None, xx=np.zeros((4, 6))), "mean `xx`", caret="train"),
    arrays("no y", "D204", make.npz(y=None), "labels: false", caret="train"),
    arrays("39 labels", "D214", make.npz(y=np.arange(39) % 3)),
    arrays("NaN", "D208", make.npz(x=make.put((3, 2), np.nan)), "row 3"),
    arrays("infinity", "D208", make.npz(x=make.put((5, 0), np.inf)), "row 5"),
    arrays("1e300", "D208", make.npz(x=make.put((7, 0), 1e300)), "row 7"),
    arrays("label NaN", "D207", make.npz(y=make.put(3, np.nan)), "row 3"),
    arrays("label 1.5", "D207", make.npz(y=make.put(3, 1.5)), "row 3", "1.5"),
    arrays("label -1", "D207", make.npz(y=make.put(3, -1)), "row 3"),
    arrays("label 1e17", "D207", make.npz(y=make.put(3, 1e17))),
    arrays("label 2^64 - 1", "D207", make.npz(y=np.full(40, 2**64 - 1, np.uint64))),
    arrays("complex labels", "D207", make.npz(y=np.zeros(40, complex))),
    arrays("labels in two columns", "D207", make.npz(y=np.zeros((40, 3)))),
    arrays("one class", "D220", make.npz(y=np.zeros(40, int)), "one class"),
    arrays("4 classes", "G404", make.npz(y=np.arange(40) % 4), caret="test"),
    arrays("names in other order", "G405", make.npz(names=np.array(["2", "1", "0"])), caret="test"),
    arrays("names twice", "D207", make.npz(names=np.array(["a", "a", "c"]))),
    arrays("no samples", "D205", make.npz(x=np.zeros((0, 6)), y=np.zeros(0))),
    arrays("no width", "D205", make.npz(x=np.zeros((40, 0)))),
    arrays("five axes", "D213", make.npz(x=np.zeros((40, 1, 1, 1, 1)))),
    arrays("images beside vectors", "G407", make.npz(x=np.zeros((40, 8, 8, 3), np.uint8)),
           caret="test"),
    arrays("other width", "M306", make.npz(x=np.zeros((40, 7))), "[8, 6]", caret=TEACHER_REF),
    arrays("dates", "D213", make.npz(x=np.zeros((40, 6), "M8[s]"))),
    arrays("records", "D209", make.npz(x=np.zeros(40, [("a", "f4")]))),
    arrays("header too long", "D202", make.zipped(x=make.npy(NUMBERS, bytes(96), claim=60_000))),
    arrays("header of code", "D202", make.zipped(x=make.npy("__import__('os').mkdir('ran')"))),
    arrays("header deep", "D202", make.zipped(x=make.npy("(" * 9000 + ")" * 9000))),
    *[
        arrays(f"shape {shape[:20]}", "D202", make.shaped(shape))
        for shape in ("(10000000000, 6)", "(-4, 6)", "(4.0, 6)", "[4, 6]", f"(4, {'9' * 5000})")
    ],
    arrays("declares objects", "D209", make.shaped("(4,)", "'|O'")),
    arrays("width of 5000 digits", "D209", make.shaped("(4, 6)", f"'<f{'9' * 5000}'")),
    arrays("no such type", "D202", make.shaped("(4, 6)", "'<f3'", bytes(72))),
    arrays("too few numbers", "D202", make.shaped("(4, 6)", data=bytes(10))),
    arrays("nothing, many times", "D214", make.shaped("(4000000000000,)", "'<U0'")),
    arrays("misspelt", "D201", make.moved("train.npz", "trian.npz"), "did you mean `trian.npz`?"),
    arrays("a folder", "D201", make.folder("train.npz"), "folder"),
    arrays("a link to itself", "D201", make.link("train.npz", "train.npz")),
    arrays("a pipe", "D201", make.pipe("train.npz"), "pipe"),
    arrays("same content", "G406", make.same("test.npz", "train.npz"), "every sample",
           caret="test"),
    train("part of the judge", "G406", "test", '{ref: "npz:test.npz", take: 40}', "every sample"),
    Row("zip bomb", "D210", TRAIN_REF, ("64.0 MB",),
        swap(TRAIN_REF, TRAIN_REF + ", memory: 1MB"), make.bomb),
    *[
        train(f"{option}", code, caret, f"{{ref: {TRAIN_REF}, {option}}}", says)
        for option, code, caret, says in [
            ("take: 0", "J102", "0", ">= 1"), (f"take: {10**20}", "D212", str(10**20), "40"),
            ("split: tran", "D215", "tran", "`train`"), ("split: val", "D205", "val", "val_size"),
            ("split: train, test_size: 0.99", "D205", "train", "empty"),
            ("split: train, test_size: .nan", "J102", ".nan", "number"),
            ("classes: [0, 7]", "D211", "classes", "`7`"),
            ("classes: 0-999999999", "D211", "0-999999999", "3 classes"),
            ("classes: [0, 0]", "D211", "classes", "twice"),
            ("classes: [2, 1, 0]", "G405", "test", "2, 1, 0"),
            ("n_classes: 2", "G404", "teacher", "data.train: 2 classes"),
            ("memory: 0", "J102", "0", "more than 0"), ('x_key: "../x"', "D204", '"../x"', "`x`"),
            ("labels: false, y_key: q", "G410", "train", "no labels"),
        ]
    ],
]  # fmt: skip
HEAD = "a,b,c,d,e,f,label\n"
LINES = "".join(f"{i},{i},{i},{i},{i},{i / 9},{i % 3}\n" for i in range(30))
TABLES = [
    Row(f"table: {what}", code, caret, says, swap(TRAIN, f'{{ref: "csv:t.csv"{more}}}'),
        make.text("t.csv", text))
    for what, code, caret, text, more, says in [
        ("empty", "D205", '"csv:t.csv"', "", "", ("no header",)),
        ("no rows", "D205", '"csv:t.csv"', HEAD, "", ("no rows",)),
        ("ragged", "D202", '"csv:t.csv"', HEAD + LINES + "1,2\n", "", ("1,2",)),
        ("a gap", "D208", '"csv:t.csv"', HEAD + LINES + "1,2,3,4,5,,0\n", "", ("row 30",)),
        ("a word", "D213", "train", HEAD + LINES + "1,2,x,4,5,6,0\n", "", ("row 30", "`x`")),
        ("1e400", "D208", '"csv:t.csv"', HEAD + LINES + "1e400,2,3,4,5,6,0\n", "", ("row 30",)),
        ("no label", "D207", '"csv:t.csv"', HEAD + LINES + "1,2,3,4,5,6,\n", "", ("row 30",)),
        ("label 1.5", "D207", '"csv:t.csv"', HEAD + LINES + "1,2,3,4,5,6,1.5\n", "", ("row 30",)),
        ("column", "D204", "train", HEAD.replace("label", "lable") + LINES, "", ("`lable`",)),
        ("option", "D204", "lable", HEAD + LINES, ", label: lable", ("`label`",)),
        ("Latin-1", "D202", '"csv:t.csv"', b"a,label\n\xe9,1\n", "", ("UTF-8",)),
        ("columns twice", "D204", '"csv:t.csv"', "a,a,label\n1,2,0\n", "", ("`a`",)),
        ("30000 columns", "D204", "train", ",".join(f"c{i}" for i in range(30_000)), "", ()),
        ("a line of 2 MB", "D202", '"csv:t.csv"', "x" * 2_000_000, "", ()),
    ]
]  # fmt: skip


def pictures(what: str, codes: str, caret: str, made: make.Make, *says: str, **swaps: str) -> Row:
    more = "".join(f", {k}: {v}" for k, v in swaps.items())
    job = swap(TRAIN, f'{{ref: "folder:photos"{more}}}').replace(
        '"npz:test.npz"', '"folder:others"'
    )
    job = job.replace(TEACHER, "zoo:mlp?hidden=4")

    def both(folder: Path) -> None:
        make.photos(folder, root="others")
        made(folder)

    return Row(f"images: {what}", codes, caret, says, job, both)


PICTURES = [
    pictures("do not decode", "D206", '"folder:photos"', make.bad_photos, "`ant/0.png`",
             "`bee/1.png`", r"`cat/\x1b[31mred\u202e.png`", "skip_bad: true", "3 of 13"),
    pictures("none decodes", "D205", '"folder:photos"', make.no_photos, "none", skip_bad="true"),
    pictures("no folder", "D201", '"folder:photos"', lambda f: None, "`photos`"),
    pictures("no classes", "D203", '"folder:photos"', make.folder("photos")),
    pictures("an empty class", "D203", '"folder:photos"', make.empty_class, "`dog`"),
    pictures("two sizes", "D221", "train", make.two_sizes, "size: 224"),
    pictures("other class names", "G405", "test", lambda f: make.photos(f, "ant", "bee", "cow")),
    pictures("fewer classes", "G404", "test", lambda f: make.photos(f, "ant", "bee")),
    pictures("same images under other names", "G406", "test",
             lambda f: make.photos(f, prefix="copy-")),
    pictures("a picture of 2 gigapixels", "D206", '"folder:photos"', make.huge_photo,
             "`ant/huge.png`", size="8"),
]  # fmt: skip
OUT = [
    Row(f"out: {what}", code, caret, says, swap("out: out", f"out: {value}"), made)
    for what, value, code, caret, says, made in [
        ("a file", "taken", "R501", "taken", (), make.text("taken", "mine")),
        ("below a file", "taken/x", "R501", "taken/x", (), make.text("taken", "mine")),
        ("a link to itself", "loop", "R501", "loop", (), make.link("loop", "loop")),
        ("a link to nothing", "loop", "R501", "loop", (), make.link("loop", "nowhere")),
        ("a null", '"a\\0b"', "R501", '"a\\0b"', (), None),
        ("a long name", "a" * 300, "R501", None, (), None),
        ("a device", "/dev/null", "R501", "/dev/null", (), None),
        ("nobody's", "theirs", "R512", "theirs", ("mine.txt",), make.strangers),
        ("nobody's, with names of ours", "theirs", "R512", "theirs", (), make.look_alikes),
        ("where the job lies", ".", "R512", ".", ("job.yaml",), None),
    ]
]  # fmt: skip
LONG = swap("epochs: 1,", "epochs: 1000000,")
BUDGETS = [
    Row("budgets of everything", "R504 R506 R505", "1B", ("`train.epochs`",),
        LONG + "budget: {time: 1s, memory: 1MB, disk: 1B}\n"),
    Row("no such device", "T606", "cuda:99", (), swap("threads: 1", "device: cuda:99")),
    Row("absurd device", "T606", None, (), swap("threads: 1", f"device: cuda:{'9' * 30}")),
    Row("fp16 on the CPU", "T607", "fp16", ("bf16",),
        swap("threads: 1", "device: cpu, precision: fp16")),
    Row("two gates' worth", "R512 T607 D208", "theirs", (),
        swap("threads: 1", "device: cpu, precision: fp16").replace("out: out", "out: theirs"),
        make.both(make.strangers, make.npz(x=make.put((3, 2), np.nan)))),
]  # fmt: skip
ROWS = [
    *SYNTAX, *WRITTEN, *MEANT, *WEIGHTS, *MODELS, *DATA, *TABLES, *PICTURES, *OUT, *BUDGETS,
]  # fmt: skip


def carets(text: str) -> list[str]:
    """What stands above each row of carets."""
    lines = text.splitlines()
    found = []
    for above, line in pairwise(lines):
        if match := re.match(r"^ *\|( *)(\^+)", line):
            start, end = match.span(2)
            shift = sum(c in "\uff11" for c in above[:end])  # wide on a terminal, one in a text
            found.append(above[start : end - shift].removesuffix("..."))
    return found


def refused(row: Row, codes: list[str], error: str) -> None:
    assert "Traceback" not in error and len(error) < 100_000
    assert all(c.isprintable() or c == "\n" for c in error), "steers the terminal"
    assert [match[1] for match in re.finditer(r"^error\[(\w+)\]: \S", error, re.M)] == codes
    assert set(codes) <= CODES.keys()
    for problem in error.split("error[")[1:]:
        advice = re.search(r"\^ \S|= help: ", problem)
        assert advice or "= " in problem, f"no remedy: {problem}"
        assert row.caret is None or " --> " in problem, f"no place: {problem}"
    if row.caret is not None:
        assert carets(error)[0] == row.caret if row.caret else carets(error)
    for words in row.says:
        assert words in error


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    make.good(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    yield tmp_path


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_refused_at_its_place_and_nothing_done(
    row: Row, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if row.make is not None:
        row.make(here)
    data = row.job if isinstance(row.job, bytes) else row.job.encode("utf-8")
    (here / "job.yaml").write_bytes(data)
    before, began = tree(here), time.process_time()
    with peak_memory() as peak:
        code = run_cli([row.command, "job.yaml"])
    seconds = time.process_time() - began
    said = capsys.readouterr()
    assert (code, said.out) == (2, ""), said.err
    assert tree(here) == before
    refused(row, row.codes.split(), said.err)
    assert seconds < 10 and peak.resident - peak.before < 400e6


@pytest.mark.parametrize(
    ("override", "code", "caret"),
    [
        ("a", "J109", "a"),
        ("=1", "J109", "="),
        ("train.epochs=[", "J101", ""),
        ("train.epcohs=1", "J103", "train.epcohs"),
        ("train.epochs=many", "J102", "many"),
        ("seeds.7=1", "J109", "seeds.7"),
        ("method.0=kd", "J103", "method.0"),
        ("seeds=1: 2", "J102", ""),
        ("train.epochs=!!python/object/apply:os.mkdir [ran]", "J107", "!"),
        ("train.epochs=\x1b[31m", "J101", ""),
        ("a." * 3000 + "a=1", "J109", None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_overrides(
    override: str, code: str, caret: str | None, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "job.yaml").write_text(GOOD)
    before = tree(here)
    assert run_cli(["check", "job.yaml", "--set", override]) == 2
    assert tree(here) == before
    error = capsys.readouterr().err
    refused(Row("", code, caret), re.findall(r"^error\[(\w+)\]", error, re.M), error)
    assert f"error[{code}]" in error


@pytest.mark.parametrize(
    "name", ["nowhere/job.yaml", ".", "/dev/zero", "/dev/null", "a\0b", "a" * 5000]
)
def test_job_files_that_are_none(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(here)
    with peak_memory() as peak:
        assert run_cli(["check", name]) == 2
    refused(Row("", "", None), *problems(capsys))
    assert tree(here) == before and peak.resident - peak.before < 100e6


def problems(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], str]:
    error = capsys.readouterr().err
    return re.findall(r"^error\[(\w+)\]", error, re.M), error


@pytest.mark.parametrize("name", ["\x1b[31mjob.yaml", "job\u202e.yaml", "job[red].yaml"])
def test_a_hostile_file_name_does_not_reach_the_terminal(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / name).write_text(GOOD)
    assert run_cli(["check", name]) == 0
    (here / name).write_text("x: 1\n")
    assert run_cli(["check", name]) == 2
    said = capsys.readouterr()
    assert all(c.isprintable() or c == "\n" for c in said.out + said.err)


SAVED: dict[str, object] = {
    "format": 1, "scheme": "zoo", "name": "mlp", "kind": "vector", "n_classes": 3,
    "kwargs": {"in_features": 6, "hidden": [8], "dropout": 0.0}, "classes": [], "head": "out",
    "input": [6], "preprocess": {"kind": "vector", "mean": None, "std": None, "standard": False},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scheme": "file"}, "scheme"),
        ({"scheme": "timm", "name": "hf-hub:evil/model", "kwargs": {}}, "hf-hub:evil/model"),
        ({"scheme": "timm", "name": "resnet10t", "kwargs": {"checkpoint_path": "evil.pt"}},
         "checkpoint_path"),
        ({"scheme": "py", "kwargs": {"callable": "f"}}, "not run"),
        ({"name": "../mlp"}, "../mlp"),
        ({"name": 3}, "name"),
        ({"kwargs": {"in_features": 6, "hidden": "x"}}, ""),
        ({"kwargs": {"in_features": 10**30, "hidden": [8]}}, ""),
        ({"head": [1]}, "head"),
        ({"n_classes": "three"}, "n_classes"),
        ({"input": {"a": 1}}, "input"),
        ({"preprocess": {"kind": "nothing"}}, "nothing"),
        ({"preprocess": {"kind": "vector", "mean": ["a"], "std": [1]}}, "mean"),
        ({"preprocess": {"kind": "vector", "mean": [0], "std": [0]}}, "std"),
        ({"preprocess": {"kind": "image", "size": [10**9, 10**9]}}, "size"),
        ({"preprocess": {"kind": "vector", "evil": 1}}, "evil"),
    ],
    ids=str,
)  # fmt: skip
def test_a_saved_model_that_lies(
    change: dict[str, object], words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if change.get("scheme") == "timm":
        pytest.importorskip("timm")
    (here / "m").mkdir()
    (here / "teacher.safetensors").rename(here / "m/model.safetensors")
    (here / "m/bequeath.json").write_text(json.dumps(SAVED | change))
    _refused_teacher("file:m", here, capsys, words)


def _refused_teacher(
    ref: str, here: Path, capsys: pytest.CaptureFixture[str], words: str = ""
) -> None:
    (here / "job.yaml").write_text(swap(TEACHER, f'"{ref}"'))
    before = tree(here)
    assert run_cli(["run", "job.yaml"]) == 2
    refused(Row("", "", f'"{ref}"', (words,)), *problems(capsys))
    assert tree(here) == before


VIT = {
    "architectures": ["ViTForImageClassification"], "model_type": "vit", "image_size": 8,
    "patch_size": 4, "num_channels": 3, "hidden_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 1, "intermediate_size": 8, "id2label": {"0": "a", "1": "b", "2": "c"},
    "label2id": {"a": 0, "b": 1, "c": 2},
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "index", "words"),
    [
        ("{", None, "JSON"),
        ("[]", None, "JSON"),
        (VIT | {"architectures": 3}, {}, ""),
        (VIT | {"id2label": 3}, {}, ""),
        (VIT, {"weight_map": {"a": "../../../../../etc/passwd"}}, "not beside it"),
        (VIT, {"weight_map": {"a": ["x"]}}, ""),
        (VIT, {"weight_map": {"a": "gone.safetensors"}}, "gone.safetensors"),
        (VIT, None, "no weights"),
        (VIT | {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}}, b"", ""),
        (VIT, b"", ""),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_a_transformers_folder_that_lies(
    config: object, index: object, words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last two hold code: a Python file beside the config, a pickle in place of weights."""
    pytest.importorskip("transformers")
    (here / "m").mkdir()
    text = config if isinstance(config, str) else json.dumps(config)
    (here / "m/config.json").write_text(text)
    if index == b"":
        (here / "m/evil.py").write_text("import os\nos.mkdir('ran')\n")
        make.pickled("m/pytorch_model.bin", torch_zip=True)(here)
    elif index is not None:
        (here / "m/model.safetensors.index.json").write_text(json.dumps(index))
    _refused_teacher("hf:m", here, capsys, words)


def process(*arguments: str, cwd: Path, **more: object) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": SOURCE, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "bequeath", *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120,
                          **more)  # fmt: skip # type: ignore[call-overload]


def test_the_exit_code_of_the_process(here: Path) -> None:
    (here / "job.yaml").write_text(swap("seeds: 1", "sedes: 1"))
    done = process("run", "job.yaml", cwd=here)
    assert (done.returncode, done.stdout) == (2, "") and "did you mean `seeds`?" in done.stderr
    assert not (here / "out").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="rights as POSIX has them")
def test_without_the_rights(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights, data and a folder one may not use are all named, and nothing is written."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not all(one.stat().st_mode & 0o001 for one in folder.parents):
            pytest.skip("the folder for temporary files is closed to others")
        folder.chmod(0o755)
        monkeypatch.chdir(folder)
        make.good(folder)
        (folder / "job.yaml").write_text(GOOD)
        assert run_cli(["check", "job.yaml"]) == 0  # and what is imported late has been imported
        job = swap(TRAIN_REF, '"npz:closed/train.npz"').replace("out: out", "out: closed/out")
        (folder / "job.yaml").write_text(job)
        (folder / "closed").mkdir()
        (folder / "train.npz").rename(folder / "closed/train.npz")
        (folder / "teacher.safetensors").chmod(0)
        (folder / "closed").chmod(0)
        capsys.readouterr()
        try:
            if os.geteuid() == 0:  # root may do everything: another user, in a child process
                code, error = _as_nobody(["check", "job.yaml"])
            else:
                code, error = run_cli(["check", "job.yaml"]), capsys.readouterr().err
        finally:
            (folder / "closed").chmod(0o755)
        assert sorted(one.name for one in (folder / "closed").iterdir()) == ["train.npz"]
    assert code == 2
    refused(Row("", "", TEACHER_REF), ["M301", "D201", "R501"], error)


def _as_nobody(arguments: list[str]) -> tuple[int, str]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os.dup2(writer, 2)
        sys.stderr = os.fdopen(2, "w")
        code = 99
        try:
            code = run_cli(arguments)
            sys.stderr.flush()
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as file:
        error = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), error


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("no epochs", {"epochs: 1,": "epochs: 0,"}),
        ("a batch of all and more", {"batch_size: 16": f"batch_size: {10**30}"}),
        ("the last seed there is", {"seeds: 1": "seeds: [4294967295]"}),
        ("a last batch of one", {"batch_size: 16": "batch_size: 39", "method: kd": "method: nd"}),
    ],
)
def test_odd_but_right(what: str, changes: dict[str, str], here: Path) -> None:
    job = GOOD
    for old, new in changes.items():
        assert old in job
        job = job.replace(old, new)
    (here / "job.yaml").write_text(job)
    assert run_cli(["run", "--quiet", "job.yaml"]) == 0
    assert (here / "out/report.html").is_file()


def test_classes_of_one_sample(here: Path) -> None:
    make.npz(x=make.table(3)[0], y=np.arange(3))(here)
    (here / "job.yaml").write_text(GOOD)
    assert run_cli(["run", "--quiet", "job.yaml"]) == 0


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "|`*[x](javascript:alert(1))*`|",
    "\x1b[31mred\u202e\x07",
    "{{ 7 * 7 }}${out}",
    "[/red]",
)
SECRETS = ("hf_" + "Q7" * 17, "wJalr" + "X9" * 16)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A run whose class, file and folder names are hostile, with secrets in the environment."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = "".join(
        f'{i},{i % 5},{i % 6},"{HOSTILE[i % 6].replace(chr(34), chr(34) * 2)}"\n' for i in range(60)
    )
    data = "<b onclick='x'>[b]`.csv"
    (folder / data).write_text("a,b,c,label\n" + rows)
    ref = json.dumps(f"csv:{data}")
    (folder / "job.yaml").write_text(
        "want: distill\nmethod: kd\n"
        "models: {teacher: zoo:mlp?hidden=4, student: zoo:mlp?hidden=4}\n"
        f"data:\n  train: {{ref: {ref}, split: train}}\n  test: {{ref: {ref}, split: test}}\n"
        'seeds: 2\ntrain: {epochs: 1, threads: 1}\nout: "o[/ut]"\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in zip(("HF_TOKEN", "AWS_SECRET_ACCESS_KEY"), SECRETS, strict=True):
            patch.setenv(name, value)
        patch.setenv("BEQUEATH_CACHE", str(folder / "cache"))
        done = process("run", "job.yaml", cwd=folder)
        assert done.returncode == 0, done.stderr
        yield folder, done.stdout + done.stderr


def test_no_secret_is_in_any_file_of_a_run(finished: tuple[Path, str]) -> None:
    files = [path for path in finished[0].rglob("*") if path.is_file()]
    assert len(files) > 15
    for path in files:
        data = path.read_bytes()
        assert not [one for one in SECRETS if one.encode() in data], path


def test_hostile_names_do_not_steer_the_terminal(finished: tuple[Path, str]) -> None:
    assert all(c.isprintable() or c in "\n" for c in finished[1])


class Tags(HTMLParser):
    """Tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_report_runs_nothing_of_a_name(finished: tuple[Path, str]) -> None:
    text = (finished[0] / "o[/ut]/report.html").read_text(encoding="utf-8")
    tags = Tags(text).tags
    scripts = [attributes.get("type") for tag, attributes in tags if tag == "script"]
    assert scripts == ["application/json", None]  # a summary for programs, and sorting of tables
    for tag, attributes in tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("href", "src", "xlink:href"):
            assert not str(attributes.get(name) or "").lower().startswith(("javascript", "http"))
    assert "&lt;script&gt;alert(1)" in text and "\x1b" not in text and "\u202e" not in text
    assert "{{ 7 * 7 }}${out}" in text
    policy = [a["content"] for _, a in tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert "script-src 'sha256-" in str(policy)


def test_the_model_card_shows_names_as_text(finished: tuple[Path, str]) -> None:
    text = (finished[0] / "o[/ut]/MODEL_CARD.md").read_text(encoding="utf-8")
    _, front, text = text.split("---\n", 2)
    assert parse(front, "front").plain["license"]
    assert not re.search(r"(?<!\\)<(script|img|b )", re.sub(r"`[^`\n]*`", "", text))
    assert "](javascript" not in text.replace("\\]", "").replace("\\[", "")
    assert "\x1b" not in text and "\u202e" not in text


def test_the_folder_of_another_job(
    finished: tuple[Path, str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What another job made is left as it is, and the caret stands under `out`."""
    theirs = finished[0] / "o[/ut]"
    (here / "job.yaml").write_text(swap("out: out", f"out: {json.dumps(str(theirs))}"))
    before = tree(theirs)
    assert run_cli(["run", "job.yaml"]) == 2
    codes, error = problems(capsys)
    refused(Row("", "", None, ("--fresh",)), codes, error)
    assert codes == ["R511"] and carets(error) and tree(theirs) == before


def test_a_run_that_fails_says_where_and_ends_with_1(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A loss that overflows: exit code 1, the samples named, no half run."""
    huge = make.table()[0] * np.float32(1e30)
    make.npz(x=huge)(here)
    job = swap(STUDENT, '{ref: "zoo:mlp", hidden: [4], preprocess: {scale: none}}')
    (here / "job.yaml").write_text(job.replace("method: kd", "method: ce").replace(
        f"  teacher: {TEACHER}\n", ""))  # fmt: skip
    assert run_cli(["run", "--quiet", "job.yaml"]) == 1
    codes, error = problems(capsys)
    assert codes == ["T601"] or codes == ["T602"]
    refused(Row("", "", None), codes, error)
    assert not (here / "out/runs").exists()
    with alone(here / "out"):  # nobody holds it
        pass


def test_batches_too_small_for_batch_normalisation(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = swap("method: kd", "method: nd").replace("batch_size: 16", "batch_size: 1")
    (here / "job.yaml").write_text(job)
    assert run_cli(["run", "--quiet", "job.yaml"]) == 1
    codes, error = problems(capsys)
    refused(Row("", "", None, ("2 or more",)), codes, error)
    assert codes == ["T610"]


def test_bad_images_are_left_out_where_the_job_says_so(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = pictures("", "", "", make.bad_photos, skip_bad="true")
    assert row.make is not None and isinstance(row.job, str)
    row.make(here)
    for name in ("ant", "bee", "cat"):  # other noise than the pictures that are trained on
        Image.new("RGB", (8, 8), name and len(name) * 9).save(here / f"others/{name}/9.png")
    (here / "job.yaml").write_text(row.job)
    assert run_cli(["check", "--deep", "job.yaml"]) == 0
