"""The same distillation by bequeath and by torchdistill 1.1.5: images a second, in alternation.

    python -m venv /tmp/td && /tmp/td/bin/pip install torchdistill==1.1.5
    python benchmarks/beside_torchdistill.py /tmp/td/bin/python [--images 1024] [--rounds 5]

(Take the same torch in both environments: the versions are printed, and a difference is said.)

The job: ResNet-56 -> ResNet-20, 32 x 32, batch 64, SGD with momentum, 0.1 CE + 0.9 T^2 KL at T = 4;
the same models with the same weights, the same images. torchdistill gets the images normalised
already, as float tensors in memory and a loader without worker processes, which is the fastest way
to feed it; bequeath gets them as uint8 and each model normalises them itself. Its own loop is the
one of its examples without their metric logger. A run is of a few epochs, set-up included for
bequeath (optimizer, log, checkpoint) and not for torchdistill.

It runs in a process of its own which waits while bequeath works, and the other way round. One run
of each arm per round; ratios are medians over the rounds:

    live     images/s of bequeath with a live teacher / of torchdistill        >= 1.00
    cached   images/s of bequeath with the teacher cached / of torchdistill
    its      images/s of torchdistill with `cache_output` set / without: nothing reads the setting

Beside them the limits: images a second if all multiplications and additions of the teacher's
forward (not where it is cached) and the student's forward and backward pass went at the rate of a
large matrix product.

Exit code 1 when `live` is below 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _measure import alternate, facts, limits, ratio

BATCH, CLASSES, TEMPERATURE, HARD = 64, 10, 4.0, 0.1
LIMIT = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python", help="the Python of an environment with torchdistill 1.1.5")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.worker:
        serve(given.worker)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        found = compare(Path(folder), given)
    ours, theirs = found["versions"]["torch here"], found["versions"]["torch there"]
    print(f"torchdistill {found['versions']['torchdistill']}, torch {theirs} there, {ours} here")
    for name in ("live", "cached", "its"):
        one = found[name]
        print(f"{name:8} {one['ratio']:.3f}  ({one['low']:.3f} to {one['high']:.3f})")
    print("images/s " + ", ".join(f"{k} {v:.0f}" for k, v in found["images_per_second"].items()))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0 if found["live"]["ratio"] >= LIMIT else 1


def compare(root: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Alternate an epoch of each arm `rounds` times."""
    import cache_speed as ours

    from bequeath.signals.teacher import teacher

    os.environ["BEQUEATH_CACHE"] = str(root / "cache")
    data = ours.images(given.images)
    view = ours.View("teacher", ours.TEACHER, data)
    hand_over(root, data, view.load(), ours.View("student", ours.STUDENT, data).load())

    def ask(cache: str) -> float:
        ctx = ours.context(ours.fresh(root), given.epochs, cache)
        answers = teacher(ctx, view, data)
        return ours.train(ctx, data, answers)

    script = [given.python, __file__, given.python, "--worker", str(root)]
    script += ["--threads", str(given.threads)]
    times: dict[str, list[float]] = {}
    with subprocess.Popen(
        script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        versions = call(worker, "hello")
        arms = {
            "torchdistill": lambda: call(worker, f"plain {given.epochs}"),
            "bequeath live": lambda: ask("off"),
            "bequeath cached": lambda: ask("on"),
            "torchdistill cache_output": lambda: call(worker, f"cache_output {given.epochs}"),
        }
        for arm in arms.values():
            arm()  # the first pass through any code is slower, and fills the cache
        times = alternate(given.rounds, arms)
        call(worker, "stop")
    speed = {
        name: given.images * given.epochs / statistics.median(each) for name, each in times.items()
    }
    work = flops(view, ours.View("student", ours.STUDENT, data), data)
    return {
        "images": given.images,
        "epochs": given.epochs,
        "threads": given.threads,
        "versions": {**versions, "torch here": torch.__version__},
        "images_per_second": speed,
        "facts": facts(("torch", "torchvision")),
        "limits": (rates := limits(given.threads)),
        "limit": {"live": rates["flops"] / sum(work), "cached": rates["flops"] / work[1]},
        "live": ratio(times, "torchdistill", "bequeath live"),
        "cached": ratio(times, "torchdistill", "bequeath cached"),
        "its": ratio(times, "torchdistill", "torchdistill cache_output"),
    }


def flops(teacher: Any, student: Any, data: Any) -> tuple[float, float]:
    """Of an image: of the teacher forward, and of the student forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode

    batch = data.fetch(torch.arange(BATCH))
    with FlopCounterMode(display=False) as of_teacher, torch.no_grad():
        teacher.load().eval()(batch)
    with FlopCounterMode(display=False) as of_student:
        student.load().train()(batch).sum().backward()
    return of_teacher.get_total_flops() / BATCH, of_student.get_total_flops() / BATCH


def call(worker: subprocess.Popen[str], word: str) -> Any:
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(word + "\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        raise SystemExit(f"the torchdistill process ended at `{word}` (its messages are above)")
    return json.loads(answer)


def hand_over(root: Path, data: Any, teacher: Any, student: Any) -> None:
    """What the other side needs: the architecture's file, weights, and normalised images."""
    batch = data.fetch(torch.arange(len(data)))
    x = student.preprocess(batch, torch.device("cpu")).contiguous()
    states = {"teacher": teacher.module.state_dict(), "student": student.module.state_dict()}
    torch.save({**states, "x": x, "y": batch["y"]}, root / "job.pt")
    source = sys.modules[type(student.module).__module__].__file__
    assert source is not None
    (root / "architecture.py").write_text(Path(source).read_text(encoding="utf-8"))
    (root / "builders.json").write_text(json.dumps(["resnet56", "resnet20"]))


def serve(root: Path) -> None:
    """The torchdistill side: a line of standard input asks for epochs, seconds are the answer."""
    from importlib.metadata import version

    answers = sys.stdout
    sys.stdout = sys.stderr  # it talks
    job = torch.load(root / "job.pt", weights_only=True)
    boxes = {
        "plain": box(root, job, {}),
        "cache_output": box(root, job, {"cache_output": str(root)}),
    }
    for line in sys.stdin:
        word = line.strip()
        if word == "hello":
            said: Any = {
                "torchdistill": version("torchdistill"),
                "torch there": torch.__version__,
            }
        elif word == "stop":
            said = None
        else:
            arm, epochs = word.split()
            said = sum(epoch(boxes[arm], number) for number in range(int(epochs)))
        print(json.dumps(said), file=answers, flush=True)
        if word == "stop":
            return


def box(root: Path, job: dict[str, Any], loader: dict[str, Any]) -> Any:
    from torch.utils.data import RandomSampler, TensorDataset
    from torchdistill.core.distillation import get_distillation_box

    models = {}
    for role, name in zip(("teacher", "student"), json.loads((root / "builders.json").read_text())):
        models[role] = build(root / "architecture.py", name)
        models[role].load_state_dict(job[role])
    models["teacher"].eval()
    loss = {
        "key": "KDLoss",
        "kwargs": {
            "student_module_path": ".",
            "student_module_io": "output",
            "teacher_module_path": ".",
            "teacher_module_io": "output",
            "temperature": TEMPERATURE,
            "alpha": HARD,
            "reduction": "batchmean",
        },
    }
    config = {
        "num_epochs": 1,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler},
            "kwargs": {"batch_size": BATCH, "num_workers": 0},
            **loader,
        },
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only", "requires_grad": True},
        "optimizer": {
            "key": "SGD",
            "kwargs": {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
        },
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": {"kd": {"criterion": loss, "weight": 1.0}}},
        },
    }
    data = {"train": TensorDataset(job["x"], job["y"])}
    cpu = torch.device("cpu")
    return get_distillation_box(
        models["teacher"], models["student"], data, config, cpu, None, False, 1.0
    )


def build(path: Path, name: str) -> torch.nn.Module:
    spec = importlib.util.spec_from_file_location("architecture", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    built: torch.nn.Module = module.build(name, CLASSES)
    return built


def epoch(training: Any, number: int) -> float:
    """Seconds of an epoch by the loop of torchdistill's examples."""
    started = time.perf_counter()
    training.pre_epoch_process(epoch=number)
    for x, y, supplement in training.train_data_loader:
        loss = training.forward_process(x, y, supplement)
        training.post_forward_process(loss)
    training.post_epoch_process()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
