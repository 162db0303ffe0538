"""`pool:` and `synthetic:`: what they open, what they keep out of sight, what they refuse."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from bequeath.given.access import AccessDenied, DataNeed, Labels, Needs
from bequeath.given.data import data_handle
from bequeath.given.given import Given
from bequeath.given.pool import PoolSamples
from bequeath.kernel.errors import JobError

TABLE = "id,size,proxy,val,test\nx,1,0.5,70,71\ny,2,,80,79\nz,3,1.5,75,90\n"
ASKED = {"objective": "val", "metrics": ["size", "proxy"], "report": ["test"]}


def write(folder: Path, text: str = TABLE, name: str = "table.csv") -> str:
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return f"pool:{path}"


def opened(ref: str, **options) -> PoolSamples:
    handle = data_handle("pool", ref, options)
    assert handle.static_problems() == [] and handle.facts.kind == "pool"
    found = handle.load()
    assert isinstance(found, PoolSamples) and handle.facts.n == len(found)
    return found


def refused(ref: str, **options) -> dict:
    with pytest.raises(JobError) as caught:
        data_handle("pool", ref, options).load()
    return {p.code: p for p in caught.value.problems}


def test_a_table(tmp_path):
    found = opened(write(tmp_path), **ASKED, percent=True, lower=["size"])
    assert found.ids == ("x", "y", "z") and found.names == ("size", "proxy")
    assert found.signs.tolist() == [-1, 1] and found.unit == "share"
    assert np.isnan(found.metrics[1, 1]) and found.metrics[2].tolist() == [3, 1.5]
    assert found.objective == pytest.approx([0.7, 0.8, 0.75])
    assert found.report["test"] == pytest.approx([0.71, 0.79, 0.9])
    assert found.fetch(torch.tensor([2, 0]))["id"] == ["z", "x"]


def test_the_same_content_in_any_file_is_the_same_pool(tmp_path):
    hashes = [opened(write(tmp_path), **ASKED).hash]
    hashes.append(opened(write(tmp_path, name="t.csv.gz"), **ASKED).hash)
    tabs = write(tmp_path, TABLE.replace(",", "\t"), "t.tsv.gz")
    hashes.append(opened(tabs, **ASKED).hash)
    columns = {"id": ["x", "y", "z"], "size": [1, 2, 3], "proxy": [0.5, None, 1.5]}
    table = pa.table(columns | {"val": [70, 80, 75], "test": [71, 79, 90]})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    hashes.append(opened(f"pool:{tmp_path / 't.parquet'}", **ASKED).hash)
    assert len(set(hashes)) == 1
    other = opened(write(tmp_path, TABLE.replace("80", "81")), **ASKED)
    assert other.hash != hashes[0] != opened(write(tmp_path), **ASKED, better="lower").hash


def test_nothing_is_a_score_unasked_and_names_may_be_rows(tmp_path):
    found = opened(write(tmp_path, "objective,a\n1,2\n3,4\n"))
    assert found.names == () and found.metrics.shape == (2, 0) and found.ids == ("0", "1")


def test_part_of_a_pool(tmp_path):
    part = opened(write(tmp_path), **ASKED).take(np.array([2, 0]))
    assert part.ids == ("z", "x") and part.objective.tolist() == [75, 70]
    assert part.report["test"].tolist() == [90, 71] and part.metrics[0].tolist() == [3, 1.5]


def test_a_method_sees_names_and_no_objective(tmp_path):
    held = opened(write(tmp_path), **ASKED)
    needs = Needs(data={"pool": DataNeed(Labels.NONE)})
    view = Given(needs, {}, {}, {"pool": held}).data("pool")
    assert sorted(view.fetch(torch.tensor([0]))) == ["id", "idx"]
    for name in ("objective", "report", "metrics"):
        assert not hasattr(view, name)
    with pytest.raises(AccessDenied):
        _ = view.labels


def test_what_is_not_there(tmp_path):
    ref = write(tmp_path)
    assert refused(ref)["D204"].message == "there is no column `objective`"
    found = refused(ref, objective="vale")["D204"]
    assert "did you mean `val`" in found.label and found.at == ("data", "pool", "objective")
    assert refused(ref, **{**ASKED, "metrics": ["sise"]})["D204"].at == ("data", "pool", "metrics")
    assert refused(ref, **{**ASKED, "report": ["tst"]})["D204"].at == ("data", "pool", "report")
    assert refused(ref, **ASKED, id="name")["D204"].at == ("data", "pool", "id")
    assert refused(ref, **ASKED, lower=["proxi"])["D204"].at == ("data", "pool", "lower")
    assert "D201" in refused(f"pool:{tmp_path / 'nothing.csv'}")


@pytest.mark.parametrize("name", ["val", "test"])
def test_what_is_judged_by_is_no_score(tmp_path, name):
    found = refused(write(tmp_path), **{**ASKED, "metrics": ["size", name]})["D204"]
    assert f"`{name}` cannot be a metric" in found.message


def test_bad_tables(tmp_path):
    assert "D208" in refused(write(tmp_path, TABLE.replace("80", "")), **ASKED)
    assert "D208" in refused(write(tmp_path, TABLE.replace("79", "inf")), **ASKED)
    assert "D213" in refused(write(tmp_path, TABLE.replace("80", "good")), **ASKED)
    assert "G463" in refused(write(tmp_path, TABLE.replace("y,2", "x,2")), **ASKED)
    assert "D205" in refused(write(tmp_path, TABLE.splitlines()[0] + "\n"), **ASKED)
    assert "D205" in refused(write(tmp_path, ""), **ASKED)
    assert "D204" in refused(write(tmp_path, TABLE.replace("proxy", "size")), **ASKED)
    assert "D202" in refused(write(tmp_path, TABLE.replace("x,1,", "x,1,1,1,")), **ASKED)
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(TABLE.encode() * 1000)[:60])
    assert "D202" in refused(f"pool:{cut}", **ASKED)


def test_an_objective_of_the_users_own(tmp_path):
    code = tmp_path / "train.py"
    code.write_text("def worth(name):\n    return {'x': 1, 'y': 5, 'z': 2}[name]\n")
    asked = {**ASKED, "objective": f"py:{code}:worth"}
    found = opened(write(tmp_path), **asked)
    assert callable(found.objective) and found.objective("y") == 5
    code.write_text(code.read_text() + "# other code may answer otherwise\n")
    assert opened(write(tmp_path), **asked).hash != found.hash
    assert "D219" in refused(write(tmp_path), **{**asked, "objective": f"py:{code}:wroth"})


def test_synthetic_scores_are_what_they_are_called():
    found = opened("synthetic:pool?n=5000")
    quality = found.report["quality"]
    worth = [np.corrcoef(quality, column)[0, 1] for column in found.metrics.T]
    expected = [1 / 1.09**0.5, 1 / 3.25**0.5, 1 / 3.25**0.5, -1 / 1.25**0.5, 0.0]
    assert worth == pytest.approx(expected, abs=0.04)
    assert opened("synthetic:pool?n=5000&seed=1").hash != found.hash
    assert "D216" in refused("synthetic:pull")


def test_facts_need_no_torch(tmp_path):
    ref = write(tmp_path)
    code = (
        "import sys; from bequeath.given.data import data_handle; "
        f"h = data_handle('pool', {ref!r}, {ASKED!r}); assert h.static_problems() == []; "
        "h.facts; print(*sorted({'torch', 'numpy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
