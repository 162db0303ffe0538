"""Merges of two models: time and memory beside the machine's limit, and beside mergekit.

    python benchmarks/merge_speed.py [--gb 1] [--rounds 3] [--rules linear ties dare_linear]
    python -m venv /tmp/mk && /tmp/mk/bin/pip install mergekit==0.1.5
    python benchmarks/merge_speed.py --mergekit /tmp/mk/bin/python
    python benchmarks/merge_speed.py --short

Three checkpoints (a base and two models) of Llama's tensor names, bfloat16, each of `--gb`, are
written to `--folder`. Each arm is a fresh process and says how long the merge took after its
imports, to the last byte on the disk (fsync), and by how much its resident memory grew at most
after them (pages of mapped files count, as the system counts them):

    floor     every input read once, one after another in large blocks and announced to the system
              as sequential, then a file of the output's size written and flushed; one thread
    bequeath  `merge` of the same inputs
    mergekit  `run_merge` of the same, where its Python is given; its output is then flushed too

What reads, computes and writes at the same time can take less than the floor, which does one after
the other. `disk`: from and to `--folder`, the inputs dropped from the disk cache before each arm.
`memory`: the inputs are in the disk cache and the output goes to /dev/shm, so that the floor is
what the processor needs to copy and the disk is no matter; without mergekit.

Arms take turns. Seconds and the processor's seconds (user and system) are medians of the rounds,
`of floor` the median of their ratios; the JSON has every figure. Exit code 1 where bequeath's
memory grows by more than 300 MB or an elementwise rule (linear, task_arithmetic, dare_*) takes more
than 1.3 times the floor of the disk.

mergekit's DARE scales to the old L1 norm, and so does ours here: each tensor is looked at twice.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HIDDEN, INNER, VOCABULARY = 1024, 2816, 32_000
BLOCK = 1 << 23  # bytes
MOST_GROWTH, MOST_TIME = 300e6, 1.3
PLACES = ["disk", "memory"]
ELEMENTWISE = ("linear", "task_arithmetic", "dare_linear", "dare_ties")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, default=1.0, help="of one model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rules", nargs="+", default=["linear", "ties", "dare_linear"])
    parser.add_argument("--mergekit", help="the Python of an environment with mergekit 0.1.5")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: temporary")
    parser.add_argument("--where", nargs="+", choices=PLACES, default=PLACES)
    parser.add_argument("--short", action="store_true", help="0.25 GB, one round")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        arm, rule, folder, out = given.worker
        print(json.dumps(WORKERS[arm](rule, Path(folder), Path(out))))
        return 0
    if given.short:
        given.gb, given.rounds = 0.25, 1
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        found = compare(Path(folder), given)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return show(found)


def compare(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    size = make_models(folder, given.gb)
    arms = {"floor": sys.executable, "bequeath": sys.executable}
    runs: list[dict[str, Any]] = []
    for turn in range(given.rounds):
        for where in given.where:
            also = {"mergekit": given.mergekit} if given.mergekit and where == "disk" else {}
            for rule in given.rules:
                for arm, python in (arms | also).items():
                    place = {"round": turn, "where": where, "rule": rule, "arm": arm}
                    runs.append(place | one_run(folder, python, place))
    load = os.getloadavg()
    return {"gb": size / 1e9, "cores": os.cpu_count(), "load": load, "runs": runs}


def one_run(folder: Path, python: str, place: dict[str, Any]) -> dict[str, float]:
    """One arm in a process of its own."""
    arm, rule, where = place["arm"], place["rule"], place["where"]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if where == "memory" else folder) as out:
        if where == "disk":
            forget(folder)
        else:
            read_all(files_of(rule, folder))
        command = [python, __file__, "--worker", arm, rule, str(folder), out]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{arm} {rule} failed:\n{done.stderr[-2000:]}")
    line = json.loads(done.stdout.splitlines()[-1])
    print(f"{where:8}{rule:16}{arm:10}{line['seconds']:8.2f} s", file=sys.stderr)
    return line


def show(found: dict[str, Any]) -> int:
    """The table; the exit code."""
    bad = 0
    kinds = dict.fromkeys((run["where"], run["rule"], run["arm"]) for run in found["runs"])
    print(f"{found['gb']:.2f} GB a model, load {found['load'][0]:.1f} on {found['cores']} cores")
    print("where   rule            arm         seconds     cpu  of floor   memory +")
    for where, rule, arm in kinds:
        mine, floors = (
            [r for r in found["runs"] if (r["where"], r["rule"], r["arm"]) == (where, rule, each)]
            for each in (arm, "floor")
        )
        pairs = zip(mine, floors, strict=True)
        ratio = statistics.median(a["seconds"] / b["seconds"] for a, b in pairs)
        seconds, cpu = (statistics.median(r[key] for r in mine) for key in ("seconds", "cpu"))
        growth = max(r["growth"] for r in mine)
        print(
            f"{where:8}{rule:16}{arm:10}{seconds:9.2f}{cpu:8.2f}{ratio:10.2f}{growth / 1e6:8.0f} MB"
        )
        if arm == "bequeath":
            slow = where == "disk" and rule in ELEMENTWISE and ratio > MOST_TIME
            bad += slow or growth > MOST_GROWTH
    return int(bad > 0)


def make_models(folder: Path, gb: float) -> int:
    """Bytes of one model. The two differ from the base by small steps, as fine-tuning leaves.

    Written tensor by tensor: making them needs no more memory than merging them.
    """
    import torch

    from bequeath.kernel.safetensors_header import TensorFact
    from bequeath.weights.layout import one_file

    layers = layers_for(gb)
    made = one_file(
        "model.safetensors", {n: TensorFact(s, "BF16") for n, s in shapes_of(layers).items()}
    )
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_attention_heads": 16,
        "num_hidden_layers": layers,
        "vocab_size": VOCABULARY,
        "torch_dtype": "bfloat16",
    }
    draw = torch.Generator().manual_seed(0)
    with ExitStack() as stack:
        files = {}
        for name in ("base", "one", "two"):
            (folder / name).mkdir()
            (folder / name / "config.json").write_text(json.dumps(config))
            files[name] = stack.enter_context((folder / name / made.name).open("wb", 0))
            files[name].write(made.header)
        for tensor, shape in shapes_of(layers).items():
            base = torch.randn(shape, generator=draw).mul_(0.02)
            for name, file in files.items():
                x = base if name == "base" else torch.randn(shape, generator=draw) * 0.001 + base
                file.seek(made.offsets[tensor])
                file.write(x.bfloat16().view(torch.uint8).numpy().data)
        for file in files.values():
            os.fsync(file.fileno())
    return made.nbytes - len(made.header)


def layers_for(gb: float) -> int:
    one = 4 * HIDDEN * HIDDEN + 3 * HIDDEN * INNER
    return max(1, round((gb * 1e9 / 2 - 2 * VOCABULARY * HIDDEN) / one))


def shapes_of(layers: int) -> dict[str, tuple[int, ...]]:
    layer: dict[str, tuple[int, ...]] = {f"self_attn.{x}_proj": (HIDDEN, HIDDEN) for x in "qkvo"}
    layer |= {f"mlp.{x}_proj": (INNER, HIDDEN) for x in ("gate", "up")}
    layer |= {"mlp.down_proj": (HIDDEN, INNER)}
    layer |= {"input_layernorm": (HIDDEN,), "post_attention_layernorm": (HIDDEN,)}
    shapes = {"model.embed_tokens": (VOCABULARY, HIDDEN), "lm_head": (VOCABULARY, HIDDEN)}
    shapes |= {f"model.layers.{i}.{n}": s for i in range(layers) for n, s in layer.items()}
    return {f"{name}.weight": shape for name, shape in (shapes | {"model.norm": (HIDDEN,)}).items()}


def files_of(rule: str, folder: Path) -> list[Path]:
    """The inputs."""
    names = ["one", "two"] if rule == "linear" else ["base", "one", "two"]
    return [folder / name / "model.safetensors" for name in names]


def forget(folder: Path) -> None:
    for file in folder.glob("*/*.safetensors"):
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_all(files: list[Path]) -> memoryview:
    """The last block."""
    block = memoryview(bytearray(BLOCK))
    for file in files:
        with file.open("rb", 0) as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while opened.readinto(block):
                pass
    return block


def floor(rule: str, folder: Path, out: Path) -> dict[str, float]:
    files = files_of(rule, folder)
    size = files[0].stat().st_size
    before, began, worked = memory_now(), time.perf_counter(), time.process_time()
    block = read_all(files)
    with (out / "floor.safetensors").open("wb", 0) as into:
        for start in range(0, size, BLOCK):
            into.write(block[: size - start])
        os.fsync(into.fileno())
    return cost(before, began, worked)


def bequeath(rule: str, folder: Path, out: Path) -> dict[str, float]:
    from bequeath.weights import stream  # noqa: F401  (torch too is not what is timed)
    from bequeath.weights.merge import merge
    from bequeath.weights.mergekit import read_mergekit

    recipe = read_mergekit(recipe_of(rule, folder))
    before, began, worked = memory_now(), time.perf_counter(), time.process_time()
    merge(recipe, out / "bequeath")
    return cost(before, began, worked)


def mergekit(rule: str, folder: Path, out: Path) -> dict[str, float]:
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    config = MergeConfiguration.model_validate(recipe_of(rule, folder))
    options = MergeOptions(copy_tokenizer=False, quiet=True, write_model_card=False)
    before, began, worked = memory_now(), time.perf_counter(), time.process_time()
    run_merge(config, str(out / "mergekit"), options)
    for file in (out / "mergekit").glob("*.safetensors"):
        with file.open("rb") as written:
            os.fsync(written.fileno())
    return cost(before, began, worked)


def cost(before: int, began: float, worked: float) -> dict[str, float]:
    """Wall and processor seconds since then, and bytes of memory above `before` at the most."""
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    return {"seconds": seconds, "cpu": cpu, "growth": memory_peak() - before}


def recipe_of(rule: str, folder: Path) -> dict[str, Any]:
    """A mergekit file, for both."""
    own = {"weight": 0.5} | ({"density": 0.5} if rule not in ("linear", "task_arithmetic") else {})
    models = [{"model": str(folder / name), "parameters": dict(own)} for name in ("one", "two")]
    base = {} if rule == "linear" else {"base_model": str(folder / "base")}
    return {"merge_method": rule, "models": models, "dtype": "bfloat16", **base}


def memory_now() -> int:
    """Resident bytes, from which the peak is counted from now on."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def memory_peak() -> int:
    return _status("VmHWM")


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))


WORKERS = {"floor": floor, "bequeath": bequeath, "mergekit": mergekit}

if __name__ == "__main__":
    sys.exit(main())
