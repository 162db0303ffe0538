"""Whatever can be wrong with a model: a located error before weights load, naming what is wrong."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from samples_for_models import images, vectors

from bequeath.given.build import data_facts
from bequeath.given.facts import DataFacts, safetensors_header
from bequeath.given.models import load_model, model_handle
from bequeath.given.zoo.cifar_resnet import build
from bequeath.kernel.errors import JobError, Problem


def problem_of(act) -> Problem:
    with pytest.raises(JobError) as caught:
        act()
    assert len(caught.value.problems) == 1, caught.value
    return caught.value.problems[0]


def static(ref: str, options: dict | None = None) -> Problem:
    (problem,) = model_handle("teacher", ref, options).static_problems()
    return problem


@pytest.fixture
def weights(tmp_path) -> Path:
    path = tmp_path / "weights.safetensors"
    state = {f"module._orig_mod.{n}": t for n, t in build("resnet8", 10).state_dict().items()}
    save_file(state, path)
    return path


ARCH = {"arch": "zoo:resnet8"}
CIFAR = DataFacts(kind="image", shape=(32, 32, 3), n_classes=10)


def test_bare_weights_with_prefixes_load_strictly(weights):
    handle = model_handle("teacher", f"file:{weights}", ARCH)
    assert handle.facts.n_classes == 10
    assert handle.facts.tensors["conv1.weight"].shape == (16, 3, 3, 3)
    facts = handle.examine(CIFAR)
    model = handle.load(n_classes=10)
    assert facts.hash == model.facts.hash
    assert facts.parameters == sum(p.numel() for p in model.module.parameters())


def test_missing_file_names_its_neighbour(weights):
    problem = static(f"file:{weights.parent / 'weigths.safetensors'}", ARCH)
    assert (problem.code, problem.at) == ("M301", ("ref",))
    assert "weights.safetensors" in problem.label
    assert static("zoo:resnet8", {"weights": "nowhere.pt"}).at == ("weights",)


def test_weights_without_architecture(weights):
    assert static(f"file:{weights}").code == "M305"


def test_arch_may_not_be_code(weights):
    problem = static(f"file:{weights}", {"arch": "py:./x.py:build"})
    assert (problem.code, problem.at) == ("M312", ("arch",))
    problem = static(f"file:{weights}", {"arch": "zoo:resnet9"})
    assert (problem.code, problem.at) == ("M307", ("arch",))
    assert "resnet8" in problem.label


@pytest.mark.parametrize("keep", [0, 5, 8, 100, 3000, -1])
def test_truncated_safetensors(weights, keep):
    whole = weights.read_bytes()
    weights.write_bytes(whole[:keep])
    problem = static(f"file:{weights}", ARCH)
    assert (problem.code, problem.at) == ("M302", ("ref",))
    assert weights.name in problem.message


@settings(max_examples=150, deadline=None)
@given(drawn=st.data())
def test_damaged_headers_never_crash(drawn, tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / "w.safetensors"
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(4)}, path)
    raw = bytearray(path.read_bytes())
    for _ in range(drawn.draw(st.integers(1, 4))):
        raw[drawn.draw(st.integers(0, len(raw) - 1))] = drawn.draw(st.integers(0, 255))
    path.write_bytes(raw[: drawn.draw(st.integers(0, len(raw)))])
    try:
        tensors = safetensors_header(path)
    except JobError as error:
        assert error.problems[0].code == "M302"
    else:
        assert tensors


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 2**50]},
        {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]},
        {"shape": "x"},
        [],
    ],
)
def test_lying_header(entry, tmp_path):
    header = json.dumps({"a": entry}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)
    assert static(f"file:{path}", ARCH).code == "M302"


class Bomb:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("legacy", [False, True])
def test_pickle_with_code_is_refused(tmp_path, legacy):
    path, mark = tmp_path / "w.pt", tmp_path / "ran"
    if legacy:
        path.write_bytes(pickle.dumps({"a": Bomb(mark)}))
    else:
        torch.save({"a": Bomb(mark)}, path)
    handle = model_handle("teacher", f"file:{path}", ARCH)
    assert handle.static_problems() == []
    problem = problem_of(lambda: handle.examine(CIFAR))
    assert (problem.code, problem.at) == ("M303", ("ref",))
    assert "w.safetensors" in problem.remedies[0]
    assert not mark.exists()


def test_truncated_torch_file(tmp_path):
    path = tmp_path / "w.pt"
    torch.save(build("resnet8", 10).state_dict(), path)
    path.write_bytes(path.read_bytes()[:-400])
    assert static(f"file:{path}", ARCH).code == "M302"
    path.write_bytes(b"just some text, long enough")
    assert static(f"file:{path}", ARCH).code == "M304"
    torch.save({"epoch": 3}, path)
    handle = model_handle("teacher", f"file:{path}", ARCH)
    assert problem_of(lambda: handle.examine(CIFAR)).code == "M304"


def test_checkpoint_with_the_state_inside(tmp_path):
    path, module = tmp_path / "w.pt", build("resnet8", 10)
    torch.save({"epoch": 3, "state_dict": module.state_dict(), "best": 0.5}, path)
    loaded = model_handle("teacher", f"file:{path}", ARCH).load(n_classes=10)
    assert torch.equal(loaded.module.linear.weight, module.linear.weight)


def test_architecture_and_weights_differ(weights):
    handle = model_handle("teacher", f"file:{weights}", {"arch": "zoo:resnet20"})
    problem = problem_of(lambda: handle.examine(CIFAR))
    assert problem.code == "M306"
    assert any("`layer1.1.conv1.weight` [16, 16, 3, 3]" in note for note in problem.notes)
    handle = model_handle("teacher", f"file:{weights}", {"arch": "zoo:wrn-16-2"})
    notes = "\n".join(problem_of(lambda: handle.examine(CIFAR)).notes)
    assert "not in the architecture: `bn1.weight` [16]" in notes
    grey = DataFacts(kind="image", shape=(32, 32, 1), n_classes=10)
    handle = model_handle("teacher", f"file:{weights}", ARCH)
    notes = problem_of(lambda: handle.examine(grey)).notes
    said = "another shape: `conv1.weight` is [16, 3, 3, 3] in the file, [16, 1, 3, 3] in"
    assert any(said in note for note in notes)


def test_class_counts_differ(weights):
    handle = model_handle("teacher", f"file:{weights}", ARCH)
    data = DataFacts(kind="image", shape=(32, 32, 3), n_classes=7)
    problem = problem_of(lambda: handle.examine(data))
    assert (problem.code, problem.at) == ("G404", ("ref",))
    assert "10 outputs, 7 classes" in problem.message
    assert "classes: 7" in problem.remedies[0]
    fresh = model_handle("teacher", f"file:{weights}", {**ARCH, "classes": 7})
    model = fresh.load(data=images(side=32, classes=7), seed=0)
    assert model(images().batch()).shape == (4, 7)
    trained = handle.load(n_classes=10).module
    assert torch.equal(model.module.layer3[0].conv1.weight, trained.layer3[0].conv1.weight)
    assert problem_of(lambda: handle.load(n_classes=7)).code == "G404"


def test_wrong_head_names_near_paths():
    handle = model_handle("m", "zoo:resnet8", {"head": "linaer"})
    problem = problem_of(lambda: handle.examine(CIFAR))
    assert (problem.code, problem.at) == ("M310", ("head",))
    assert "`linear`" in problem.label and "layer1" in problem.notes[0]


def test_weights_with_nan(weights):
    state = build("resnet8", 10).state_dict()
    state["layer1.0.conv1.weight"][0] = float("nan")
    save_file(state, weights)
    handle = model_handle("teacher", f"file:{weights}", ARCH)
    problem = problem_of(lambda: handle.load(n_classes=10))
    assert problem.code == "M314" and "layer1.0.conv1.weight" in problem.message


def test_kinds_and_shapes_that_do_not_fit():
    vector = data_facts(vectors())
    assert problem_of(lambda: model_handle("m", "timm:resnet10t").examine(vector)).code == "G408"
    tiny = DataFacts(kind="image", shape=(6, 6, 1), n_classes=3)
    problem = problem_of(lambda: model_handle("m", "zoo:lenet").examine(tiny))
    assert problem.code == "M312" and "8x8" in problem.notes[0]
    wrong = model_handle("m", "zoo:lenet", {"preprocess": {"mean": [0.1, 0.2], "std": [1, 1]}})
    assert problem_of(lambda: wrong.examine(CIFAR)).at == ("preprocess",)
    assert problem_of(lambda: model_handle("m", "zoo:mlp").examine(DataFacts())).code == "M312"
    assert problem_of(lambda: model_handle("m", "zoo:resnet8").load()).code == "M312"


def test_names_that_are_not_there():
    pytest.importorskip("timm")
    problem = problem_of(lambda: model_handle("m", "timm:resnet10tt").examine(CIFAR))
    assert problem.code == "M307" and "resnet10t" in problem.label
    problem = problem_of(lambda: model_handle("m", "torchvision:resnet19").examine(CIFAR))
    assert problem.code == "M307" and "resnet18" in problem.label
    assert static("zoo:resnet21").code == "M307"
    assert problem_of(lambda: model_handle("m", "zo:resnet8")).code == "M300"
    assert problem_of(lambda: model_handle("m", "resnet8")).code == "M300"
    assert problem_of(lambda: model_handle("m", "zoo:mlp?hiden=3")).at == ("hiden",)
    assert static("zoo:resnet8?hidden=3").at == ("hidden",)


def test_trained_weights_that_would_be_downloaded(monkeypatch, tmp_path):
    pytest.importorskip("timm")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("BEQUEATH_DOWNLOAD", raising=False)
    for ref in ("timm:resnet10t", "torchvision:resnet18"):
        handle = model_handle("m", ref, {"pretrained": True})
        problem = problem_of(lambda handle=handle: handle.examine(CIFAR))
        assert (problem.code, problem.at) == ("M309", ("pretrained",)), problem
    pytest.importorskip("transformers")
    problem = static("hf:nobody/has-this-model")
    assert (problem.code, problem.at) == ("M309", ("ref",))
    assert static("hf:./no/such/folder").code == "M301"


def test_library_weights_on_this_machine_are_used(monkeypatch, tmp_path):
    """A file where torchvision keeps its downloads stands for the download."""
    torchvision = pytest.importorskip("torchvision")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    there = torchvision.models.SqueezeNet1_1_Weights.DEFAULT
    path = tmp_path / "hub" / "checkpoints" / Path(there.url).name
    path.parent.mkdir(parents=True)
    module = torchvision.models.squeezenet1_1()
    torch.save(module.state_dict(), path)
    handle = model_handle("m", "torchvision:squeezenet1_1?pretrained=true")
    model = handle.load()
    assert torch.equal(model.module.classifier[1].weight, module.classifier[1].weight)
    assert model.facts.n_classes == 1000 and model.preprocess.crop == 224 / 256
    small = model_handle("m", "torchvision:squeezenet1_1?pretrained=true&classes=5")
    assert small.load(data=images())(images().batch()).shape == (4, 5)


def test_code_is_read_but_not_run(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef build(n): ...\n")
    assert model_handle("m", f"py:{path}:build").static_problems() == []
    problem = static(f"py:{path}:biuld")
    assert problem.code == "M311" and "`build`" in problem.label
    assert static(f"py:{tmp_path / 'other.py'}:build").code == "M301"
    assert static("py:build").code == "M311"
    assert not (tmp_path / "ran").exists()
    path.write_text("def build(:\n")
    assert "not Python" in static(f"py:{path}:build").message
    path.write_text("import not_a_module_anywhere\ndef build(n): ...\n")
    problem = problem_of(lambda: model_handle("m", f"py:{path}:build").examine(CIFAR))
    assert "not_a_module_anywhere" in problem.notes[0]


def test_folders_that_are_no_model(tmp_path):
    assert static(f"file:{tmp_path}").code == "M313"
    (tmp_path / "bequeath.json").write_text("{")
    assert static(f"file:{tmp_path}").code == "M313"
    (tmp_path / "bequeath.json").write_text('{"scheme": "zoo"}')
    assert problem_of(lambda: load_model(tmp_path)).code == "M313"
    model_handle("m", "zoo:resnet8").load(n_classes=4).save(tmp_path / "out")
    (tmp_path / "out" / "model.safetensors").unlink()
    assert problem_of(lambda: load_model(tmp_path / "out")).code == "M301"


def test_making_handles_does_not_import_torch(weights):
    code = (
        "import sys\n"
        "from bequeath.given.models import model_handle\n"
        f"h = model_handle('t', 'file:{weights}', {{'arch': 'zoo:resnet8'}})\n"
        "assert h.facts.n_classes == 10 and not h.static_problems()\n"
        "for ref in ('timm:resnet18', 'torchvision:resnet18', 'zoo:mlp', 'hf:a/b', 'py:a.py:b'):\n"
        "    model_handle('m', ref).static_problems()\n"
        "loaded = {'torch', 'timm', 'torchvision', 'transformers', 'numpy'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
