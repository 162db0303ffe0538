"""Bad data gets a located error that names the file, row or key, before anything heavy runs."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from bequeath.given.data import data_handle
from bequeath.kernel.codes import CODES
from bequeath.kernel.errors import JobError, Problem, RunError, render


def problems(ref: str, *, static: bool, **options) -> list[Problem]:
    """What is wrong; `static` says whether it must be seen without opening the data."""
    handle = data_handle("train", ref, options)
    early = handle.static_problems()
    assert bool(early) == static, early
    with pytest.raises(JobError) as caught:
        handle.load()
    if static:
        assert caught.value.problems == early
    for problem in caught.value.problems:
        assert problem.at[:2] == ("data", "train") and problem.code in CODES
    return caught.value.problems


def one(ref: str, *, static: bool, **options) -> Problem:
    found = problems(ref, static=static, **options)
    assert len(found) == 1, found
    return found[0]


def table(tmp_path: Path, text: str) -> str:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    return f"csv:{tmp_path}/t.csv"


def npz(tmp_path: Path, **arrays) -> str:
    np.savez(tmp_path / "d.npz", **arrays)
    return f"npz:{tmp_path}/d.npz"


def test_missing_file_with_its_neighbour(tmp_path):
    (tmp_path / "flowers.csv").write_text("a,label\n1,2\n")
    problem = one(f"csv:{tmp_path}/flower.csv", static=True)
    assert problem.code == "D201" and "flowers.csv" in problem.label
    assert one(f"folder:{tmp_path}/nowhere/x", static=True).notes
    assert "is a folder" in one(f"npz:{tmp_path}", static=True).message
    assert "is a file" in one(f"folder:{tmp_path}/flowers.csv", static=True).message


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("cats", "dögs"):
        (tmp_path / "p" / name).mkdir(parents=True)
        for i in range(8):
            noise = np.random.default_rng(i).integers(0, 256, (9, 9, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / "p" / name / f"bild {i} ü.png")
    return tmp_path / "p"


def spoil(photos: Path) -> list[str]:
    """One that is no image, one cut off within its pixels, one empty."""
    files = sorted((photos / "dögs").iterdir())[:3]
    files[0].write_text("no image")
    files[1].write_bytes(files[1].read_bytes()[:200])
    files[2].write_bytes(b"")
    return [f"dögs/{file.name}" for file in files]


def test_undecodable_images_are_named_all_at_once(photos):
    names = spoil(photos)
    problem = one(f"folder:{photos}", static=False)
    assert problem.code == "D206" and "3 of 16" in problem.message
    assert all(any(name in note for note in problem.notes) for name in names)
    assert any("skip_bad" in remedy for remedy in problem.remedies)


@pytest.mark.parametrize("memory", [None, "1kB"])
def test_skip_bad_goes_on_without_them(photos, memory):
    names = spoil(photos)
    samples = data_handle("train", f"folder:{photos}", {"skip_bad": True, "memory": memory}).load()
    assert len(samples) == 13 and sorted(samples.skipped) == sorted(names)
    assert torch.bincount(samples.y).tolist() == [8, 5]
    assert samples.fetch(torch.arange(13))["x"].shape == (13, 9, 9, 3)


def test_many_bad_images_are_counted(photos):
    for file in photos.rglob("*.png"):
        file.write_text("x")
    problem = one(f"folder:{photos}", static=False)
    assert len(problem.notes) == 11 and problem.notes[-1] == "and 6 more"
    assert one(f"folder:{photos}", static=False, skip_bad=True).code == "D205"


def test_an_image_that_goes_bad_during_a_run_is_named(photos):
    samples = data_handle("train", f"folder:{photos}", {"memory": "1kB"}).load()
    gone = sorted((photos / "cats").iterdir())[0]
    gone.unlink()
    with pytest.raises(RunError, match="bild 0 ü"):
        samples.fetch(torch.tensor([0]))
    assert samples.fetch(torch.tensor([1]))["x"].shape == (1, 9, 9, 3)


def test_images_of_different_sizes_need_a_size(photos):
    Image.new("RGB", (20, 30)).save(photos / "cats" / "large.png")
    problem = one(f"folder:{photos}", static=False)
    assert problem.code == "D221" and problem.at == ("data", "train", "size")


def test_folders_that_are_no_data_sets(tmp_path, photos):
    Image.new("RGB", (4, 4)).save(tmp_path / "loose.png")
    (tmp_path / "e").mkdir()
    assert one(f"folder:{tmp_path}/e", static=True).code == "D203"
    (tmp_path / "e" / "empty class").mkdir()
    assert "empty class" in one(f"folder:{tmp_path}/e", static=True).notes[0]
    (tmp_path / "s" / "train" / "a").mkdir(parents=True)
    problem = one(f"folder:{tmp_path}/s", static=True)
    assert problem.code == "D215" and "split: train" in problem.remedies[0]
    assert "train" in one(f"folder:{tmp_path}/s", static=True, split="trian").label


def test_a_folder_of_one_class(photos):
    assert one(f"folder:{photos}", static=False, classes=None, take=16, n_classes=3).code == "D207"
    for file in (photos / "cats").iterdir():
        file.unlink()
    (photos / "cats").rmdir()
    assert one(f"folder:{photos}", static=False).code == "D220"


def test_selections_that_cannot_be(photos):
    assert "cats" in one(f"folder:{photos}", static=True, classes="cat").label
    assert one(f"folder:{photos}", static=True, classes="0-2").code == "D211"
    assert one(f"folder:{photos}", static=True, classes="0,cats").code == "D211"
    problem = one(f"folder:{photos}", static=True, take=17)
    assert problem.code == "D212" and "16" in problem.message
    assert problem.at == ("data", "train", "take")
    problem = one(f"folder:{photos}", static=True, split="val")
    assert problem.code == "D205" and "val_size" in problem.message
    assert one(f"folder:{photos}", static=True, split="test", test_size=0.01).code == "D205"
    assert one("sklearn:wine", static=True, split="tset").label == "did you mean `test`?"
    assert "digits" in one("sklearn:digit", static=True).label
    assert one("sklearn:wine?as=image", static=True).code == "D213"


def test_selections_seen_only_when_opened(tmp_path):
    ref = npz(tmp_path, x=np.zeros((4, 2)), y=[0, 1, 1, 1])
    assert one(ref, static=False, classes="2").code == "D211"
    assert one(ref, static=False, classes="0", take=2).code == "D212"
    assert one(ref, static=True, take=5).code == "D212"
    assert one(ref, static=False, split="test", test_size=0.01).code == "D205"


def test_labels_that_are_none(tmp_path):
    x = np.zeros((30, 2))
    y = np.arange(30) % 3
    bad = y.copy()
    bad[[4, 7]] = [-1, -2]
    problem = one(npz(tmp_path, x=x, y=bad), static=False)
    assert problem.code == "D207" and "rows 4, 7" in problem.notes[0]
    problem = one(npz(tmp_path, x=x, y=y, names=np.array(["a", "b"])), static=False)
    assert "out of range: class numbers here are 0..1" in problem.message
    assert "rows 2, 5" in problem.notes[0] and "more" not in problem.notes[0]
    assert one(npz(tmp_path, x=x, y=y), static=False, n_classes=2).code == "D207"
    assert "whole number" in one(npz(tmp_path, x=x, y=y + 0.5), static=False).message
    assert "100000" in one(npz(tmp_path, x=x, y=y * 50_000), static=False).message
    assert one(npz(tmp_path, x=x, y=np.eye(30)), static=False).code == "D207"
    assert one(npz(tmp_path, x=x, y=y * 0), static=False).code == "D220"
    assert one(npz(tmp_path, x=x, y=y[:9]), static=True).code == "D214"
    assert len(data_handle("train", npz(tmp_path, x=x, y=y), {"classes": 1}).load()) == 10
    missing = np.where(y == 0, np.nan, y)
    assert "10 samples have no label" in one(npz(tmp_path, x=x, y=missing), static=False).message
    problem = one(
        npz(tmp_path, x=x, y=np.array(["a", "b", "c"])[y], names=["a", "b"]), static=False
    )
    assert problem.code == "D207" and "`c`" in problem.message


def test_nan_rows_are_named_by_their_place_in_the_source(tmp_path):
    x = np.zeros((20, 2))
    x[[3, 11], 1] = [np.nan, np.inf]
    y = np.arange(20) % 2
    problem = one(npz(tmp_path, x=x, y=y), static=False)
    assert problem.code == "D208" and "rows 3, 11" in problem.notes[0]
    assert "rows 3, 11" in one(npz(tmp_path, x=x, y=y), static=False, classes="1").notes[0]
    x[:, 0] = np.nan
    assert "and 10 more" in one(npz(tmp_path, x=x, y=y), static=False).notes[0]
    ref = table(tmp_path, "a,b,label\n1,2,x\n3,,y\n5,NaN,x\n")
    assert "rows 1, 2" in one(ref, static=False).notes[0]
    huge = npz(tmp_path, x=np.full((2, 2), 1e300), y=[0, 1])
    assert one(huge, static=False).code == "D208"


def test_npz_truncated_or_something_else(tmp_path):
    ref = npz(tmp_path, x=np.zeros((100, 20)), y=np.arange(100) % 2)
    path = tmp_path / "d.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert one(ref, static=True).code == "D202"
    path.write_bytes(whole[:500] + b"\x01" + whole[501:])
    problem = one(ref, static=False)
    assert problem.code == "D202" and "`x`" in problem.notes[0]
    path.write_bytes(b"not a zip at all")
    assert one(ref, static=True).code == "D202"
    path.write_bytes(b"")
    assert one(ref, static=True).code == "D202"


def test_npz_pickles_are_refused_unopened(tmp_path):
    class Boom:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    ref = npz(tmp_path, x=np.array([Boom(), Boom()], dtype=object), y=[0, 1])
    assert one(ref, static=True).code == "D209"
    assert not (tmp_path / "ran").exists()
    ref = npz(tmp_path, x=np.eye(2), y=[0, 1], names=np.array(["a", "b"], dtype=object))
    assert one(ref, static=True).code == "D209"


def with_header(tmp_path: Path, header: bytes, body: bytes = b"") -> str:
    y = io.BytesIO()
    np.save(y, np.arange(2))
    with zipfile.ZipFile(tmp_path / "d.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        head = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        archive.writestr("x.npy", head + body)
        archive.writestr("y.npy", y.getvalue())
    return f"npz:{tmp_path}/d.npz"


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 99999999999999)}",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, -4)}",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': 'many'}",
        b"{'descr': '<f4'}",
        b"__import__('os').system('true')",
        b"(" * 5000,
        b"\xff\xfe",
    ],
)
def test_npz_headers_that_lie(tmp_path, header):
    assert one(with_header(tmp_path, header, b"\0" * 64), static=True).code == "D202"


def test_npz_bomb_is_seen_by_its_header(tmp_path):
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 8000000)}"
    ref = with_header(tmp_path, header, b"\0" * 16_000_000)
    assert (tmp_path / "d.npz").stat().st_size < 50_000
    problem = one(ref, static=True, memory="10MB")
    assert problem.code == "D210" and "16.0 MB" in problem.message
    assert len(data_handle("train", ref, {"memory": "100MB"}).load()) == 2


def test_npz_keys_and_forms(tmp_path):
    ref = npz(tmp_path, X=np.eye(2), y=[0, 1])
    problem = one(ref, static=True)
    assert problem.code == "D204" and problem.at == ("data", "train", "x_key")
    assert "`X`" in problem.notes[0]
    assert "labels: false" in one(npz(tmp_path, x=np.eye(2)), static=True).remedies[1]
    assert one(npz(tmp_path, x=np.zeros((0, 3)), y=[]), static=True).code == "D205"
    assert one(npz(tmp_path, x=np.zeros((2, 3, 4, 5, 6)), y=[0, 1]), static=True).code == "D213"
    assert one(npz(tmp_path, x=np.zeros(2), y=[0, 1]), static=True).code == "D213"
    normalised = np.random.default_rng(0).normal(size=(2, 4, 4, 3))
    assert (
        "before they were normalised"
        in one(npz(tmp_path, x=normalised, y=[0, 1]), static=False).remedies[0]
    )


def test_csv_columns(tmp_path):
    ref = table(tmp_path, "length,width,lable\n1,2,a\n2,3,b\n")
    problem = one(ref, static=True)
    assert problem.code == "D204" and problem.label == "did you mean `lable`?"
    found = problems(ref, static=True, label="lable", features="lenght,width,depth")
    assert [p.message for p in found] == [
        "there is no column `lenght`",
        "there is no column `depth`",
    ]
    assert "length" in found[0].label
    assert one(ref, static=True, label="lable", text="txt").code == "D204"
    assert one(table(tmp_path, "a,a,label\n1,2,3\n"), static=True).code == "D204"
    assert one(table(tmp_path, "a,label\nx,y\n"), static=False).code == "D204"


def test_csv_content(tmp_path):
    assert one(table(tmp_path, ""), static=True).code == "D205"
    assert one(table(tmp_path, "a,label\n"), static=False).code == "D205"
    assert one(table(tmp_path, "a,label\n1,x\n2\n"), static=False).code == "D202"
    ref = table(tmp_path, "a,b,label\n1,1,x\n2,1,y\noops,1,x\n4,1,y\n")
    problem = one(ref, static=False)
    assert problem.code == "D213" and "row 2" in problem.notes[0] and "oops" in problem.notes[0]
    assert "oops" in one(ref, static=False, features="a").notes[0]
    assert "rows 1" not in one(table(tmp_path, "a,label\n1,x\n2,\n"), static=False).notes[0]
    assert one(table(tmp_path, "a,label\n1,x\n2,\n"), static=False).code == "D207"
    (tmp_path / "t.csv").write_bytes("a,label\n1,ä\n".encode("latin-1"))
    assert one(f"csv:{tmp_path}/t.csv", static=True).code == "D202"
    ref = table(tmp_path, "a,label\n" + "1,x\n2,y\n" * 500)
    assert one(ref, static=False, memory="1kB").code == "D210"


def test_parquet_broken(tmp_path):
    path = tmp_path / "t.parquet"
    pa.parquet.write_table(pa.table({"a": [1.0, 2.0], "label": [0, 1]}), path)
    assert one(f"parquet:{path}", static=False, label="lable").code == "D204"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    assert one(f"parquet:{path}", static=True).code == "D202"
    path.write_bytes(whole[:4] + b"\xff" * (len(whole) - 8) + whole[-4:])
    assert one(f"parquet:{path}", static=False).code == "D202"
    pa.parquet.write_table(
        pa.table({"a": pa.array([0.0] * 10**6), "label": [0, 1] * 500_000}), path
    )
    assert path.stat().st_size < 10**6
    assert one(f"parquet:{path}", static=False, memory="2MB").code == "D210"


def test_parquet_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "t.parquet"
    pa.parquet.write_table(pa.table({"t": ["some text", "more"], "label": [0, 1]}), path)
    path.write_bytes(path.read_bytes().replace(b"some t", b"some \xff"))
    assert one(f"parquet:{path}", static=False, text="t").code == "D202"


def test_libraries(tmp_path):
    pytest.importorskip("datasets")
    problem = one("hf:nobody/nothing_of_that_name", static=False)
    assert problem.code == "D218" and "BEQUEATH_DOWNLOAD" in problem.remedies[0]
    (tmp_path / "empty").mkdir()
    assert one(f"hf:{tmp_path}/empty", static=False).code == "D202"
    assert one(f"hf:{tmp_path}/none", static=True).code == "D201"
    pytest.importorskip("torchvision")
    assert "CIFAR10" in one("torchvision:CIFAR01?split=train", static=False).label
    assert one(f"torchvision:CIFAR10?root={tmp_path}", static=False).code == "D215"
    ref = f"torchvision:CIFAR10?root={tmp_path}&split=train"
    assert one(ref, static=False).code == "D218"


def test_code_of_the_user(tmp_path):
    (tmp_path / "m.py").write_text(
        "def good(): return {'x': [[1.0], [2.0]], 'y': [0, 1]}\n"
        "def raises(): raise RuntimeError('no network')\n"
        "def nothing(): return {'z': 1}\n"
        "def number(): return 3\n"
        "def unlabelled(): return {'x': [[1.0], [2.0]]}\n"
    )
    assert "good" in one(f"py:{tmp_path}/m.py:goood", static=True).label
    assert "no network" in one(f"py:{tmp_path}/m.py:raises", static=False).notes[0]
    assert one(f"py:{tmp_path}/m.py:nothing", static=False).code == "D204"
    assert one(f"py:{tmp_path}/m.py:number", static=False).code == "D219"
    assert one(f"py:{tmp_path}/m.py:unlabelled", static=False).code == "D204"
    assert one(f"py:{tmp_path}/gone.py:x", static=True).code == "D201"
    assert one("py:no.such.module:x", static=False).code == "D219"
    assert one("py:nameless", static=True).code == "D219"
    (tmp_path / "bad.py").write_text("def (")
    assert one(f"py:{tmp_path}/bad.py:x", static=True).code == "D219"


def test_a_problem_reads_well(tmp_path):
    text = render(one(table(tmp_path, "a,lable\n1,x\n"), static=True))
    assert text.splitlines()[:2] == [
        "error[D204]: there is no column `label`",
        "  --> data.train.label",
    ]
    assert "did you mean `lable`?" in text


def test_wrong_references_and_settings():
    with pytest.raises(ValueError, match="no data scheme"):
        data_handle("train", "ftp:somewhere")
    with pytest.raises(ValueError, match="Extra inputs"):
        data_handle("train", "sklearn:wine?takes=3")
    with pytest.raises(ValueError, match="one character"):
        data_handle("train", "csv:a.csv", {"sep": "abc"})
