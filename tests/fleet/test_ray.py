"""A real Ray cluster on this machine, of which a part goes away in the middle of a sweep."""

from __future__ import annotations

import importlib.util
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sweeps import ALL, CHANGES, PATIENCE, begin, same, trained, until
from test_batched_seeds import weights
from tiny_jobs import job, record, runs

from bequeath.fleet import run_job

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra `ray`)"
    ),
]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head that does no work, and two nodes of one core."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "src"))
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 2**20}
    head = {"num_cpus": 0, "include_dashboard": False, **small}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in "ab":
            cluster.add_node(num_cpus=1, **small)
        yield cluster
    finally:
        cluster.shutdown()


def at_work(node: Any) -> list[psutil.Process]:
    """The processes of a node that do a run now."""
    (raylet,) = node.all_processes["raylet"]
    below = psutil.Process(raylet.process.pid).children(recursive=True)
    return [process for process in below if "ray::attempt" in " ".join(process.cmdline())]


def complete(out: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in out.glob("runs/*/seed-*/record.json"):
        stat = path.stat()
        found["/".join(path.parts[-3:-1])] = (stat.st_ino, stat.st_mtime_ns)
    return found


def test_a_sweep_outlives_a_node(tmp_path, cluster, undisturbed):
    out = tmp_path / "out"
    child = begin(tmp_path, "--on", f"ray:{cluster.address}")
    seen: dict[str, tuple[int, int]] = {}

    def look() -> None:
        seen.update({k: v for k, v in complete(out).items() if k not in seen})

    def busy() -> list[Any]:
        look()
        return [node for node in cluster.worker_nodes if trained(out) and at_work(node)]

    node = until(child, busy)[0]
    lost = at_work(node)
    cluster.remove_node(node, allow_graceful=False)
    while child.poll() is None:
        look()
        time.sleep(0.02)
    _, said = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, said
    assert said.count("its worker was lost, it is started again") == 1, said
    finished = re.findall(r"\[\d/4\] (\w+), seed (\d)", said)
    assert len(finished) == 4 and {f"{arm}/seed-{seed}" for arm, seed in finished} == ALL
    assert runs(out) == ALL and same(out, undisturbed)
    after = complete(out)
    assert seen and all(after[name] == when for name, when in seen.items())  # and never again
    assert not any(process.is_running() for process in lost)


@pytest.mark.long
def test_groups_of_seeds_on_ray(tmp_path, monkeypatch, undisturbed):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "src"))
    changes = {**CHANGES, "train": {**CHANGES["train"], "batch_seeds": "on"}}
    out = run_job(job(tmp_path / "out", **changes), on="ray", jobs=2, quiet=True)
    here = run_job(job(tmp_path / "here", **changes), jobs=1, quiet=True)
    assert runs(out) == ALL and same(out, here) and not same(out, undisturbed)
    for arm in ("kd", "ce"):
        for seed in (0, 1):
            assert record(out, arm, seed).train.together.runs == 2
            off = weights(out, arm, seed) - weights(undisturbed, arm, seed)
            assert off.abs().max() < 1e-3
