"""The virtual environments of this checkout: made when missing, kept while `pyproject.toml` stands.

Standard library only. An older Python 3 may start it: it then looks for a
newer one on the path, or says that there is none.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
STAMP = "bequeath.json"


def python_in(name: str, extras: tuple[str, ...] = ()) -> Path:
    """The interpreter of the environment `name`, which has bequeath (editable) and `extras`.

    Set `BEQUEATH_PYTHON` to an interpreter that has them already and nothing is installed.
    Exits with the reason when there is no Python >= 3.11, when the folder holds an environment
    that somebody else made, or when an install fails.
    """
    if own := os.environ.get("BEQUEATH_PYTHON"):
        return Path(own)
    folder = ROOT / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    base = _base_python()
    wanted = {
        "pyproject": hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest(),
        "python": base,
    }
    there = _stamp(folder)
    if folder.exists() and not there:
        sys.exit(
            f"{name} is there and was not made by this script: move it away, or use it with\n"
            f"BEQUEATH_PYTHON={python}"
        )
    have = set(there.pop("extras", ()))
    if python.exists() and there == wanted and set(extras) <= have:
        return python
    if python.exists() and there.get("python") == base:
        extras = tuple(sorted({*extras, *have}))
    else:
        shutil.rmtree(folder, ignore_errors=True)
        _create(base, folder)
        _write_stamp(folder, {"python": base})  # ours, though nothing is in it yet
    target = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    print(f"installing {target.replace(str(ROOT), '.')} into {name} (torch is large)", flush=True)
    # pip of the base interpreter installs into the new environment too: Debian's Python may have
    # pip and no ensurepip.
    pip = [str(python), "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
        pip = [base, "-m", "pip", "--python", str(python)]
    call([*pip, "install", "--quiet", "--disable-pip-version-check", "--editable", target])
    _write_stamp(folder, {**wanted, "extras": sorted(extras)})
    return python


def call(command: list[str], **more: str) -> None:
    """Run a command in the checkout; leave with its exit code when it fails."""
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **more}, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def _create(base: str, folder: Path) -> None:
    with_pip = subprocess.run([base, "-m", "venv", str(folder)], capture_output=True, check=False)
    if with_pip.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        call([base, "-m", "venv", "--without-pip", str(folder)])


def _stamp(folder: Path) -> dict:
    try:
        return json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _write_stamp(folder: Path, facts: dict) -> None:
    (folder / STAMP).write_text(json.dumps(facts), encoding="utf-8")


def _base_python() -> str:
    if sys.version_info >= OLDEST:
        return getattr(sys, "_base_executable", None) or sys.executable
    for minor in (13, 12, 11, 14):
        if found := shutil.which(f"python3.{minor}"):
            return found
    sys.exit("bequeath needs Python 3.11 or newer; this is " + sys.version.split()[0])
