"""Merges of two models: time and memory beside the disk's limit, and beside mergekit.

    python benchmarks/merge_speed.py [--gb 0.5] [--rounds 3] [--rules linear ties dare_linear]
    python -m venv /tmp/mk && /tmp/mk/bin/pip install mergekit==0.1.5
    python benchmarks/merge_speed.py --mergekit /tmp/mk/bin/python

Three checkpoints (a base and two models) of Llama's tensor names, bfloat16, each of `--gb`, are
written to `--folder`. Each arm is a fresh process and says how long the merge took after its
imports, to the last byte on the disk (fsync), and by how much its resident memory grew at most
after them (pages of mapped files count, as the system counts them):

    floor     every input read once and a file of the output's size written once, in blocks
    bequeath  `merge` of the same inputs
    mergekit  `run_merge` of the same, where its Python is given; its output is then flushed too

Arms take turns, each with the inputs dropped from the disk cache before. Ratios are medians of the
rounds; the JSON has every figure. Exit code 1 where bequeath's memory grows by more than 300 MB or
an elementwise rule (linear, task_arithmetic, dare_*) takes more than 1.3 times the floor.
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
from pathlib import Path
from typing import Any

HIDDEN, INNER, VOCABULARY = 1024, 2816, 32_000
BLOCK = 1 << 23
MOST_GROWTH, MOST_TIME = 300e6, 1.3
ELEMENTWISE = ("linear", "task_arithmetic", "dare_linear", "dare_ties")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, default=0.5, help="of one model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rules", nargs="+", default=["linear", "ties", "dare_linear"])
    parser.add_argument("--mergekit", help="the Python of an environment with mergekit 0.1.5")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: temporary")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        arm, rule, folder = given.worker
        print(json.dumps(WORKERS[arm](rule, Path(folder))))
        return 0
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        found = compare(Path(folder), given)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return show(found)


def compare(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    size = make_models(folder, given.gb)
    arms = {"floor": sys.executable, "bequeath": sys.executable}
    if given.mergekit:
        arms["mergekit"] = given.mergekit
    runs: list[dict[str, Any]] = []
    for turn in range(given.rounds):
        for rule in given.rules:
            for arm, python in arms.items():
                forget(folder)
                command = [python, __file__, "--worker", arm, rule, str(folder)]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(f"{arm} {rule} failed:\n{done.stderr[-2000:]}")
                line = json.loads(done.stdout.splitlines()[-1])
                runs.append({"round": turn, "rule": rule, "arm": arm, **line})
                print(f"{rule:16}{arm:10}{line['seconds']:8.2f} s", file=sys.stderr)
    load = os.getloadavg()
    return {"gb": size / 1e9, "cores": os.cpu_count(), "load": load, "runs": runs}


def show(found: dict[str, Any]) -> int:
    """The table; the exit code."""
    bad = 0
    rules = dict.fromkeys(run["rule"] for run in found["runs"])
    print(f"{found['gb']:.2f} GB a model, load {found['load'][0]:.1f} on {found['cores']} cores")
    print(f"{'rule':16}{'arm':10}{'seconds':>9}{'cpu':>8}{'of floor':>10}{'memory +':>11}")
    for rule in rules:
        for arm in dict.fromkeys(run["arm"] for run in found["runs"]):
            mine = [r for r in found["runs"] if (r["rule"], r["arm"]) == (rule, arm)]
            floor = [r for r in found["runs"] if (r["rule"], r["arm"]) == (rule, "floor")]
            seconds = statistics.median(r["seconds"] for r in mine)
            ratio = statistics.median(
                a["seconds"] / b["seconds"] for a, b in zip(mine, floor, strict=True)
            )
            growth = max(r["growth"] for r in mine)
            cpu = statistics.median(r["cpu"] for r in mine)
            print(f"{rule:16}{arm:10}{seconds:9.2f}{cpu:8.2f}{ratio:10.2f}{growth / 1e6:8.0f} MB")
            if arm == "bequeath":
                slow = rule in ELEMENTWISE and ratio > MOST_TIME
                bad += slow or growth > MOST_GROWTH
    return int(bad > 0)


def make_models(folder: Path, gb: float) -> int:
    """Bytes of one model. The two differ from the base by small steps, as fine-tuning leaves."""
    import torch
    from safetensors.torch import save_file

    layer = {f"self_attn.{x}_proj": (HIDDEN, HIDDEN) for x in "qkvo"}
    layer |= {f"mlp.{x}_proj": (INNER, HIDDEN) for x in ("gate", "up")}
    layer |= {"mlp.down_proj": (HIDDEN, INNER)}
    layer |= {"input_layernorm": (HIDDEN,), "post_attention_layernorm": (HIDDEN,)}
    weights = 4 * HIDDEN * HIDDEN + 3 * HIDDEN * INNER
    layers = max(1, round((gb * 1e9 / 2 - 2 * VOCABULARY * HIDDEN) / weights))
    shapes = {"model.embed_tokens": (VOCABULARY, HIDDEN), "lm_head": (VOCABULARY, HIDDEN)}
    shapes |= {f"model.layers.{i}.{n}": s for i in range(layers) for n, s in layer.items()}
    shapes["model.norm"] = (HIDDEN,)
    draw = torch.Generator().manual_seed(0)
    base = {f"{n}.weight": torch.randn(s, generator=draw).mul_(0.02) for n, s in shapes.items()}
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
    for name in ("base", "one", "two"):
        step = 0.0 if name == "base" else 0.001
        made = {
            n: (torch.randn(x.shape, generator=draw).mul_(step).add_(x) if step else x).bfloat16()
            for n, x in base.items()
        }
        (folder / name).mkdir()
        save_file(made, folder / name / "model.safetensors", metadata={"format": "pt"})
        (folder / name / "config.json").write_text(json.dumps(config))
        with (folder / name / "model.safetensors").open("rb") as file:
            os.fsync(file.fileno())
    return sum(x.numel() for x in base.values()) * 2


def inputs(rule: str) -> list[str]:
    return ["one", "two"] if rule == "linear" else ["base", "one", "two"]


def forget(folder: Path) -> None:
    for file in folder.glob("*/*.safetensors"):
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def floor(rule: str, folder: Path) -> dict[str, float]:
    files = [(folder / name / "model.safetensors").open("rb", 0) for name in inputs(rule)]
    buffer = bytearray(BLOCK)
    before, began, worked = memory_now(), time.perf_counter(), time.process_time()
    out = folder / "floor.safetensors"
    with out.open("wb", 0) as into:
        while True:
            got = 0
            for file in files:
                got = file.readinto(buffer)
            if not got:
                break
            into.write(memoryview(buffer)[:got])
        os.fsync(into.fileno())
    spent = cost(before, began, worked)
    out.unlink()
    return spent


def bequeath(rule: str, folder: Path) -> dict[str, float]:
    import shutil

    from bequeath.weights import stream  # noqa: F401  (torch too is not what is timed)
    from bequeath.weights.merge import merge
    from bequeath.weights.mergekit import read_mergekit

    recipe = read_mergekit(recipe_of(rule, folder))
    before, began, worked = memory_now(), time.perf_counter(), time.process_time()
    merge(recipe, folder / "bequeath")
    spent = cost(before, began, worked)
    shutil.rmtree(folder / "bequeath")
    return spent


def mergekit(rule: str, folder: Path) -> dict[str, float]:
    import shutil

    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    config = MergeConfiguration.model_validate(recipe_of(rule, folder))
    options = MergeOptions(copy_tokenizer=False, quiet=True, write_model_card=False)
    before, began, worked = memory_now(), time.perf_counter(), time.process_time()
    run_merge(config, str(folder / "mergekit"), options)
    for file in (folder / "mergekit").glob("*.safetensors"):
        with file.open("rb") as written:
            os.fsync(written.fileno())
    spent = cost(before, began, worked)
    shutil.rmtree(folder / "mergekit")
    return spent


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
