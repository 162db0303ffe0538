"""bequeath beside its peers and beside what the machine can do: one command, one table.

    python benchmarks/peers.py [--short] [--only startup training merge links ranking loop]
                               [--environments FOLDER] [--graph FOLDER] [--folder FOLDER]
                               [--json benchmarks/results/peers.json]

torchdistill and mergekit get an environment each under `--environments` (default: .venv-peers of
this checkout), made once, which shares torch and the other packages of the Python that runs this;
or name a Python that has them: `--python-torchdistill`, `--python-mergekit`. PyKEEN is one of
bequeath's own libraries. Every comparison is a benchmark of this folder in a process of its own, in
which the arms take turns; what it says in full is kept in the JSON beside the rows of the table.

The whole takes about an hour on two cores, 26 GB of disk and 14 GB of memory; `--short` takes ten
minutes and says less (one round, small models). `--only` does some parts anew and keeps the others
of the JSON. Nothing else should run meanwhile: the load at each part's end is in the JSON.
`scripts/docs --pages` makes docs/reference/peers.md of it.

A row says how many times bequeath is better than the peer, with the least and the most of the
rounds, and what share of the limit it reaches. Exit code 1 where a benchmark failed or a peer won.
"""

from __future__ import annotations

import argparse
import json
import os
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _measure import ROOT, disk, facts
from _rows import HEAD, Row, link_rows, loop_rows, merge_rows, ranking_rows, start_rows, train_rows

from bequeath.kernel.files import write_json

PINS = {"torchdistill": "1.1.5", "mergekit": "0.1.5"}
SHARED = ("torch", "torchvision")
HERE = Path(__file__).resolve().parent


def main() -> int:
    given = arguments()
    parts, failed = kept(given), []
    for name in given.only:
        print(f"== {name}", flush=True)
        about, began = facts(("torch", "numpy", "pykeen")), time.monotonic()
        try:
            with tempfile.TemporaryDirectory(dir=given.folder) as folder:
                rows, raw = PARTS[name](given, Path(folder))
        except Failed as error:
            failed.append(name)
            print(error, file=sys.stderr)
            continue
        about["load_after"] = list(os.getloadavg())
        told = {"minutes": (time.monotonic() - began) / 60, "short": given.short, "facts": about}
        parts[name] = {**told, "rows": [row.told() for row in rows], "raw": raw}
        if given.json:
            whole = {"peers": dict(PINS), "parts": {n: parts[n] for n in PARTS if n in parts}}
            write_json(given.json, whole)
    rows = [row for name in PARTS if name in parts for row in parts[name]["rows"]]
    show(rows)
    lost = [row["what"] for row in rows if (row["ratio"] or 1.0) < 1.0]
    for what in lost:
        print(f"the peer wins: {what}")
    return int(bool(failed or lost))


def kept(given: argparse.Namespace) -> dict[str, Any]:
    """The parts of an earlier table at `--json` that are not done again; none with all of them."""
    if set(given.only) == set(PARTS) or not (given.json and given.json.is_file()):
        return {}
    parts: dict[str, Any] = json.loads(given.json.read_text(encoding="utf-8"))["parts"]
    return {name: part for name, part in parts.items() if name not in given.only}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--environments", type=Path, default=ROOT / ".venv-peers")
    parser.add_argument("--python-torchdistill")
    parser.add_argument("--python-mergekit")
    parser.add_argument("--graph", type=Path, help="a folder with FB15k-237, for the ranking")
    parser.add_argument("--gb", type=float, nargs="+", default=[1.0, 4.0], help="of merged models")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: temporary")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


class Failed(Exception):
    """A benchmark that ended without a result."""


def start_up(given: argparse.Namespace, folder: Path) -> tuple[list[Row], dict[str, Any]]:
    more = ["--runs", "1" if given.short else "7"]
    more += ["--torchdistill", python_of("torchdistill", given)]
    more += ["--mergekit", python_of("mergekit", given)]
    raw = run("startup.py", more, folder)
    return start_rows(raw), {"startup": raw}


def training(given: argparse.Namespace, folder: Path) -> tuple[list[Row], dict[str, Any]]:
    more = ["--threads", str(os.cpu_count() or 1)]
    if given.short:
        more += ["--images", "256", "--epochs", "1", "--rounds", "1"]
    raw = run("beside_torchdistill.py", [python_of("torchdistill", given), *more], folder)
    return train_rows(raw), {"beside_torchdistill": raw}


def merging(given: argparse.Namespace, folder: Path) -> tuple[list[Row], dict[str, Any]]:
    rates, found, rows = disk(folder), {}, []
    for gb in [0.25] if given.short else given.gb:
        rounds = "3" if 1.0 <= gb < 4.0 else "1"
        more = ["--gb", str(gb), "--rounds", rounds, "--folder", str(folder)]
        more += ["--mergekit", python_of("mergekit", given)]
        found[f"{gb:g} GB"] = raw = run("merge_speed.py", more, folder)
        rows += merge_rows(raw, rates)
    return rows, {"disk": rates, "merge_speed": found}


def links(given: argparse.Namespace, folder: Path) -> tuple[list[Row], dict[str, Any]]:
    more = ["--rounds", "1", "--steps", "3"] if given.short else ["--rounds", "3"]
    raw = run("lemon_throughput.py", more, folder)
    return link_rows(raw), {"lemon_throughput": raw}


def ranking(given: argparse.Namespace, folder: Path) -> tuple[list[Row], dict[str, Any]]:
    more = ["--triples", "256"]
    if given.short:
        more = ["--triples", "32", "--check", "32", "--rounds", "1", "--steps", "20"]
    if given.graph:
        more += ["--graph", str(given.graph)]
    rows, found = [], {}
    for threads in ("1", "2"):
        found[threads] = raw = run("ranking_speed.py", [*more, "--threads", threads], folder)
        rows += ranking_rows(raw)
    return rows, {"ranking_speed": found}


def loop(given: argparse.Namespace, folder: Path) -> tuple[list[Row], dict[str, Any]]:
    raw = run("fit_overhead.py", ["--rounds", "1"] if given.short else [], folder)
    return loop_rows(raw), {"fit_overhead": raw}


PARTS: dict[str, Callable[..., tuple[list[Row], dict[str, Any]]]] = {
    "startup": start_up,
    "training": training,
    "merge": merging,
    "links": links,
    "ranking": ranking,
    "loop": loop,
}


def run(script: str, more: list[str], folder: Path) -> dict[str, Any]:
    """What a benchmark of this folder writes; that it missed a target of its own is no failure."""
    out = folder / "result.json"
    out.unlink(missing_ok=True)
    command = [sys.executable, str(HERE / script), *more, "--json", str(out)]
    done = subprocess.run(command, check=False)
    if done.returncode not in (0, 1) or not out.is_file():
        raise Failed(f"{' '.join(command)} ended with {done.returncode} and no result")
    raw: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return raw


def python_of(peer: str, given: argparse.Namespace) -> str:
    """The Python of an environment that has the peer and this one's torch; made when missing."""
    named: str | None = getattr(given, f"python_{peer}")
    if named:
        return named
    folder = given.environments.resolve() / peer
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pin = f"{peer}=={PINS[peer]}"
    ask = f"from importlib.metadata import version; print('{peer}==' + version('{peer}'))"
    if python.exists():
        done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
        if done.stdout.strip() == pin:
            return str(python)
    print(f"making an environment with {pin} in {folder}", flush=True)
    call([sys.executable, "-m", "venv", "--clear", str(folder)])
    where = "import site; print(site.getsitepackages()[0])"
    done = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True)
    shared = "\n".join(site.getsitepackages())
    Path(done.stdout.strip(), "zz-shared.pth").write_text(shared + "\n", encoding="utf-8")
    same = [f"{name}=={version(name)}" for name in SHARED]
    call([str(python), "-m", "pip", "install", "--quiet", pin, *same])
    return str(python)


def call(command: list[str]) -> None:
    if subprocess.run(command, check=False).returncode:
        raise Failed(f"{' '.join(command)} failed")


def show(rows: list[dict[str, Any]]) -> None:
    cells = [HEAD, *(tuple(row["cells"]) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEAD))]
    for row in cells:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
