"""`bequeath demo`: handwritten digits, a teacher trained on the spot, a tenth of its size after."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bequeath.fleet.folder import claim, writing
from bequeath.fleet.sweep import run_job
from bequeath.job.api import load_job
from bequeath.kernel.files import write_text

TEACHER = """\
# The teacher: a network trained on the labels alone. A fifth of the digits is kept aside.
want: distill
method: ce
models:
  student: {ref: "zoo:mlp?hidden=256,256"}
data:
  train: {ref: "sklearn:digits?split=train"}
  test: {ref: "sklearn:digits?split=test"}
seeds: 1
train:
  epochs: 40
  batch_size: 64
  threads: 1
"""

STUDENT = """\
# The students: a tenth of the teacher's parameters, alone and taught.
want: distill
method: [kd, nd]
models:
  teacher: {ref: "file:%s"}
  student: {ref: "zoo:mlp?hidden=64,32"}
data:
  train: {ref: "sklearn:digits?split=train"}
  test: {ref: "sklearn:digits?split=test"}
evaluate: {metrics: [accuracy, nll]}
seeds: %d
train:
  epochs: 40
  batch_size: 64
  threads: 1
"""


def demo(out: str | Path = "bequeath-demo", *, seeds: int = 5, epochs: int | None = None) -> Path:
    """Train a teacher, distil it by `kd` and `nd` beside `ce`, and report; -> report.html.

    The two job files are written into `out`, to be read, changed and run again. Everything is on
    this machine: the digits come with scikit-learn. epochs: fewer, for a test. JobError R510 to
    R512 where `out` is not to be had, RunError R522 where it cannot be written.
    """
    out = Path(out)
    teacher, students = out / "teacher", out / "students"
    shorter = [] if epochs is None else [f"train.epochs={epochs}"]
    console = Console(stderr=True)
    with writing(out), claim(out, []):
        write_text(out / "teacher.yaml", TEACHER)
        write_text(
            out / "job.yaml", STUDENT % (teacher / "runs" / "ce" / "seed-0" / "model", seeds)
        )
        console.print(f"the teacher: bequeath run {out / 'teacher.yaml'}", style="bold")
        run_job(load_job(out / "teacher.yaml", [f"out={teacher}", *shorter]))
        console.print(f"the students: bequeath run {out / 'job.yaml'}", style="bold")
        done = run_job(load_job(out / "job.yaml", [f"out={students}", *shorter]))
    return done / "report.html"
