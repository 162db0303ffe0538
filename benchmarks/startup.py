"""What looking costs: processor seconds and memory of the commands that load nothing.

    python benchmarks/startup.py [--runs 5] [--json FILE]

Each command runs in a fresh process, one warm-up first; the target is 0.25 s of processor time and
60 MB, without torch. Exits 1 on a miss.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SECONDS, MEGABYTES = 0.25, 60
JOB = """\
want: distill
method: [kd, nd]
models: {teacher: {ref: "zoo:resnet56"}, student: {ref: "zoo:resnet8"}}
data:
  train: {ref: "sklearn:digits?split=train&as=image"}
  test: {ref: "sklearn:digits?split=test&as=image"}
"""


def once(arguments: list[str]) -> tuple[float, float]:
    """(processor seconds, megabytes) of `bequeath ARGUMENTS` in a process of its own."""
    command = [sys.executable, "-m", "bequeath", *arguments]
    pid = os.posix_spawn(
        sys.executable,
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{' '.join(command)} failed")
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6


def imports_torch(arguments: list[str]) -> bool:
    code = (
        "import sys; from bequeath.cli import run_cli; run_cli(sys.argv[1:]); "
        "sys.exit(3 if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, check=False
    )
    return done.returncode != 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.yaml"
        job.write_text(JOB)
        commands = {
            "--help": ["--help"],
            "list": ["list"],
            "check": ["check", str(job)],
            "show": ["show", str(job)],
            "schema": ["schema"],
            "explain": ["explain", "kd"],
        }
        rows, missed = {}, []
        for name, arguments in commands.items():
            once(arguments)
            figures = [once(arguments) for _ in range(options.runs)]
            cpu = statistics.median(f[0] for f in figures)
            memory = statistics.median(f[1] for f in figures)
            torch = imports_torch(arguments)
            rows[name] = {"cpu_s": round(cpu, 3), "mb": round(memory, 1), "torch": torch}
            if cpu > SECONDS or memory > MEGABYTES or torch:
                missed.append(name)
            print(f"{name:8} {cpu:6.3f} s  {memory:6.1f} MB  torch: {'yes' if torch else 'no'}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
