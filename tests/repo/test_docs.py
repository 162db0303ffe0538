"""README, documentation, metadata: commands that exist, pages that are fresh, links that lead."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import bequeath

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """(what stands behind the language, text) of every fenced block of a language."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(mark.strip(), text) for kind, mark, text in found if kind == language]


def commands(text: str) -> list[str]:
    return [line[2:].split("  #")[0].strip() for line in text.splitlines() if line[:2] == "$ "]


def python(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.fixture
def generator(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import generate_docs

    return generate_docs


def test_generated_pages_are_those_the_code_would_write():
    done = python("scripts/generate_docs.py", "--check")
    assert done.returncode == 0, done.stderr


def test_pages_are_generated_without_torch():
    code = (
        "import sys; sys.path.insert(0, 'scripts'); import generate_docs; generate_docs.pages();"
        "sys.exit('torch' in sys.modules)"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


def test_stale_pages_are_found(generator, tmp_path):
    made = {"methods/kd.md": f"new\n{generator.MARK}\n", "same.md": f"{generator.MARK}\n"}
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "kd.md").write_text(f"old\n{generator.MARK}\n")
    (tmp_path / "same.md").write_text(made["same.md"])
    (tmp_path / "gone.md").write_text(f"of a method that was removed\n{generator.MARK}\n")
    (tmp_path / "by-hand.md").write_text("kept\n")
    assert generator.stale(made, tmp_path) == ["gone.md", "methods/kd.md"]


def test_tables_keep_their_columns(generator):
    import docs_tables

    text = docs_tables.table(("a", "b"), [("x | y", "two\nlines")])
    assert text.splitlines()[-1] == "| x \\| y | two lines |"


def test_bounds_and_nested_keys_are_said(generator):
    import docs_tables

    schema = {
        "default": {"lr": 0.1},
        "type": "object",
        "properties": {"lr": {"type": "number", "exclusiveMinimum": 0, "default": 0.1}},
    }
    rows = docs_tables.flatten("train", schema, {})
    assert [row[:3] for row in rows] == [
        ("`train`", "mapping", ""),
        ("`train.lr`", "number > 0", "`0.1`"),
    ]


JOBS = [
    pytest.param(text, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, (_, text) in enumerate(blocks(page, "yaml"))
    if text.startswith("want:") and page.name != "design.md"
]


@pytest.mark.parametrize("text", JOBS)
def test_jobs_in_the_docs_are_jobs(text, tmp_path):
    from bequeath.job.load import load_document
    from bequeath.job.resolve import resolve

    (tmp_path / "job.yaml").write_text(text, encoding="utf-8")
    assert resolve(load_document(tmp_path / "job.yaml")).arms


def test_every_method_has_its_page():
    from bequeath.methods.catalog import all_methods

    listed = (DOCS / "methods" / "index.md").read_text(encoding="utf-8")
    for key, one in all_methods().items():
        assert (DOCS / "methods" / f"{key}.md").is_file(), key
        assert f"[`{one.name}`]({key}.md)" in listed
        assert f"`{one.want}`" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_s_commands_are_there_and_can_be_run():
    said = [
        c.split()[0] for _, text in blocks(ROOT / "README.md", "console") for c in commands(text)
    ]
    assert {"scripts/demo", "scripts/test"} <= set(said)
    for command in said:
        assert os.access(ROOT / command, os.X_OK), command
    for script in ("scripts/lint", "scripts/docs", ".ci/run"):
        assert os.access(ROOT / script, os.X_OK), script
    assert "scripts/test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", ["demo", "test", "lint", "docs"])
def test_scripts_are_python_that_compiles(script):
    source = (ROOT / "scripts" / script).read_text(encoding="utf-8")
    assert source.startswith("#!/usr/bin/env python3\n")
    compile(source, script, "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s#]*)(?:#[^)\s]*)?\)", text):
        if target and not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), target


def test_the_version_is_one():
    version = bequeath.__version__
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_first_job_page_does_what_it_says(tmp_path):
    page = DOCS / "first-job.md"
    ran, errors = [], []
    for kind, mark, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "text":  # what the page shows is what was said
            assert text in errors.pop()
        elif title := re.search(r'title="([^"]+)"', mark):
            (tmp_path / title[1]).write_text(text, encoding="utf-8")
        expected = int(match[1]) if (match := re.search(r'exit="(\d)"', mark)) else 0
        for command in commands(text) if kind == "console" else ():
            program, *arguments = shlex.split(command)
            assert program == "bequeath"
            done = python("-m", "bequeath", *arguments, cwd=tmp_path)
            assert done.returncode == expected, f"{command}\n{done.stdout}\n{done.stderr}"
            ran.append(arguments[0])
            if expected:
                errors.append(done.stderr)
    assert ran.count("run") == 2 and ran.count("check") == 4 and errors == []
    for name in ("report.html", "report.json", "MODEL_CARD.md", "job.yaml"):
        assert (tmp_path / "runs" / "first" / name).stat().st_size > 0
    assert (tmp_path / "runs" / "first" / "runs" / "ce" / "seed-4" / "record.json").is_file()


def test_the_example_method_is_a_method(tmp_path):
    from bequeath.methods import catalog

    (_, text), *_ = blocks(DOCS / "writing-a-method.md", "python")
    (tmp_path / "tempered.py").write_text(text, encoding="utf-8")
    found = catalog.from_file("./tempered.py:tempered", tmp_path)
    assert found.want == "distill" and found.Config().temperature == 2.0
