"""What a merge holds in memory at most, measured in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import bequeath

MEASURE = """
import sys
from pathlib import Path
from bequeath.weights import stream
from bequeath.weights.merge import merge
from bequeath.weights.recipe import Model, Recipe

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) // 1024

folder, rule = Path(sys.argv[1]), sys.argv[2]
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
base = str(folder / "base.safetensors") if rule != "linear" else None
merge(Recipe(rule, (Model(str(folder / "one.safetensors")),) * 2, base), folder / rule, threads=3)
print(status("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_model(tmp_path):
    """Two tensors of 100 MB: held whole in float32, base and model would be 800 MB."""
    draw = torch.Generator().manual_seed(0)
    for name in ("base", "one"):
        block = torch.randn(1 << 20, generator=draw).bfloat16()
        state = {key: block.repeat(50).view(-1, 1024) for key in ("a", "b")}
        save_file(state, tmp_path / f"{name}.safetensors")
    source = Path(bequeath.__file__).parents[1]
    for rule in ("linear", "ties"):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(tmp_path), rule],
            env={**os.environ, "PYTHONPATH": str(source)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) < 200  # MB
