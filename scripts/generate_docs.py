"""Write the pages that are made from code: methods, error codes, the job, recipes, evidence.

`python scripts/generate_docs.py` writes them under `docs/`; `--check` writes nothing and leaves
with 1, naming the pages, when a committed one is not what the code would write. Torch-free.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from docs_method import method_page, methods_index
from docs_tables import MARK, flatten, table
from pydantic import BaseModel
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def pages() -> dict[str, str]:
    """path below `docs/` -> text, for every generated page."""
    import typer

    from bequeath.cli import app
    from bequeath.evidence.verdicts import verdict_table
    from bequeath.given.graph_options import GRAPH_OPTIONS
    from bequeath.given.options import DATA_OPTIONS, MODEL_OPTIONS
    from bequeath.job.schema import job_schema
    from bequeath.kernel.codes import CODES
    from bequeath.methods.catalog import all_methods
    from bequeath.methods.family import families

    methods = all_methods()
    made = {f"methods/{key}.md": method_page(one) for key, one in methods.items()}
    made["methods/index.md"] = methods_index(methods, families(), _about(families()))
    made["reference/codes.md"] = codes_page(CODES)
    made["reference/job.md"] = job_page(job_schema())
    made["reference/references.md"] = references_page(MODEL_OPTIONS, DATA_OPTIONS, GRAPH_OPTIONS)
    made["reference/command-line.md"] = command_line_page(typer.main.get_command(app))
    made["reference/recipes.md"] = recipes_page(sorted((ROOT / "recipes").glob("*.yaml")))
    made["reference/evidence.md"] = evidence_page(verdict_table(ROOT / "evidence"))
    made["reference/peers.md"] = peers_page(_json(ROOT / "benchmarks/results/peers.json"))
    return {path: f"{text.strip()}\n\n{MARK}\n" for path, text in made.items()}


def _about(families: Iterable[str]) -> dict[str, str]:
    """The docstrings of the families' folders."""
    modules = {want: importlib.import_module(f"bequeath.methods.{want}") for want in families}
    return {want: inspect.getdoc(module) or "" for want, module in modules.items()}


def codes_page(codes: dict) -> str:
    """Every error code under the heading of its group, with an anchor each."""
    groups = {
        "J": "The job file",
        "D": "Data",
        "M": "Models",
        "G": "Things that must fit each other",
        "R": "Resources and folders",
        "T": "Training",
        "S": "What the teacher says",
        "W": "Arithmetic on checkpoints",
    }
    lines = [
        "# Error codes",
        "",
        "Every error bequeath raises on purpose has a code. `bequeath explain CODE` prints the same"
        " text. Exit code 2: the job, or what it points at, is wrong and nothing heavy has run."
        " Exit code 1: a run failed after it began.",
    ]
    letters = list(dict.fromkeys([*groups, *(code[0] for code in codes)]))
    for letter in letters:
        mine = {code: entry for code, entry in sorted(codes.items()) if code[0] == letter}
        if not mine:
            continue
        lines += ["", f"## {groups.get(letter, letter)}"]
        for code, entry in mine.items():
            lines += ["", f"### {code}: {entry.title} {{#{code.lower()}}}", "", entry.why]
            lines += ["", f"**What to do.** {entry.fix}"]
    return "\n".join(lines)


def job_page(schema: dict) -> str:
    """The keys of a job, flattened to dotted paths (what `--set` takes)."""
    lines = [
        "# The job file",
        "",
        "YAML 1.2, read without running anything in it. Unknown keys are refused at every level."
        " The dotted path in the first column is what `--set` takes: `--set train.epochs=5`."
        " `bequeath schema` prints the JSON schema these tables are made from; `bequeath show JOB`"
        " prints a job with every default filled in and where each value came from.",
    ]
    definitions = schema["$defs"]
    needed = schema["allOf"][0]["then"]["required"]  # of a job that extends no other
    for key, value in schema["properties"].items():
        rows = flatten(key, value, definitions, required=key in needed)
        lines += ["", f"## `{key}`", "", table(("key", "type", "default", "what it is"), rows)]
        if key == "method":
            lines += ["", "The settings of each method are on [its page](../methods/index.md)."]
        if key in ("models", "data", "graphs"):
            lines += ["", "[What can be referred to, and its settings](references.md)."]
    return "\n".join(lines)


def references_page(models: dict, data: dict, graphs: dict) -> str:
    """The schemes of `models:`, `data:` and `graphs:` with what each takes."""
    lines = [
        "# Models and data",
        "",
        "A reference is `scheme:rest`. What a scheme takes is written beside `ref`"
        ' (`{ref: "npz:images.npz", split: test}`) or behind a question mark'
        " (`npz:images.npz?split=test`).",
    ]
    for title, schemes in (("Models", models), ("Data", data), ("Graphs", graphs)):
        tables = {scheme: _options_rows(options) for scheme, options in schemes.items()}
        first, *others = tables.values()
        shared = [row for row in first if all(row in rows for rows in others)]
        head = ("key", "type", "default", "what it is")
        lines += ["", f"## {title}", "", "Every scheme takes:", "", table(head, shared)]
        for scheme, options in sorted(schemes.items()):
            said = (options.__doc__ or "").strip()
            lines += ["", f"### `{scheme}:` {{#{title.lower()}-{scheme}}}", "", said]
            if own := [row for row in tables[scheme] if row not in shared]:
                lines += ["", table(head, own)]
    return "\n".join(lines)


def _options_rows(options: type[BaseModel]) -> list[tuple[str, str, str, str]]:
    schema = options.model_json_schema()
    definitions = schema.get("$defs", {})
    pairs = schema.get("properties", {}).items()
    return [row for key, value in pairs for row in flatten(key, value, definitions)]


def command_line_page(program: Any) -> str:
    """Every command with its arguments and options."""
    lines = ["# Command line", "", "`python -m bequeath` is the same program.", "", program.epilog]
    for name, command in program.commands.items():
        lines += ["", f"## `bequeath {name}`", "", command.help.strip()]
        rows = [(f"`{_as_typed(param)}`", param.help or "") for param in command.params]
        if rows:
            lines += ["", table(("argument", "what it does"), rows)]
    return "\n".join(lines)


def _as_typed(param: Any) -> str:
    if param.param_type_name == "argument":
        return param.metavar or param.name.upper()
    return f"{max(param.opts, key=len)} {param.metavar or ''}".strip()


def recipes_page(files: list[Path]) -> str:
    """Each recipe: its opening comment as text, then the file as it is."""
    lines = ["# Recipes", "", "Jobs that run as they are, in `recipes/`."]
    for file in files:
        source = file.read_text(encoding="utf-8")
        opening, rest = _opening_comment(source)
        want = YAML(typ="safe").load(source).get("want", "")
        lines += ["", f"## {file.stem}", "", f"`recipes/{file.name}` ({want})", ""]
        lines += [opening, "", "```yaml", rest.strip(), "```"]
    if not files:
        lines += ["", "None yet."]
    return "\n".join(lines)


def evidence_page(verdicts: str) -> str:
    """The committed results of the claims."""
    lines = [
        "# Evidence",
        "",
        "Published claims, run here. Each line is a file under `evidence/`, written by `bequeath"
        " reproduce` with machine, versions, commit and cost. Supported: the interval lies beyond"
        " the least effect the claim asks for. Not supported: it lies below. Inconclusive: neither;"
        " more seeds or a larger scale would tell. A claim that is not supported at a small scale"
        " may hold at the paper's.",
        "",
        verdicts.strip(),
    ]
    return "\n".join(lines)


def peers_page(found: dict) -> str:
    """The committed table of `benchmarks/peers.py`."""
    lines = [
        "# Beside the peers",
        "",
        "Written by `python benchmarks/peers.py --json benchmarks/results/peers.json`, which also"
        " says how each line is measured. Both sides take turns in one session; *times better* is"
        " the median of the rounds with the least and the most. The limit is work over the best"
        " rate this machine showed in that session: operations over that of a large matrix product,"
        " bytes over the bandwidth of memory or disk; for start-up, an interpreter that does"
        " nothing, or imports torch.",
        "",
    ]
    head = ("what", "bequeath", "peer", "times better", "limit", "of the limit")
    for name, part in found["parts"].items():
        lines += [f"## {name.capitalize()}", "", _circumstances(part, found["peers"]), ""]
        if part["short"]:
            lines += ["**The short form: one round of small jobs. No speeds.**", ""]
        lines += [table(head, [tuple(row["cells"]) for row in part["rows"]]), ""]
    return "\n".join(lines).rstrip()


def _circumstances(part: dict, peers: dict) -> str:
    """When, where and with what a part of the table was measured."""
    facts = part["facts"]
    versions = ", ".join(f"{n} {v}" for n, v in {**facts["versions"], **peers}.items())
    load = f"{facts['load'][0]:.1f} before, {facts['load_after'][0]:.1f} after"
    code = facts["commit"][:9] + (" with changes" if facts["dirty"] else "")
    machine = f"{facts['processor']}, {facts['cores']} cores"
    return f"{facts['date']}, {machine}, load {load}; {versions}; code {code}."


def stale(made: dict[str, str], docs: Path = DOCS) -> list[str]:
    """Pages that are missing, differ, or are there and no longer made."""
    wrong = [path for path, text in made.items() if _read(docs / path) != text]
    return sorted({*wrong, *(path for path in _marked(docs) if path not in made)})


def main(arguments: list[str]) -> int:
    if unknown := set(arguments) - {"--check"}:
        print(f"unknown option {sorted(unknown)[0]}\n\n{__doc__}", file=sys.stderr)
        return 2
    made = pages()
    wrong = stale(made)
    if "--check" in arguments:
        for path in wrong:
            print(f"docs/{path} is stale: run scripts/docs --pages", file=sys.stderr)
        return 1 if wrong else 0
    for path in wrong:
        if path in made:
            (DOCS / path).parent.mkdir(parents=True, exist_ok=True)
            (DOCS / path).write_text(made[path], encoding="utf-8")
        else:
            (DOCS / path).unlink()
        print(f"docs/{path}")
    return 0


def _opening_comment(source: str) -> tuple[str, str]:
    lines = source.splitlines()
    count = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "\n".join(line.lstrip("# ") for line in lines[:count]), "\n".join(lines[count:])


def _marked(docs: Path) -> Iterator[str]:
    for file in docs.rglob("*.md"):
        if file.read_text(encoding="utf-8").rstrip().endswith(MARK):
            yield file.relative_to(docs).as_posix()


def _json(file: Path) -> dict:
    found: dict = json.loads(file.read_text(encoding="utf-8"))
    return found


def _read(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
