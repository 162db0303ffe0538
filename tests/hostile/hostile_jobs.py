"""Hostile job files, merge recipes, settings of the command line and output folders."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import bad_files as make
from bad_files import GOOD, TEACHER, TRAIN_REF, swap
from hostile_case import CHECK, RUN, Case, job

Check = ("check", "job.yaml")


def written(
    name: str, what: str, codes: str, text: str | bytes, *says: str, **more: object
) -> Case:
    """A job that is wrong as it is written: found without opening anything."""
    return Case(name, what, codes, job(text), Check, says=says, **more)  # type: ignore[arg-type]


def key(name: str, what: str, codes: str, old: str, new: str, *says: str) -> Case:
    return written(name, what, codes, swap(old, new), *says)


def asked(name: str, what: str, codes: str, *arguments: str, **more: object) -> Case:
    """The good job, with something wrong on the command line."""
    return Case(name, what, codes, job(GOOD), arguments, **more)  # type: ignore[arg-type]


def _chain(length: int, last: str) -> Callable[[Path], None]:
    """job.yaml extends e0.yaml, that e1.yaml, and so on."""

    def build(folder: Path) -> None:
        (folder / "job.yaml").write_text("extends: e0.yaml\n")
        for i in range(length):
            following = f"e{i + 1}.yaml" if i < length - 1 else last
            (folder / f"e{i}.yaml").write_text(f"extends: {following}\n")

    return build


def _laughs(width: int, depth: int, use: str) -> str:
    rows = [f"a0: &a0 [{', '.join(['x'] * width)}]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, depth)]
    return "\n".join([*rows, f"method: {use}"]) + "\n"


SYNTAX = [
    written("laughs-wide", "aliases that explode by width: 100 of 100 of 100", "J106",
            _laughs(100, 4, "*a3")),
    written("laughs-maps", "mappings that explode through aliases as values", "J106",
            "".join(f"m{i}: &m{i} {{{', '.join(f'k{j}: *m{i - 1}' for j in range(9))}}}\n"
                    if i else "m0: &m0 {a: 1}\n" for i in range(9))),
    written("alias-key", "an alias in the place of a key", "J101", "a: &a [1]\n*a : 2\n"),
    written("anchor-twice", "two anchors on one value", "J101", "a: &x &y 1\n"),
    written("anchor-recursive-map", "a mapping that holds itself", "J101", "a: &a {b: *a}\n"),
    written("merge-key-bomb", "merge keys of merge keys", "J103 J104",
            "x: &x {a: 1}\ny: &y {<<: *x, b: *x}\nz: {<<: [*x, *y]}\n"),
    written("tag-object-new", "a tag that makes a Python object", "J107",
            "a: !!python/object/new:os.system ['mkdir ran']\n"),
    written("tag-name", "a tag that names a Python function", "J107",
         "a: !!python/name:os.mkdir\n"),
    written("tag-binary", "a tag of YAML's own, binary", "J107", "a: !!binary aGVsbG8=\n"),
    written("tag-local", "a local tag", "J107", "a: !include /etc/passwd\n"),
    written("tag-verbatim", "a verbatim tag", "J107", "a: !<tag:yaml.org,2002:str> b\n"),
    written("tag-on-key", "a tag on a key", "J107", "!!str want: distill\n"),
    written("tag-directive", "a directive that renames tags", "J107",
            "%TAG !p! tag:yaml.org,2002:python/\n---\na: !p!object/apply:os.mkdir [ran]\n"),
    written("version-directive", "YAML of a version that is not there", "J101",
         "%YAML 9.9\n---\na: 1\n"),
    written("utf16-bom", "UTF-16 with a byte order mark, big-endian", "J100",
            b"\xfe\xff" + GOOD.encode("utf-16-be"), placed=False),
    written("utf32", "UTF-32 with its mark", "J100", GOOD.encode("utf-32"), placed=False),
    written("overlong-utf8", "an overlong encoding of `/`", "J100", b"want: \xc0\xaf\n",
         placed=False),
    written("lone-surrogate", "half a character, encoded as if it were one", "J100",
            b"want: \xed\xa0\x80\n", placed=False),
    written("surrogate-escape", "half a character, by an escape", "J102", swap("kd", '"\\ud800"')
            .replace("want: distill", 'want: "\\udfff"')),
    written("two-boms", "a byte order mark inside a key", "J103", GOOD + "se\ufeffeds: 1\n"),
    written("nul-in-key", "a null in a key, by an escape", "J103", GOOD + '"a\\0b": 1\n',
         r"a\x00b"),
    written("bell", "control characters in a value, by escapes", "J102",
            swap("distill", '"\\a\\b\\e[2J"')),
    written("next-line", "a line break of YAML 1.1 in a key", "J103", GOOD + '"a\\Nb": 1\n'),
    written("rtl-override-key", "a right-to-left override in a key", "J103",
         GOOD + '"\u202esdees": 1\n',
            r"\u202e"),
    written("homoglyph-want", "a Cyrillic letter in `want`", "J102", swap("distill",
         "dist\u0456ll")),
    written("zero-width-role", "zero-width characters in a role", "J111",
            swap("student:", '"stu\u200bdent":')),
    written("combining", "a role of a thousand combining marks", "J111",
            swap("student:", f'"a{chr(0x300) * 1000}":')),
    written("ten-megabytes", "a job of 10 MB", "J106", GOOD + "# " + "x" * 10_000_000,
         placed=False),
    written("million-lines", "almost 1 MB of empty lines, then a mistake", "J103",
            GOOD + "\n" * 900_000 + "sedes: 1\n"),
    written("long-scalar", "a value of 900 kB", "J102", swap("distill", "d" * 900_000)),
    written("long-flow-line", "one line of 100,000 brackets and commas", "J106",
            "a: [" + "[]," * 100_000 + "]\n"),
    written("dashes", "ten thousand dashes on a line", "J106", "- " * 10_000 + "x\n"),
    written("question-marks", "ten thousand complex keys", "J106 ", "? " * 10_000 + "x\n"),
    written("folded", "a folded text of 200,000 lines", "J103",
         GOOD + "x: >\n" + "  a\n" * 200_000),
    written("quotes-unclosed", "a quote that is never closed, 500 kB behind it", "J101",
            GOOD + 'x: "' + "a b " * 125_000),
    written("escapes", "300,000 escapes in one text", "J102",
            swap("distill", '"' + "\\x41" * 100_000 + '"')),
    written("anchors-many", "100,000 anchors", "J106", "a:\n" + "".join(
            f"- &n{i} 1\n" for i in range(60_000))),
    written("keys-twice-many", "the same key 5000 times", "J103 J104 J105", "a: 1\n" * 5000),
    written("hex-digits", "a whole number of 300,000 hexadecimal digits", "J102",
            swap("epochs: 1,", f"epochs: 0x{'f' * 300_000},")),
    written("octal-digits", "an octal number of 9000 digits for seeds", "J102",
            swap("seeds: 1", f"seeds: 0o{'7' * 9000}")),
    written("hex-variable", "a variable that is a number of 9000 hexadecimal digits", "J102",
            swap("out: out", f"vars: {{n: 0x{'f' * 9000}}}\nout: out").replace(
                "seeds: 1", 'seeds: "${n}"')),
    written("float-digits", "a float of 100,000 digits", "J102",
            swap("epochs: 1,", f"epochs: 1.{'1' * 100_000}e-5,")),
    written("big-float", "a learning rate of 1e999", "J102",
            swap("threads: 1", "optimizer: {lr: 1e999}")),
    written("depth-31", "31 levels of mappings in a role", "J104",
            swap("teacher: {ref", "other: " + "{a: " * 29 + "1" + "}" * 29 + "\n  teacher: {ref")),
    written("null-sections", "every section is empty", "J104", "want:\nmethod:\nmodels:\ndata:\n"),
    written("sections-swapped", "lists where mappings belong and the other way round",
            "J102",
            "want: [distill]\nmethod: {}\nmodels: [a]\ndata: 3\nseeds: {a: 1}\ntrain: []\n"),
]  # fmt: skip
EXTENDS = [
    Case("extends-17", "seventeen files, each extends the next", "J108", _chain(17, "e0.yaml"),
         Check),
    Case("extends-circle", "three files that extend each other in a circle", "J108",
         _chain(3, "job.yaml"), Check),
    Case("extends-up", "extends the machine's users by `..`", "J104",
         job("extends: ../../../../../../../../etc/passwd\n"), Check),
    Case("extends-absolute", "extends a device by its full path", "J100",
         job("extends: /dev/random\n"), Check),
    Case("extends-fifo", "extends a pipe that nobody writes into", "J100",
         job("extends: p.yaml\n", make.pipe("p.yaml")), Check),
    Case("extends-list", "extends a list", "J108", job("extends: [a.yaml]\n"), Check),
    Case("extends-loop-link", "extends a link to itself", "J100",
         job("extends: l.yaml\n", make.link("l.yaml", "l.yaml")), Check),
    Case("extends-binary", "extends the weights", "J100", job("extends: teacher.safetensors\n"),
         Check),
    Case("extends-bad-base", "extends a file with a key twice", "J105",
         job("extends: b.yaml\n", make.text("b.yaml", "a: 1\na: 2\n")), Check),
    Case("job-folder", "the job is a folder", "J100", make.folder("job.yaml"), Check, placed=False),
    Case("job-dangling", "the job is a link to nothing", "J100", make.link("job.yaml", "gone"),
         Check,
         placed=False),
    Case("job-socket", "the job is a socket", "J100", lambda f: make_socket(f / "job.yaml"), Check,
         placed=False),
]  # fmt: skip
VARS = [
    key("vars-self", "a variable that names itself", "J103", "seeds: 1",
        'vars: {a: "${a}"}\nsedes: "${a}"'),
    key("vars-chain", "variables that double each other", "J126", "out: out",
        "vars: {a: xx, b: '${a}${a}'}\nout: '${b}${c}'"),
    key("vars-code", "an expression in a variable", "J126", "out: out",
        "out: \"${__import__('os').mkdir('ran')}\""),
    key("vars-format", "a format that reads attributes", "J126", "out: out",
         'out: "${a.__class__}"'),
    key("vars-list", "variables that are a list", "J102", "out: out", "vars: [a]\nout: out"),
    key("vars-nested", "variables in a mapping below", "J102 J126", "out: out",
        'vars: {a: {b: c}}\nout: "${a}"'),
]  # fmt: skip
SETS = [
    asked("set-index-digits", "an index of 5000 digits", "J109", *Check, "--set",
         f"seeds.{'9' * 5000}=1",
          "--set", "seeds=[1, 2]"),
    asked("set-list-digits", "an index of 5000 digits into a list", "J109", *Check, "--set",
          "seeds=[1, 2]", "--set", f"seeds.{'9' * 5000}=1"),
    asked("set-arabic-index", "an index in other digits", "J109", *Check, "--set", "seeds=[1, 2]",
          "--set", "seeds.\u0669=1"),
    asked("set-alias", "an alias in a value", "J101", *Check, "--set", "seeds=*a"),
    asked("set-laughs", "aliases that explode in a value", "J106", *Check, "--set", "method="
          + "[" * 40 + "]" * 40),
    asked("set-nul", "a null in a value", "J101", *Check, "--set", "out=a\0b"),
    asked("set-surrogate", "half a character in a value, as the shell hands on what is no UTF-8",
          "J101", *Check, "--set", "out.\udcff=a\udcff"),
    asked("set-extends", "extends on the command line", "J103", *Check, "--set",
         "extends=/etc/passwd",
          "--set", "sedes=1"),
    asked("set-nothing", "an empty setting", "J109", *Check, "--set", ""),
    asked("set-many", "3000 settings that set nothing", "J109", *Check,
          *[part for i in range(3000) for part in ("--set", f"x{i}")]),
    asked("option-unknown", "an option there is not", "usage", *Check, "--allow-everything"),
    asked("option-jobs", "a number of jobs that is none", "usage", "run", "job.yaml", "--jobs",
         "1e9"),
    asked("option-seeds", "a billion seeds by option", "J102", "run", "job.yaml", "--seeds",
          "1000000000"),
    asked("command-unknown", "a command there is not", "usage", "../../bin/sh", "job.yaml"),
    asked("no-such-job", "a job whose name is not UTF-8", "J100", "check", "j\udcffob.yaml",
          placed=False),
    asked("claim-traversal", "a claim named by a path", "J153", "reproduce", "../../etc/passwd",
          placed=False),
    asked("report-nothing", "a report of a folder without runs", "R564", "report", ".", exit=1,
          placed=False),
    asked("report-device", "a report of a device", "R564", "report", "/dev/zero", exit=1,
         placed=False),
]  # fmt: skip


def make_socket(path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path may have 100 characters only
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


def closed(name: str, mode: int) -> make.Make:
    return lambda folder: (folder / name).chmod(mode)


def readable(folder: Path) -> None:
    """Somebody else may look at everything here, and write where it is not said otherwise."""
    for one in [folder, *folder.rglob("*")]:
        one.chmod(0o777 if one.is_dir() else 0o666)
    for above in list(folder.parents)[:4]:
        if above.stat().st_uid == os.geteuid() and len(above.parts) > 2:
            above.chmod(above.stat().st_mode | 0o011)


def _nobody(name: str, what: str, codes: str, text: str, *makes: make.Make,
            arguments: tuple[str, ...] = CHECK, **more: object) -> Case:  # fmt: skip
    made = job(text, readable, *makes)
    return Case(name, what, codes, made, arguments, nobody=True, **more)  # type: ignore[arg-type]


OUT = [
    Case(f"out-{name}", what, code, job(swap("out: out", f"out: {value}"), *makes), RUN)
    for name, what, value, code, makes in [
        ("root", "the results into the root", "/", "R512", ()),
        ("up", "the results into the folder above, which is not empty", '".."', "R512",
         [make.text("../x.txt", "theirs")]),
        ("below-device", "the results below a device", "/dev/null/x", "R501", ()),
        ("proc", "the results into the system's own files", "/proc/self/task", "R512", ()),
        ("two-links", "the results through two links that name each other", "one/x", "R501",
         [make.link("one", "two"), make.link("two", "one")]),
        ("link-to-strangers", "the results through a link into a folder of somebody's", "link",
        "R512",
         [make.strangers, make.link("link", "theirs")]),
        ("socket", "the results into a socket", "s", "R501",
         [lambda f: make_socket(f / "s")]),
        ("deep", "the results 2000 folders down", "/".join(["a"] * 2500), "R501", ()),
    ]
]  # fmt: skip
RIGHTS = [
    _nobody("rights-out", "the results into a folder one may not write", "R501",
            swap("out: out", "out: shut/out"), lambda f: (f / "shut").mkdir(),
            closed("shut", 0o555), arguments=RUN),
    _nobody("rights-job", "a job one may not read", "usage", GOOD, closed("job.yaml", 0),
            placed=False),
    _nobody("rights-npz", "data one may not read", "D202", GOOD, closed("train.npz", 0)),
    _nobody("rights-weights", "weights one may not read", "M301", GOOD,
            closed("teacher.safetensors", 0)),
    _nobody("rights-extends", "extends a job one may not read", "J100", "extends: b.yaml\n",
            make.text("b.yaml", GOOD), closed("b.yaml", 0)),
    _nobody("rights-folder", "a folder of images one may not enter", "D201",
            swap(TRAIN_REF, '"folder:photos"'), lambda f: make.photos(f), closed("photos", 0)),
    _nobody("rights-class", "a class folder one may not enter", "D201",
            swap(TRAIN_REF, '"folder:photos"'), lambda f: make.photos(f), closed("photos/bee", 0)),
    _nobody("rights-image", "an image one may not read", "D206",
            swap(TRAIN_REF, '"folder:photos"').replace('"npz:test.npz"', '"folder:others"')
            .replace(TEACHER, "zoo:mlp?hidden=4"), lambda f: make.photos(f),
            lambda f: make.photos(f, root="others"), readable, closed("photos/bee/1.png", 0)),
    _nobody("rights-csv", "a table one may not read", "D201", swap(TRAIN_REF, '"csv:t.csv"'),
            make.text("t.csv", "a,label\n1,0\n"), closed("t.csv", 0)),
    _nobody("rights-parquet", "a Parquet file one may not read", "D201",
            swap(TRAIN_REF, '"parquet:t.parquet"'),
            make.text("t.parquet", "PAR1"), closed("t.parquet", 0)),
]  # fmt: skip
SAID = "models: [{model: one.safetensors, parameters: {weight: 1}}, {model: two.safetensors}]\n"
RECIPES = [
    Case(f"recipe-{name}", f"mergekit: {what}", codes, job(text), Check)
    for name, what, codes, text in [
        ("list-method", "a list as the method", "W821", "merge_method: [ties]\n" + SAID),
        ("empty-method", "a method of no name", "W821", "merge_method: ''\n" + SAID),
        ("dtype-list", "a list as the type", "W823",
        "merge_method: linear\ndtype: [float32]\n" + SAID),
        ("dtype-map", "a mapping as the type", "W823",
        "merge_method: linear\ndtype: {a: b}\n" + SAID),
        ("models-number", "a number of models", "W830", "merge_method: linear\nmodels: 3\n"),
        ("models-null", "no models", "W830", "merge_method: linear\nmodels:\n"),
        ("model-map", "a model that is a mapping", "W830",
         "merge_method: linear\nmodels: [{model: {path: x}}]\n"),
        ("base-list", "a list as the base", "W830", "merge_method: ties\nbase_model: [a]\n" + SAID),
        ("slices-number", "slices whose sources are a number", "W830",
         "merge_method: linear\nslices: [{sources: 5}]\n"),
        ("slices-text", "slices whose sources are a text", "W830",
         "merge_method: linear\nslices: [{sources: abc}]\n"),
        ("layer-range", "a layer range of absurd numbers", "W830",
         "merge_method: linear\nslices: [{sources: [{model: a, layer_range: [0, x]}]}]\n"),
        ("weight-nan", "a weight that is no number", "W823",
         "merge_method: linear\n" + SAID.replace("weight: 1", "weight: .nan")
         + "parameters: {weight: 1}\n"),
        ("weight-huge", "a weight of 5000 digits", "W823",
         "merge_method: linear\n" + SAID.replace("weight: 1", f"weight: 0x{'f' * 5000}")
         + "parameters: {weight: 1}\n"),
        ("weight-deep", "weights nested twenty deep", "W823",
         "merge_method: linear\n" + SAID.replace("weight: 1", f"weight: {'[' * 20}1{']' * 20}")
         + "parameters: {weight: 1}\n"),
        ("parameters-list", "parameters that are a list", "W830",
         "merge_method: linear\nparameters: [1]\n" + SAID),
        ("tokenizer-path", "a tokenizer from outside", "W831",
         "merge_method: linear\ntokenizer_source: ../../etc\n" + SAID
         + "parameters: {weight: 1}\n"),
        ("plus", "an adapter from the network", "W831",
         "merge_method: linear\nmodels: [{model: 'https://x/y+z', parameters: {weight: 1}}]\n"),
        ("missing-models", "models that are not there", "M301",
         "merge_method: linear\nmodels: [{model: ../../nowhere, parameters: {weight: 1}}, "
         "{model: /dev/null, parameters: {weight: 1}}]\n"),
    ]
]  # fmt: skip
CASES = [*SYNTAX, *EXTENDS, *VARS, *SETS, *OUT, *RIGHTS, *RECIPES]
