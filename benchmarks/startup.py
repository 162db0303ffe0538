"""What looking costs: processor seconds and memory of the commands that load nothing.

    python benchmarks/startup.py [--runs 5] [--json FILE]
                                 [--torchdistill PYTHON] [--mergekit PYTHON]

Each command runs in a fresh process, one warm-up first; the target is 0.25 s of processor time and
60 MB, without torch. Exits 1 on a miss.

With the Python of an environment that has torchdistill or mergekit, what comes before any work is
compared as well, in turn: to print a command's help (mergekit), and to have imported all that a
distillation or a merge needs. Beside them an interpreter that does nothing, and one that imports
torch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from _measure import alternate, facts, process

SECONDS, MEGABYTES = 0.25, 60
DISTIL = (
    "import bequeath.train.fit, bequeath.signals.teacher, bequeath.methods.distill.kd, accelerate"
)
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
    return process([sys.executable, "-m", "bequeath", *arguments])


def imports_torch(arguments: list[str]) -> bool:
    code = (
        "import sys; from bequeath.cli import run_cli; run_cli(sys.argv[1:]); "
        "sys.exit(3 if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, check=False
    )
    return done.returncode != 0


def peers(torchdistill: str | None, mergekit: str | None, runs: int) -> dict[str, dict[str, float]]:
    """Processor seconds, medians, of what comes before any work."""
    here = sys.executable
    commands = {
        "python": [here, "-c", "pass"],
        "import torch": [here, "-c", "import torch"],
        "bequeath --help": [here, "-m", "bequeath", "--help"],
        "bequeath distil": [here, "-c", DISTIL],
        "bequeath merge": [here, "-c", "import bequeath.weights.merge, bequeath.weights.stream"],
    }
    if torchdistill:
        code = "import torchdistill.core.distillation, torchdistill.common.yaml_util"
        commands["torchdistill distil"] = [torchdistill, "-c", code]
    if mergekit:
        script = str(Path(mergekit).with_name("mergekit-yaml"))
        commands["mergekit --help"] = [mergekit, script, "--help"]
        commands["mergekit merge"] = [mergekit, "-c", "import mergekit.merge, mergekit.options"]
    memory: dict[str, float] = {}

    def timed(name: str) -> float:
        seconds, memory[name] = process(commands[name])
        return seconds

    arms = {name: partial(timed, name) for name in commands}
    alternate(1, arms)
    times = alternate(runs, arms)
    return {n: {"cpu_s": statistics.median(t), "mb": memory[n]} for n, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--torchdistill")
    parser.add_argument("--mergekit")
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
    told: dict[str, Any] = {"facts": facts(), **rows}
    if options.torchdistill or options.mergekit:
        told["peers"] = peers(options.torchdistill, options.mergekit, options.runs)
        for name, one in told["peers"].items():
            print(f"{name:20} {one['cpu_s']:6.3f} s  {one['mb']:6.1f} MB")
    if options.json:
        options.json.write_text(json.dumps(told, indent=2) + "\n")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
