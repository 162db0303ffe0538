"""Every scheme: fresh by seed, saved, opened again with equal logits, opened by its own library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from samples_for_models import Rows, images, vectors

from bequeath.given.bound import hash_tensors
from bequeath.given.models import load_model, model_handle
from bequeath.kernel.errors import JobError

SMALL = {"preprocess": {"size": 32}}
CASES = [
    ("zoo:resnet8", {}, images()),
    ("zoo:resnet20", {}, images(channels=1)),
    ("zoo:wrn-16-2", {"dropout": 0.3}, images()),
    ("zoo:lenet", {}, images(side=9, channels=1)),
    ("zoo:mlp?hidden=16,8", {}, vectors()),
    ("zoo:mlp", {"hidden": [4]}, images(side=6)),
    ("timm:resnet10t", SMALL, images()),
    ("timm:resnet10t?in_chans=1", SMALL, images()),
    ("timm:vit_tiny_patch16_224", SMALL, images()),
    ("torchvision:squeezenet1_1", {"preprocess": {"size": 64}}, images(channels=1)),
]


def needs_library(ref: str) -> None:
    if ref.split(":")[0] in ("timm", "torchvision"):
        pytest.importorskip(ref.split(":")[0])
    if ref.startswith("hf:"):
        pytest.importorskip("transformers")


@pytest.mark.parametrize(("ref", "options", "data"), CASES, ids=[case[0] for case in CASES])
def test_saved_and_opened_again(ref, options, data, tmp_path):
    needs_library(ref)
    handle = model_handle("student", ref, options)
    before = torch.get_rng_state()
    model = handle.load(data=data, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    logits = model(data.batch())
    assert logits.shape == (4, len(data.classes))
    model.save(tmp_path / "out")
    again = load_model(tmp_path / "out")
    assert torch.equal(again(data.batch()), logits)
    assert again.preprocess == model.preprocess
    assert again.preprocess.digest() == model.preprocess.digest()
    assert again.facts.hash == model.facts.hash == hash_tensors(model.module)
    assert again.source.classes == data.classes
    static = model_handle("teacher", f"file:{tmp_path / 'out'}").facts
    assert (static.n_classes, static.head) == (len(data.classes), model.facts.head)
    assert not list(tmp_path.glob(".*"))


def test_fresh_weights_are_a_function_of_the_seed_alone():
    handle, data = model_handle("student", "zoo:resnet8"), images()
    first = handle.load(data=data, seed=1).facts.hash
    torch.rand(5)
    assert handle.load(data=data, seed=1).facts.hash == first
    assert handle.load(data=data, seed=2).facts.hash != first


@pytest.mark.parametrize("name", ["zoo:resnet8", "zoo:lenet", "zoo:mlp"])
def test_zoo_model_opens_with_torch_alone(name, tmp_path):
    data = images()
    model = model_handle("m", name).load(data=data, seed=0)
    model.save(tmp_path / "out")
    inputs = model.preprocess(data.batch(), torch.device("cpu"))
    save_file({"x": inputs.contiguous()}, tmp_path / "x.safetensors")
    record = json.loads((tmp_path / "out" / "bequeath.json").read_text())
    code = (
        "import sys\nclass Refuse:\n"
        "    def find_spec(self, name, *rest):\n"
        "        assert not name.startswith('bequeath'), name\n"
        "sys.meta_path.insert(0, Refuse())\n"
        f"{record['load']}"
        "from safetensors.torch import save_file\n"
        "x = load_file('../x.safetensors')['x']\n"
        "save_file({'y': model(x).detach()}, '../y.safetensors')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "out", check=True)
    told = load_file(tmp_path / "y.safetensors")["y"]
    torch.testing.assert_close(told, model(data.batch()).detach(), rtol=1e-5, atol=1e-5)


def test_timm_model_opens_with_plain_timm(tmp_path):
    timm = pytest.importorskip("timm")
    data = images(side=40)
    options = {"preprocess": {"size": 32, "mean": [0.1, 0.2, 0.3]}}
    model = model_handle("m", "timm:resnet10t", options).load(data=data, seed=0)
    model.save(tmp_path / "out")
    plain = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    inputs = model.preprocess(data.batch(), torch.device("cpu"))
    assert torch.equal(plain(inputs), model(data.batch()))
    config = timm.data.resolve_data_config(model=plain)
    assert tuple(config["mean"]) == (0.1, 0.2, 0.3)
    assert tuple(config["input_size"]) == (3, 32, 32)


def test_torchvision_model_opens_with_plain_torchvision(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    data = images(side=64)
    model = model_handle("m", "torchvision:squeezenet1_1").load(data=data, seed=0)
    model.save(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    plain = torchvision.models.get_model(config["model"], num_classes=config["num_classes"]).eval()
    plain.load_state_dict(load_file(tmp_path / "out" / "model.safetensors"))
    inputs = model.preprocess(data.batch(), torch.device("cpu"))
    assert inputs.shape == (4, 3, 224, 224)
    assert torch.equal(plain(inputs), model(data.batch()))


def tiny_bert(folder: Path) -> Path:
    """A config and a tokenizer, no weights."""
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "a", "the"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=16,
    ).save_pretrained(folder)
    return folder


def texts() -> Rows:
    return Rows("text", ["good film", "a bad film", "the film", "good", "bad"], 3)


def test_transformers_text_model(tmp_path):
    transformers = pytest.importorskip("transformers")
    folder = tiny_bert(tmp_path / "bert")
    data = texts()
    model = model_handle("m", f"hf:{folder}?pretrained=false").load(data=data, seed=0)
    assert model.facts.kind == "text" and model.facts.head == "classifier"
    logits = model(data.batch(5))
    assert logits.shape == (5, 3)
    alone = model({"idx": torch.tensor([1]), "text": ["a bad film"]})
    torch.testing.assert_close(alone[0], logits[1], rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "out")
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")(
        data.values, padding=True, return_tensors="pt"
    )
    assert torch.equal(plain(**tokens).logits, logits)
    assert plain.config.id2label[1] == "class 1"
    for ref in (f"file:{tmp_path / 'out'}", f"hf:{tmp_path / 'out'}"):
        handle = model_handle("m", ref)
        assert handle.facts.n_classes == 3
        assert torch.equal(handle.load()(data.batch(5)), logits)
    assert str(tmp_path) not in (tmp_path / "out" / "bequeath.json").read_text()


def test_transformers_weights_that_are_not_whole(tmp_path):
    transformers = pytest.importorskip("transformers")
    folder, data = tiny_bert(tmp_path / "bert"), texts()
    encoder = transformers.BertModel(transformers.BertConfig.from_pretrained(folder))
    encoder.save_pretrained(folder)
    handle = model_handle("m", f"hf:{folder}")
    assert handle.facts.n_classes is None
    model = handle.load(data=data, seed=0)  # an encoder has no classifier yet: a fresh one
    mine = model.module.bert.embeddings.word_embeddings.weight
    assert torch.equal(mine, encoder.embeddings.word_embeddings.weight)
    assert handle.load(data=data, seed=0).facts.hash == model.facts.hash
    path = folder / "model.safetensors"
    state = load_file(path)
    del state["encoder.layer.0.output.dense.weight"]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(JobError, match=r"M306(.|\n)*encoder.layer.0.output.dense.weight"):
        model_handle("m", f"hf:{folder}").load(data=data)
    path.write_bytes(path.read_bytes()[:-10])
    (problem,) = model_handle("m", f"hf:{folder}").static_problems()
    assert problem.code == "M302"


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    model = model_handle("m", "zoo:resnet8").load(n_classes=3)
    with pytest.raises(FileExistsError):
        model.save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    model.save(tmp_path / "out")
    model.save(tmp_path / "out")
    assert load_model(tmp_path / "out").facts.hash == model.facts.hash


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch):
    model = model_handle("m", "zoo:resnet8").load(n_classes=3)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bequeath.given.bound.save_tensors", full)
    with pytest.raises(OSError, match="No space left"):
        model.save(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [8, 12])
def test_transformers_image_model(size, tmp_path):
    transformers = pytest.importorskip("transformers")
    transformers.ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=8,
        patch_size=4,
    ).save_pretrained(tmp_path / "vit")
    data = images(side=size)
    ref = f"hf:{tmp_path / 'vit'}?pretrained=false&task=image"
    model = model_handle("m", ref).load(data=data, seed=0)
    logits = model(data.batch())
    model.save(tmp_path / "out")
    plain = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "out")
    inputs = processor(list(data.batch()["x"].numpy()), return_tensors="pt")
    torch.testing.assert_close(plain(**inputs).logits, logits, rtol=1e-2, atol=1e-2)
    assert torch.equal(load_model(tmp_path / "out")(data.batch()), logits)
    wide = model_handle("m", f"hf:{tmp_path / 'out'}", {"classes": 9})
    assert wide.load(data=images(side=size, classes=9), seed=0)(data.batch()).shape == (4, 9)
    with pytest.raises(JobError, match="5 outputs, 9 classes are wanted"):
        model_handle("m", f"hf:{tmp_path / 'out'}").load(data=images(side=size, classes=9))


CODE = """
from torch import nn

def build(n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(7, n_classes))

def narrow(n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(7, 2))

def nothing(n_classes):
    return None
"""


def test_model_from_code(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    data = vectors()
    ref = f"py:{tmp_path / 'mine.py'}:build"
    model = model_handle("m", ref).load(data=data, seed=0)
    assert model.facts.head == "1"
    model.save(tmp_path / "out")
    with pytest.raises(JobError, match="code of its own") as caught:
        load_model(tmp_path / "out")
    assert "architecture.py:build" in caught.value.problems[0].remedies[0]
    again = load_model(tmp_path / "out", allow_code=True)
    assert torch.equal(again(data.batch()), model(data.batch()))
    weights = {"weights": str(tmp_path / "out" / "model.safetensors")}
    other = model_handle("m", ref, weights).load(data=data, seed=9)
    assert other.facts.hash == model.facts.hash
    for name, said in (("narrow", "2 outputs, 3 classes"), ("nothing", "not a torch.nn.Module")):
        with pytest.raises(JobError, match=said):
            model_handle("m", f"py:{tmp_path / 'mine.py'}:{name}").examine(model_facts_of(data))


def model_facts_of(data):
    from bequeath.given.build import data_facts

    return data_facts(data)
