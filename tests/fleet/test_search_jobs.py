"""A search from its job to its folder, and every way in which such a job can be wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_jobs import record

from bequeath.blocks.cells import cell_text
from bequeath.fleet import run_job
from bequeath.fleet.gates import check_deep
from bequeath.fleet.protocols import _pools
from bequeath.job.api import load_job
from bequeath.kernel.errors import JobError, RunError
from bequeath.methods.search import Protocol

CELLS = [
    cell_text(row)
    for row in np.random.default_rng(0).permutation(5**6)[:30, None] // 5 ** np.arange(6) % 5
]


def job(out: Path, **changes: Any):
    plain = {
        "want": "search",
        "method": [{"name": "greedy", "as": "strong", "weights": {"strong": 1.0}}, "random_search"],
        "data": {"pool": "synthetic:pool?n=300"},
        "protocol": {"budget": 5},
        "seeds": 2,
        "baselines": False,
        "train": {"threads": 1, "device": "cpu"},
    }
    return load_job({**plain, **changes}, [f"out={out}"], allow_code=True)


def refused(tmp_path: Path, **changes: Any) -> dict[str, tuple]:
    with pytest.raises(JobError) as caught:
        check_deep(job(tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()
    return {p.code: p.at for p in caught.value.problems}


def cells(folder: Path, names: list[str] = CELLS) -> dict[str, Any]:
    """A table of cells, worth their number of 3x3 convolutions and a little more."""
    rows = [f"{name},{name.count('3x3~') + i / 1000},{90 + i / 10}" for i, name in enumerate(names)]
    path = folder / "cells.csv"
    path.write_text("\n".join(["arch,objective,test", *rows]) + "\n", encoding="utf-8")
    return {"ref": f"pool:{path}", "report": ["test"], "space": "nas201"}


def test_what_a_search_leaves(tmp_path):
    out = run_job(job(tmp_path / "out", method=["robot"], baselines=True), quiet=True)
    arms = {path.name for path in (out / "runs").iterdir()}
    assert arms == {"robot", "greedy", "random_search", "regularized_evolution"}
    found = record(out, "robot")
    assert list(found.metrics) == ["regret", "rank", "best_found", "reported", "queries"]
    held = json.loads((out / "runs" / "robot" / "seed-0" / "found.json").read_text())
    names, values = zip(*held["asked"])
    assert len(set(names)) == 5 and found.metrics["queries"].value == 5
    pool = job(tmp_path / "other").data["pool"].load()
    objective = dict(zip(pool.ids, pool.objective))
    best = max(values)
    assert [objective[name] for name in names] == list(values) and objective[held["id"]] == best
    assert found.metrics["best_found"].value == best
    assert found.metrics["regret"].value == pytest.approx(max(pool.objective) - best)
    assert found.metrics["rank"].value == 1 + sum(v > best for v in pool.objective)
    quality = dict(zip(pool.ids, pool.report["quality"]))
    assert found.metrics["reported"].value == quality[held["id"]]
    curve = found.curves["search"]
    assert curve.x == [1, 2, 3, 4, 5] and curve.y[-1] == found.metrics["regret"].value
    assert curve.y == sorted(curve.y, reverse=True)
    assert curve.y[0] == pytest.approx(max(pool.objective) - values[0])
    assert found.notes["found"] == held["id"] and found.seal.attempts == []
    assert set(held["weights"]) == set(pool.names)
    assert (out / "report.html").is_file()


def test_less_is_better_where_the_pool_says_so(tmp_path):
    table = tmp_path / "t.csv"
    rows = [f"c{i},{i},{i}" for i in range(20)]
    table.write_text("\n".join(["id,objective,size", *rows]) + "\n")
    pool = {"ref": f"pool:{table}", "metrics": ["size"], "lower": ["size"], "better": "lower"}
    out = run_job(job(tmp_path / "out", method="greedy", data={"pool": pool}, seeds=1), quiet=True)
    found = record(out, "greedy")
    assert found.metrics["best_found"].value == 0 and found.metrics["regret"].value == 0
    assert found.metrics["best_found"].direction == "lower" and found.notes["found"] == "c0"


def test_counts_of_cells(tmp_path):
    changes = {"data": {"pool": cells(tmp_path)}, "method": "greedy"}
    protocol = {"budget": 3, "metrics": "counts"}
    method = {"name": "greedy", "weights": {"conv3x3": 1}}
    out = run_job(
        job(tmp_path / "out", **{**changes, "method": method}, protocol=protocol), quiet=True
    )
    names = json.loads((out / "runs/greedy/seed-0/found.json").read_text())["asked"]
    threes = sorted((name.count("conv_3x3") for name in CELLS), reverse=True)
    assert [name.count("conv_3x3") for name, _ in names] == threes[:3]


def test_proxies_are_computed_once_and_kept_as_they_come(tmp_path, monkeypatch):
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "cache"))
    data = {"pool": cells(tmp_path, CELLS[:6]), "batch": "sklearn:digits?as=image&take=20"}
    proxies = ["synflow", "params", "naswot"]
    protocol = {"budget": 2, "metrics": "computed", "batch": 8, "width": 4, "depth": 1}
    protocol |= {"proxies": proxies}
    calls = []
    real = _pools.proxies

    def counted(net, x, y, names):
        calls.append(list(names))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(net, x, y, names)

    monkeypatch.setattr(_pools, "proxies", counted)
    changes = {"data": data, "method": "greedy", "protocol": protocol, "seeds": 1}
    with pytest.raises(KeyboardInterrupt):
        run_job(job(tmp_path / "out", **changes), quiet=True)
    (kept,) = (tmp_path / "cache" / "proxies").iterdir()
    with kept.open("a") as file:
        file.write('["half a li')  # as a crash would leave it
    out = run_job(job(tmp_path / "out", **changes), quiet=True)
    assert calls[4:] == [proxies] * 3  # three were kept, the one interrupted is begun again
    assert set(record(out, "greedy").tables["weights"].row_names) <= set(proxies)
    more = {**protocol, "proxies": [*proxies, "flops"]}
    run_job(job(tmp_path / "more", **{**changes, "protocol": more}), quiet=True)
    assert calls[7:] == [["flops"]] * 6


def test_part_of_the_pool_and_coins_are_of_the_seed_and_the_same_for_all_arms(tmp_path):
    held = job(tmp_path / "out").data["pool"].load()
    settings = Protocol(pool=50, draw="seed", signs="random")
    device: Any = None
    one, same, other = (_pools.prepared(held, None, settings, s, device) for s in (0, 0, 1))
    assert one.ids == same.ids != other.ids and len(set(one.ids)) == 50
    assert (one.metrics == same.metrics).all()
    rows = [held.ids.index(name) for name in one.ids]
    turned = one.metrics[0] / held.metrics[rows[0]]
    assert set(turned) <= {1.0, -1.0}
    assert (one.metrics == held.metrics[rows] * turned).all()
    assert (one.signs == held.signs * turned).all()
    gaps = held.metrics.copy()
    gaps[:9, 1] = np.nan
    broken = held.with_metrics(held.names, gaps, held.signs)
    turned_over = Protocol(signs="random")
    for seed in range(4):  # unturned again, the gaps are the worst: nothing else has changed
        part = _pools.prepared(broken, None, turned_over, seed, device)
        back = part.metrics * part.signs * held.signs
        assert np.nanmax(np.abs(back - gaps)) == 0 and (back[:9, 1] == np.nanmin(gaps[:, 1])).all()
    flips = [
        (_pools.prepared(held, None, settings, s, device).signs != held.signs).mean()
        for s in range(60)
    ]
    assert 0.4 < np.mean(flips) < 0.6


def test_an_objective_of_the_users_own_is_asked_once_a_candidate(tmp_path, monkeypatch):
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "cache"))
    log = tmp_path / "asked.txt"
    code = tmp_path / "own.py"
    code.write_text(
        "def worth(name):\n"
        f"    open({str(log)!r}, 'a').write(name + '\\n')\n"
        "    return float(name.strip('c')) % 7\n"
    )
    table = tmp_path / "t.csv"
    table.write_text("id,size\n" + "".join(f"c{i},{i}\n" for i in range(12)))
    pool = {"ref": f"pool:{table}", "metrics": ["size"], "objective": f"py:{code}:worth"}
    judged = {"metrics": ["best_found"]}
    changes = {"data": {"pool": pool}, "evaluate": judged, "method": "robot"}
    out = run_job(job(tmp_path / "out", **changes), quiet=True)
    asked = log.read_text().split()
    assert len(asked) == len(set(asked))  # by two seeds together
    assert "regret" not in record(out, "robot").metrics
    run_job(job(tmp_path / "again", **changes), quiet=True)
    assert log.read_text().split() == asked
    code.write_text("def worth(name):\n    raise OSError('no disk')\n")
    with pytest.raises(RunError) as failed:
        run_job(job(tmp_path / "third", **changes), quiet=True)
    assert failed.value.problem.code == "T662" and "no disk" in str(failed.value)
    assert "G469" in refused(tmp_path / "x", **{**changes, "evaluate": {"metrics": ["regret"]}})
    with pytest.raises(JobError):
        load_job({"want": "search", "method": "robot", "data": {"pool": pool}})  # code, unasked


def test_a_budget_of_no_queries(tmp_path):
    with pytest.raises(JobError) as caught:
        job(tmp_path / "out", protocol={"budget": 0})
    (problem,) = caught.value.problems
    assert problem.at == ("protocol", "budget") and "1" in problem.label


def test_bad_jobs(tmp_path):
    one = {"pool": "synthetic:pool?n=1"}
    assert refused(tmp_path, data=one) == {"G460": ("data", "pool")}
    few = {"budget": 5, "pool": 400}
    assert refused(tmp_path, protocol=few) == {"G460": ("protocol", "pool")}
    assert refused(tmp_path, protocol={"budget": 300}) == {"G462": ("protocol", "budget")}
    all_of_part = {"budget": 9, "pool": 9}
    assert refused(tmp_path, protocol=all_of_part) == {"G462": ("protocol", "budget")}
    assert refused(tmp_path, data={"pool": "sklearn:digits"}) == {"G461": ("data", "pool")}
    bare = {"pool": {**cells(tmp_path), "space": None}}
    assert refused(tmp_path, data=bare, method="robot") == {"G464": ("data", "pool")}
    weighs = {"name": "greedy", "weights": {"stong": 1.0}}
    assert refused(tmp_path, method=weighs) == {"G468": ("method", "weights")}
    assert refused(tmp_path, method=[weighs]) == {"G468": ("method", 0, "weights")}
    counts = {"budget": 5, "metrics": "counts"}
    where = ("protocol", "metrics")
    assert refused(tmp_path, protocol=counts, method="robot") == {"G465": where}
    strange = {"pool": cells(tmp_path, ["resnet18", *CELLS])}
    assert refused(tmp_path, data=strange, protocol=counts, method="robot") == {
        "G466": ("data", "pool")
    }
    computed = {"budget": 5, "metrics": "computed"}
    held = {"pool": cells(tmp_path)}
    assert refused(tmp_path, data=held, protocol=computed, method="robot") == {"G467": where}
    small = {**held, "batch": "sklearn:digits?as=image&take=20"}
    assert refused(tmp_path, data=small, protocol=computed, method="robot") == {
        "G467": ("data", "batch")
    }
    reported = {"metrics": ["reported"]}
    plain = {"pool": {**cells(tmp_path), "report": []}}
    assert refused(tmp_path, data=plain, protocol=counts, method="robot", evaluate=reported) == {
        "G469": ("evaluate", "metrics")
    }


@pytest.mark.real
@pytest.mark.skipif(
    not (
        Path(os.environ.get("BEQUEATH_DATA", "/nowhere")) / "nats_tss_nasbench201.tsv.gz"
    ).is_file(),
    reason="BEQUEATH_DATA holds no nats_tss_nasbench201.tsv.gz",
)
def test_the_table_of_nas_bench_201(tmp_path):
    """The published optima, and figures of the plain rankings worked out beforehand."""
    data = Path(os.environ["BEQUEATH_DATA"]) / "nats_tss_nasbench201.tsv.gz"
    pool = {"ref": f"pool:{data}", "objective": "cf10_valacc_hp12", "space": "nas201"}
    pool |= {"report": ["cf10_test_acc", "cf100_test_acc"], "percent": True}
    methods = ["greedy", {"name": "greedy", "as": "params", "weights": {"params": 1.0}}]
    protocol = {"budget": 20, "metrics": "counts"}
    changes = {"data": {"pool": pool}, "method": methods, "protocol": protocol, "seeds": 3}
    out = run_job(job(tmp_path / "out", **changes), quiet=True)
    best = {row: cells[1] for row, cells in zip(
        record(out, "greedy").tables["found"].row_names, record(out, "greedy").tables["found"].rows
    )}  # fmt: skip
    assert best["cf10_test_acc"] == pytest.approx(0.9437, abs=5e-5)
    assert best["cf100_test_acc"] == pytest.approx(0.7351, abs=5e-5)
    means = [record(out, "greedy", seed).metrics["reported"].value for seed in range(3)]
    assert np.mean(means) == pytest.approx(0.9437, abs=5e-4)
    params = [record(out, "params", seed).metrics["reported"].value for seed in range(3)]
    assert np.mean(params) == pytest.approx(0.9404, abs=0.01)
