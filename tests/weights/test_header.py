"""Checkpoints that are what they say, and those that are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from checkpoints import save, save_sharded, tensors
from safetensors.torch import load_file, save_file

from bequeath.kernel.errors import JobError
from bequeath.kernel.safetensors_header import TensorFact
from bequeath.weights import layout
from bequeath.weights.header import open_checkpoint

INDEX = "model.safetensors.index.json"


@pytest.fixture
def sharded(tmp_path) -> Path:
    return Path(save_sharded(tmp_path / "net", tensors(0)))


def refused(path: Path) -> tuple[str, str]:
    with pytest.raises(JobError) as error:
        open_checkpoint(path, at=("base",))
    assert all(problem.at == ("base",) for problem in error.value.problems)
    return error.value.problems[0].code, str(error.value)


def reindex(folder: Path, change) -> None:
    index = json.loads((folder / INDEX).read_text())
    change(index["weight_map"])
    (folder / INDEX).write_text(json.dumps(index))


def test_slots_say_where_the_bytes_are(sharded, tmp_path):
    for where in (sharded, Path(save(tmp_path / "single", tensors(0)))):
        found = open_checkpoint(where)
        state = tensors(0)
        assert set(found.slots) == set(state) and found.architecture == "Net"
        for name, slot in found.slots.items():
            with slot.file.open("rb") as file:
                file.seek(slot.offset)
                data = file.read(slot.length)
            x = state[name]
            assert data == x.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            assert slot.shape == tuple(x.shape)
        assert found.dtypes == {"BF16": 8, "I64": 1}
    assert len(open_checkpoint(sharded).files) == 3


def test_a_file_an_index_and_a_folder_with_another_name_open_too(sharded, tmp_path):
    folder = Path(save(tmp_path / "single", tensors(0)))
    (folder / "model.safetensors").rename(folder / "net.safetensors")
    assert open_checkpoint(folder).folder == folder
    assert open_checkpoint(folder / "net.safetensors").folder is None
    assert set(open_checkpoint(sharded / INDEX).slots) == set(tensors(0))


def test_missing_shards_are_named(sharded):
    (sharded / "model-00002-of-00003.safetensors").unlink()
    code, text = refused(sharded)
    assert code == "W803" and "`model-00002-of-00003.safetensors`" in text and "1 of the 3" in text


def test_a_shard_cut_short_is_told(sharded):
    shard = sharded / "model-00001-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert refused(sharded)[0] == "M302"


@pytest.mark.parametrize(
    "path",
    [
        "../other/model.safetensors",
        "/etc/model.safetensors",
        "a/../../b.safetensors",
        "..\\b.safetensors",
        "C:b.safetensors",
    ],
)
def test_an_index_cannot_point_elsewhere(path, sharded):
    reindex(sharded, lambda names: names.update({"scale": path}))
    code, text = refused(sharded)
    assert code == "W802" and "out of its own folder" in text


@pytest.mark.parametrize("shard", ["pytorch_model.bin", 3, None, ["a"]])
def test_an_index_names_safetensors_files(shard, sharded):
    reindex(sharded, lambda names: names.update({"scale": shard}))
    assert refused(sharded)[0] == "W802"


def test_an_index_and_its_files_agree(sharded):
    reindex(sharded, lambda names: names.pop("scale"))
    code, text = refused(sharded)
    assert code == "W802" and "in the file but not named: `scale`" in text
    reindex(sharded, lambda names: names.update(scale=names["embed.weight"]))
    assert "named but not in the file: `scale`" in refused(sharded)[1]


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": 3}'])
def test_a_broken_index(content, sharded):
    (sharded / INDEX).write_text(content)
    assert refused(sharded)[0] in ("W802", "M313")


def test_folders_without_weights(tmp_path):
    assert refused(tmp_path / "nowhere")[0] == "M301"
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty")[0] == "W801"
    (tmp_path / "empty" / "pytorch_model.bin").write_bytes(b"PK")
    assert "safe_serialization" in refused(tmp_path / "empty")[1]
    for name in ("a", "b"):
        save_file({"x": torch.ones(1)}, tmp_path / "empty" / f"{name}.safetensors")
    assert "several safetensors files and no index" in refused(tmp_path / "empty")[1]


def test_the_layout_is_the_library_s(tmp_path):
    state = {"b": torch.ones(3), "a": torch.ones(5).half(), "z": torch.ones(1, dtype=torch.int64)}
    state |= {'quote"d ü': torch.ones(2, 2), "none": torch.ones(0, 4)}
    save_file(state, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    names = {torch.float32: "F32", torch.float16: "F16", torch.int64: "I64"}
    facts = {n: TensorFact(tuple(x.shape), names[x.dtype]) for n, x in state.items()}
    made = layout.one_file("x", facts)
    theirs = (tmp_path / "theirs.safetensors").read_bytes()
    assert theirs.startswith(made.header) and len(theirs) == made.nbytes


def test_shards_hold_at_most_what_they_should(tmp_path):
    facts = {f"t{i}": TensorFact((size,), "F32") for i, size in enumerate([10, 10, 50, 10, 5])}
    made = layout.files(facts, 80)
    assert [list(file.offsets) for file in made] == [["t0", "t1"], ["t2"], ["t3", "t4"]]
    assert made[1].name == "model-00002-of-00003.safetensors"
    assert [file.name for file in layout.files(facts, None)] == ["model.safetensors"]
    assert len(load_file(Path(save(tmp_path / "net", tensors(0))) / "model.safetensors")) == 9
