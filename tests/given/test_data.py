"""Every data scheme: what it knows before it is opened, what it opens, what it refuses."""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from bequeath.given.data import DataHandle, data_handle
from bequeath.given.data_schemes.sklearn import BUNDLED
from bequeath.given.samples import Samples


def handle(ref: str, **options) -> DataHandle:
    return data_handle("train", ref, options)


def opened(ref: str, **options) -> Samples:
    known = handle(ref, **options)
    assert known.static_problems() == []
    before, samples = known.facts, known.load()
    after = known.facts
    for name in ("kind", "n", "shape", "classes", "n_classes"):
        told = getattr(before, name)
        assert told is None or told == getattr(after, name), name
    assert after.hash == samples.hash and after.n == len(samples)
    return samples


def everything(samples: Samples) -> dict:
    return samples.fetch(torch.arange(len(samples)))


def write_image(path: Path, colour, size=(8, 6), mode="RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, red in (("Äpfel 🍎", 250), ("pears", 10)):
        for i in range(4):
            write_image(tmp_path / "photos" / name / f"{i}.png", (red, i, 0))
    return tmp_path / "photos"


# --- scikit-learn ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_bundled_facts_are_those_of_the_installed_library(name):
    samples = opened(f"sklearn:{name}")
    width, classes, counts = BUNDLED[name]
    assert samples.shape == (width,) and samples.classes == classes
    assert tuple(torch.bincount(samples.y).tolist()) == counts


def test_digits_as_images():
    samples = opened("sklearn:digits?as=image")
    batch = everything(samples)
    assert batch["x"].shape == (1797, 8, 8, 1) and batch["x"].dtype == torch.uint8
    assert (batch["x"].min(), batch["x"].max()) == (0, 255)


def test_splits_part_the_data_and_keep_classes_in_balance():
    parts = [opened("sklearn:wine", split=s, val_size=0.2) for s in ("train", "val", "test")]
    rows = [tuple(row) for part in parts for row in everything(part)["x"].tolist()]
    whole = [tuple(row) for row in everything(opened("sklearn:wine"))["x"].tolist()]
    assert sorted(rows) == sorted(whole)
    assert [len(part) for part in parts] == [89, 36, 53]
    for part in parts:
        share = torch.bincount(part.y).float() / len(part)
        assert (share - torch.tensor([59, 71, 48]) / 178).abs().max() < 0.02
    other = opened("sklearn:wine", split="test", val_size=0.2, split_seed=1)
    assert other.hash != parts[2].hash


def test_take_is_balanced_nested_and_repeatable():
    small, large = (opened("sklearn:digits", take=n) for n in (50, 100))
    assert torch.bincount(small.y).tolist() == [5] * 10
    rows = {tuple(row) for row in everything(large)["x"].tolist()}
    assert {tuple(row) for row in everything(small)["x"].tolist()} <= rows
    assert opened("sklearn:digits", take=50).hash == small.hash


def test_samples_of_some_classes_keep_their_numbers():
    whole, some = opened("sklearn:digits"), opened("sklearn:digits?only=7,2-3")
    assert some.classes == whole.classes and set(some.y.tolist()) == {2, 3, 7}
    assert len(some) == sum(int((whole.y == c).sum()) for c in (2, 3, 7))
    half = handle("sklearn:digits?only=7,2-3&split=train")
    assert half.facts.n == len(half.load()) and half.facts.classes == whole.classes
    (problem,) = handle("sklearn:digits?only=12").static_problems()
    assert (problem.code, problem.at[-1]) == ("D211", "only")


def test_choosing_classes_renumbers_in_the_order_written():
    some = opened("sklearn:digits?classes=7,2-3")
    assert some.classes == ("7", "2", "3")
    assert torch.bincount(some.y).tolist() == [179, 177, 183]
    assert opened("sklearn:iris", classes=["virginica", "setosa"]).classes == (
        "virginica",
        "setosa",
    )
    assert opened("sklearn:iris", classes="1-2").classes == ("versicolor", "virginica")


def test_labels_can_be_hidden_and_still_steer_the_split():
    bare = opened("sklearn:iris", labels=False, split="test")
    assert bare.y is None and "y" not in everything(bare) and len(bare) == 45


def test_facts_need_no_torch_and_no_numpy(photos, tmp_path):
    import subprocess

    np.savez(tmp_path / "a.npz", x=np.zeros((4, 3), np.float32), y=np.arange(4))
    (tmp_path / "a.csv").write_text("a,b,label\n1,2,x\n")
    refs = ["sklearn:digits", f"folder:{photos}", f"npz:{tmp_path}/a.npz", f"csv:{tmp_path}/a.csv"]
    refs += ["torchvision:CIFAR10?split=train", "hf:someone/something", "py:a:b"]
    code = (
        "import sys\nfrom bequeath.given.data import data_handle\n"
        f"for ref in {refs!r}:\n    h = data_handle('train', ref); h.facts\n"
        "    assert not h.static_problems(), h.static_problems()\n"
        "heavy = {'torch', 'numpy', 'PIL', 'pyarrow', 'sklearn', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- folder ---------------------------------------------------------------------------------


def test_folder(photos):
    assert handle(f"folder:{photos}").facts.n == 8
    samples = opened(f"folder:{photos}")
    assert samples.classes == ("pears", "Äpfel 🍎") and samples.shape == (6, 8, 3)
    batch = samples.fetch(torch.tensor([5, 0]))
    assert batch["x"][:, 0, 0].tolist() == [[250, 1, 0], [10, 0, 0]]
    assert batch["y"].tolist() == [1, 0] and batch["idx"].tolist() == [5, 0]


def test_folder_too_large_for_memory_is_decoded_as_needed(photos):
    held, lazy = opened(f"folder:{photos}"), opened(f"folder:{photos}", memory="1kB")
    assert (held.lazy, lazy.lazy) == (False, True)
    idx = torch.tensor([7, 0, 3, 7])
    a, b = held.fetch(idx), lazy.fetch(idx)
    assert all(torch.equal(a[key], b[key]) for key in ("idx", "x", "y"))
    assert lazy.hash == held.hash


def test_folder_hash_is_of_the_content_not_of_dates_or_place(photos, tmp_path):
    import shutil

    before = opened(f"folder:{photos}").hash
    moved = Path(shutil.copytree(photos, tmp_path / "elsewhere"))
    assert opened(f"folder:{moved}").hash == before
    write_image(moved / "pears" / "0.png", (11, 0, 0))
    assert opened(f"folder:{moved}").hash != before


def test_folder_splits_hidden_files_and_depth(tmp_path):
    for split, n in (("train", 3), ("valid", 2)):
        for name in "ab":
            for i in range(n):
                write_image(tmp_path / split / name / "deep" / f"{i}.jpg", (i, 0, 0))
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "a" / ".hidden.jpg").write_bytes(b"no image")
    (tmp_path / "train" / "a" / "notes.txt").write_text("no image")
    assert len(opened(f"folder:{tmp_path}", split="train")) == 6
    assert len(opened(f"folder:{tmp_path}", split="val")) == 4


def test_folder_sizes_grey_and_camera_rotation(tmp_path):
    write_image(tmp_path / "a" / "0.png", 200, (20, 10), "L")
    turned = Image.new("L", (30, 12), 7)
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "b").mkdir()
    turned.save(tmp_path / "b" / "0.jpg", exif=exif)
    Image.fromarray(np.full((12, 30), 40_000, np.uint16)).save(tmp_path / "b" / "1.png")
    samples = opened(f"folder:{tmp_path}", size=5)
    x = everything(samples)["x"]
    assert samples.shape == (5, 5, 1) and x.float().mean((1, 2, 3)).tolist() == [200, 7, 156]
    assert opened(f"folder:{tmp_path}", size=5, channels="rgb").shape == (5, 5, 3)
    (tmp_path / "b" / "1.png").unlink()
    write_image(tmp_path / "a" / "0.png", 200, (12, 30), "L")
    assert opened(f"folder:{tmp_path}").shape == (30, 12, 1)


def test_folder_without_labels(tmp_path):
    for i in range(3):
        write_image(tmp_path / "pile" / f"{i}.png", (i, 0, 0))
    samples = opened(f"folder:{tmp_path}/pile", labels=False)
    assert len(samples) == 3 and samples.y is None
    assert len(opened(f"folder:{tmp_path}/pile", labels=False, split="test")) == 1


# --- tables ---------------------------------------------------------------------------------


def test_csv_numbers(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a;note;label;b\n1;x;cat;2.5\n3;y;dog;4\n5;z;cat;6\n", encoding="utf-8-sig")
    samples = opened(f"csv:{path}", sep=";")
    batch = everything(samples)
    assert batch["x"].tolist() == [[1, 2.5], [3, 4], [5, 6]] and batch["x"].dtype == torch.float32
    assert samples.classes == ("cat", "dog") and batch["y"].tolist() == [0, 1, 0]
    one = opened(f"csv:{path}", sep=";", features="b,a")
    assert (
        everything(one)["x"][1].tolist() == [4, 3] and handle(f"csv:{path}?sep=;").facts.n is None
    )


def test_csv_text_with_commas_line_breaks_and_na(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('text,class\n"Grüße, Welt\nzweite Zeile",1\nNA,0\n"sag ""ja""",1\n', "utf-8")
    batch = everything(opened(f"csv:{path}", text="text"))
    assert batch["text"] == ["Grüße, Welt\nzweite Zeile", "NA", 'sag "ja"']
    assert batch["y"].tolist() == [1, 0, 1]


def test_parquet_is_as_csv(tmp_path):
    table = pa.table({"a": [1.0, 2.0, 3.0], "label": [0, 1, 1], "s": ["x", "y", "z"]})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    assert everything(opened(f"parquet:{tmp_path}/t.parquet"))["x"].tolist() == [[1], [2], [3]]
    assert everything(opened(f"parquet:{tmp_path}/t.parquet?text=s"))["text"] == ["x", "y", "z"]
    lists = pa.table({"v": [[1.0, 2.0], [3.0, 4.0]], "y": [True, False]})
    pa.parquet.write_table(lists, tmp_path / "l.parquet")
    batch = everything(opened(f"parquet:{tmp_path}/l.parquet", features="v"))
    assert batch["x"].tolist() == [[1, 2], [3, 4]] and batch["y"].tolist() == [1, 0]


# --- npz ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "kind", "shape"),
    [
        (np.zeros((4, 5), np.float64), "vector", (5,)),
        (np.zeros((4, 5), np.uint8), "vector", (5,)),
        (np.zeros((4, 6, 5), np.uint8), "image", (6, 5, 1)),
        (np.zeros((4, 6, 5, 3), np.uint8), "image", (6, 5, 3)),
        (np.zeros((4, 3, 6, 5), np.uint8), "image", (6, 5, 3)),
        (np.array(["a", "bb", "ü", ""]), "text", None),
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_forms(tmp_path, x, kind, shape, save):
    save(tmp_path / "d.npz", x=x, y=np.array([0, 1, 0, 1], np.uint8))
    facts = handle(f"npz:{tmp_path}/d.npz").facts
    assert (facts.kind, facts.n) == (kind, 4)
    samples = opened(f"npz:{tmp_path}/d.npz")
    assert (samples.shape or None) == shape and samples.y.tolist() == [0, 1, 0, 1]


def test_npz_names_splits_and_float_pixels(tmp_path):
    x = np.linspace(0, 1, 4 * 4 * 4).reshape(4, 4, 4)
    names = np.array(["Katze", "chien", "鳥"])
    np.savez(tmp_path / "d.npz", x_train=x, y_train=[2, 0, 2, 0], x_test=x[:2], y_test=[1, 1],
             names=names)  # fmt: skip
    assert handle(f"npz:{tmp_path}/d.npz?split=train").facts.classes == tuple(names.tolist())
    train, test = (opened(f"npz:{tmp_path}/d.npz", split=s) for s in ("train", "test"))
    assert (len(train), len(test)) == (4, 2) and test.classes == ("Katze", "chien", "鳥")
    assert everything(train)["x"].flatten()[[0, -1]].tolist() == [0, 255]


def test_npz_keys(tmp_path):
    np.savez(tmp_path / "d.npz", data=np.eye(3), target=[0.0, 1.0, 1.0])
    samples = opened(f"npz:{tmp_path}/d.npz", x_key="data", y_key="target", n_classes=5)
    assert samples.y.dtype == torch.int64 and len(samples.classes) == 5


# --- libraries and code ---------------------------------------------------------------------


def test_hf_folder(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    pictures = [Image.new("RGB", (4, 4), (i, 0, 0)) for i in range(4)]
    table = datasets.Dataset.from_dict({"image": pictures, "label": [1, 0, 1, 0]}, features)
    datasets.DatasetDict({"train": table, "validation": table.select([0, 1])}).save_to_disk(
        str(tmp_path / "d")
    )
    train = opened(f"hf:{tmp_path}/d", split="train")
    assert train.classes == ("no", "yes") and everything(train)["x"][:, 0, 0, 0].tolist() == [
        0,
        1,
        2,
        3,
    ]
    assert len(opened(f"hf:{tmp_path}/d", split="val")) == 2
    texts = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": ["x", "y", "x"]})
    texts.save_to_disk(str(tmp_path / "t"))
    words = opened(f"hf:{tmp_path}/t")
    assert everything(words)["text"] == ["a", "b", "c"] and words.classes == ("x", "y")


def test_torchvision(tmp_path):
    pytest.importorskip("torchvision")
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    x = np.arange(5 * 28 * 28, dtype=np.uint8).reshape(5, 28, 28)
    y = np.array([3, 1, 4, 1, 5], np.uint8)
    for part in ("train", "t10k"):
        images = struct.pack(">IIII", 0x803, 5, 28, 28) + x.tobytes()
        labels = struct.pack(">II", 0x801, 5) + y.tobytes()
        files = {f"{part}-images-idx3-ubyte": images, f"{part}-labels-idx1-ubyte": labels}
        for name, data in files.items():
            (raw / name).write_bytes(data)
            (raw / f"{name}.gz").write_bytes(gzip.compress(data))
    samples = opened("torchvision:MNIST", root=str(tmp_path), split="train")
    assert samples.shape == (28, 28, 1) and samples.y.tolist() == y.tolist()
    assert len(samples.classes) == 10


def test_py_arrays_and_data_sets(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "def arrays(split='train'):\n"
        "    n = 4 if split == 'train' else 2\n"
        "    return {'x': np.eye(n, 3), 'y': [0, 1] * (n // 2), 'classes': ['a', 'b']}\n"
        "class Pairs:\n"
        "    def __len__(self): return 3\n"
        "    def __getitem__(self, i): return np.full((3, 4, 4), i, np.uint8), i\n"
    )
    assert opened(f"py:{tmp_path}/mine.py:arrays").classes == ("a", "b")
    assert len(opened(f"py:{tmp_path}/mine.py:arrays", split="test")) == 2
    pairs = opened(f"py:{tmp_path}/mine.py:Pairs")
    assert pairs.shape == (4, 4, 3) and everything(pairs)["x"][:, 0, 0, 0].tolist() == [0, 1, 2]
