"""Merges from files to files: the same bytes as in memory, whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoints import load, recipe, same, save, save_sharded, tensors
from safetensors.torch import save_file

from bequeath.kernel.errors import JobError, RunError
from bequeath.weights import disk, stream
from bequeath.weights.memory import merge_tensors
from bequeath.weights.merge import merge, plan
from bequeath.weights.recipe import Model, Recipe
from bequeath.weights.rules import RULES

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """Folders and contents of a base and two models, in bfloat16."""
    folder = tmp_path_factory.mktemp("nets")
    base = tensors(0)
    states = {"base": base, "one": tensors(1, base), "two": tensors(2, base)}
    paths = {name: save(folder / name, state) for name, state in states.items()}
    return paths, states


def of(rule: str, paths: dict[str, str], **details) -> Recipe:
    base = paths["base"] if RULES[rule].base == "delta" else None
    return recipe(rule, [paths["one"], paths["two"]], base, **details)


def in_memory(rule: str, states, name: str, compute=torch.float32, seed: int = 0):
    known = RULES[rule]
    base = states["base"][name] if known.base == "delta" else None
    both = [states["one"][name], states["two"][name]]
    return merge_tensors(
        known, both, known.Settings(), base=base, name=name, compute=compute, seed=seed
    )


def codes(error) -> list[str]:
    return [problem.code for problem in error.value.problems]


def left_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- bytes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", list(RULES))
def test_files_hold_what_memory_holds(rule, dtype, tmp_path):
    base = tensors(0, dtype=dtype)
    states = {"base": base, "one": tensors(1, base, dtype), "two": tensors(2, base, dtype)}
    paths = {name: save(tmp_path / name, state) for name, state in states.items()}
    done = merge(of(rule, paths, seed=5), tmp_path / "out", chunk=1, threads=3)
    made = load(tmp_path / "out")
    assert list(made) == sorted(base, key=lambda n: (-base[n].element_size(), n))
    for name, x in made.items():
        if x.is_floating_point():
            assert same(x, in_memory(rule, states, name, seed=5)), name
    assert same(made["positions"], base["positions"])
    # The file is the one the safetensors library writes.
    save_file(made, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    assert done.files[0].read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


@pytest.mark.parametrize("rule", list(RULES))
def test_shards_single_file_chunks_and_threads_make_no_difference(rule, nets, tmp_path):
    paths, states = nets
    sharded = {
        n: save_sharded(tmp_path / "in" / n, s, 2 + i) for i, (n, s) in enumerate(states.items())
    }
    merge(of(rule, paths), tmp_path / "plain")
    merge(of(rule, sharded), tmp_path / "shards", max_shard=40_000, chunk=20_000, threads=1)
    merge(of(rule, paths), tmp_path / "alone.safetensors", chunk=40_000, threads=2)
    plain, shards = load(tmp_path / "plain"), load(tmp_path / "shards")
    assert set(plain) == set(shards) and all(same(plain[n], shards[n]) for n in plain)
    alone = (tmp_path / "alone.safetensors").read_bytes()
    assert alone == (tmp_path / "plain" / "model.safetensors").read_bytes()


def test_the_index_of_shards_names_them_all(nets, tmp_path):
    done = merge(of("linear", nets[0]), tmp_path / "out", max_shard=40_000)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert len(done.files) > 1 and set(index["weight_map"].values()) == {
        file.name for file in done.files
    }
    assert index["metadata"]["total_size"] == done.nbytes
    for file in done.files[:-1]:
        assert file.stat().st_size < 40_000 + 2_000 or len(load_one(file)) == 1
    merge(recipe("linear", [str(tmp_path / "out")] * 2), tmp_path / "again")  # it can be read
    assert all(same(x, load(tmp_path / "out")[n]) for n, x in load(tmp_path / "again").items())


def load_one(file: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(file)


@pytest.mark.parametrize("rule", list(RULES))
def test_equal_models_come_out_as_the_same_file(rule, nets, tmp_path):
    paths, _ = nets
    same_model = dict.fromkeys(("base", "one", "two"), paths["base"])
    merge(of(rule, same_model), tmp_path / "out")
    ours = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert ours == (Path(paths["base"]) / "model.safetensors").read_bytes()


def test_types_of_result_and_computation(nets, tmp_path):
    paths, states = nets
    merge(of("linear", paths, dtype="float32", compute="float64"), tmp_path / "out")
    name = "layers.0.mlp.weight"
    wanted = (states["one"][name].double() + states["two"][name].double()) / 2
    assert same(load(tmp_path / "out")[name], wanted.float())
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "float32"


def test_models_of_several_types_are_merged_and_said(nets, tmp_path):
    paths, states = nets
    wide = {k: x.float() if x.is_floating_point() else x for k, x in states["two"].items()}
    mixed = {**paths, "two": save(tmp_path / "two", wide)}
    done = merge(of("ties", mixed), tmp_path / "out")
    assert any("F32 and BF16" in note for note in done.notes)
    merge(of("ties", paths), tmp_path / "plain")
    plain = load(tmp_path / "plain")
    assert all(same(x, plain[n]) for n, x in load(tmp_path / "out").items())


def test_parameters_differ_by_model_name_and_depth(nets, tmp_path):
    paths, states = nets
    models = (
        Model(paths["one"], {"weight": [{"filter": "norm", "value": 1.0}, {"value": [1.0, 0.0]}]}),
        Model(paths["two"], {"weight": [{"filter": "norm", "value": 0.0}, {"value": [0.0, 1.0]}]}),
    )
    merge(Recipe("linear", models), tmp_path / "out")
    made = load(tmp_path / "out")
    assert same(made["layers.2.norm.weight"], states["one"]["layers.2.norm.weight"])
    assert same(made["layers.0.mlp.weight"], states["one"]["layers.0.mlp.weight"])
    assert same(made["layers.2.mlp.weight"], states["two"]["layers.2.mlp.weight"])
    both = [states[n]["layers.1.mlp.weight"] for n in ("one", "two")]
    rule = RULES["linear"]
    wanted = merge_tensors(rule, both, rule.Settings(weight=(0.5, 0.5)))
    assert same(made["layers.1.mlp.weight"], wanted)


# --- what goes along ----------------------------------------------------------------------------


def test_configuration_and_tokenizer_go_along(nets, tmp_path):
    paths, states = nets
    base = Path(save(tmp_path / "base", states["base"]))
    one = Path(save(tmp_path / "one", states["one"], from_one=True))
    for folder in (base, one):
        for name in ("tokenizer.json", "generation_config.json", "merges.txt", "README.md"):
            (folder / name).write_text(json.dumps(folder.name))
        for name in ("tokenizer.model", "LICENSE", "optimizer.pt", "training_args.bin", ".hidden"):
            (folder / name).write_bytes(folder.name.encode())
        (folder / "checkpoint-1").mkdir()
    job = recipe("ties", [str(one), paths["two"]], str(base), tokenizer=str(one))
    done = merge(job, tmp_path / "out")
    kept = ["LICENSE", "config.json", "generation_config.json", "merges.txt"]
    kept += ["tokenizer.json", "tokenizer.model"]
    assert list(done.carried) == kept
    assert left_in(tmp_path / "out") == sorted([*kept, "model.safetensors"])
    assert "from_one" not in (tmp_path / "out" / "config.json").read_text()
    assert (tmp_path / "out" / "tokenizer.json").read_text() == '"one"'
    assert (tmp_path / "out" / "generation_config.json").read_text() == '"base"'


# --- nothing left behind ------------------------------------------------------------------------


@pytest.mark.parametrize("out", ["out", "out.safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_stops_the_merge(value, out, nets, tmp_path):
    paths, states = nets
    broken = {k: x.clone() for k, x in states["two"].items()}
    broken["layers.2.mlp.weight"][3, 7] = value
    bad = {**paths, "two": save(tmp_path / "bad", broken)}
    with pytest.raises(RunError) as error:
        merge(of("ties", bad), tmp_path / "results" / out)
    problem = error.value.problem
    assert problem.code == "W850" and "layers.2.mlp.weight" in problem.message
    assert "[3, 7]" in problem.notes[0] and paths["one"] not in problem.message
    assert left_in(tmp_path / "results") == []


def test_a_result_too_large_for_its_type_stops_the_merge(nets, tmp_path):
    job = of("task_arithmetic", nets[0], dtype="float16", parameters={"lambda": 1e9})
    with pytest.raises(RunError, match="W851"):
        merge(job, tmp_path / "results" / "out")
    assert left_in(tmp_path / "results") == []


@pytest.mark.parametrize("out", ["out", "out.safetensors"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_crash_in_the_middle_leaves_nothing(error, out, nets, tmp_path, monkeypatch):
    put, calls = stream.Writer.put, []

    def failing(self, *args):
        calls.append(args)
        if len(calls) == 5:
            raise error
        return put(self, *args)

    monkeypatch.setattr(stream.Writer, "put", failing)
    expected = KeyboardInterrupt if error is KeyboardInterrupt else RunError
    with pytest.raises(expected):
        merge(of("linear", nets[0]), tmp_path / "results" / out, chunk=1)
    assert len(calls) >= 5 and left_in(tmp_path / "results") == []


@pytest.mark.parametrize("call", [1, 2])
def test_a_disk_that_fails_while_it_is_flushed_is_told(call, nets, tmp_path, monkeypatch):
    fsync, calls = os.fsync, []

    def failing(fd):
        calls.append(fd)
        if len(calls) == call:
            raise OSError(5, "Input/output error")
        return fsync(fd)

    monkeypatch.setattr(disk, "FLUSH", 20_000)
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(RunError, match=r"W852.*Input/output error"):
        merge(of("linear", nets[0]), tmp_path / "results" / "out", chunk=1, threads=2)
    assert left_in(tmp_path / "results") == []


def test_a_file_cut_short_while_it_is_read_is_told(nets, tmp_path):
    paths, states = nets
    cut = {**paths, "two": save(tmp_path / "cut", states["two"])}
    planned = plan(of("linear", cut))
    os.truncate(tmp_path / "cut" / "model.safetensors", 5_000)
    with pytest.raises(RunError, match="became shorter"):
        merge(planned, tmp_path / "results" / "out")
    assert left_in(tmp_path / "results") == []


# --- refused before anything is written ---------------------------------------------------------


def test_other_tensors_are_named(nets, tmp_path):
    paths, states = nets
    other = {k: x for k, x in states["two"].items() if k != "scale"} | {"extra": torch.ones(2)}
    bad = {**paths, "two": save(tmp_path / "other", other)}
    with pytest.raises(JobError) as error:
        plan(of("ties", bad))
    assert codes(error) == ["W810"]
    assert "`scale`" in str(error.value) and "`extra`" in str(error.value)


def test_names_that_differ_by_a_prefix_get_that_remedy(nets, tmp_path):
    paths, states = nets
    prefixed = {f"model.{k}": x for k, x in states["two"].items()}
    bad = {**paths, "two": save(tmp_path / "other", prefixed)}
    with pytest.raises(JobError, match=r"differ only by `model\.`"):
        plan(of("linear", bad))


def test_other_shapes_and_architectures_are_named(nets, tmp_path):
    paths, states = nets
    grown = {**states["two"], "embed.weight": torch.zeros(260, 65).bfloat16()}
    with pytest.raises(JobError) as error:
        plan(of("linear", {**paths, "two": save(tmp_path / "grown", grown)}))
    assert codes(error) == ["W811"]
    assert "[260, 65], not [257, 65]" in str(error.value) and "vocabular" in str(error.value)
    alien = {"conv.weight": torch.ones(3)}
    two = save(tmp_path / "alien", alien, architectures=["Other"])
    with pytest.raises(JobError) as error:
        plan(of("linear", {**paths, "two": two}))
    assert codes(error) == ["W812"] and "Other" in str(error.value)


def test_quantised_models_and_adapters_are_refused(nets, tmp_path):
    paths, states = nets
    two = save(tmp_path / "q", states["two"], quantization_config={"bits": 4})
    with pytest.raises(JobError) as error:
        plan(of("linear", {**paths, "two": two}))
    assert codes(error) == ["W813"]
    adapter = save(tmp_path / "lora", {"q.lora_A.weight": torch.ones(2, 2)})
    with pytest.raises(JobError, match="merge_and_unload"):
        plan(of("linear", {**paths, "two": adapter}))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (recipe("tise", ["a", "b"]), "W821"),
        (recipe("slerp", ["{one}"]), "W820"),
        (recipe("ties", ["{one}", "{two}"]), "W820"),
        (recipe("slerp", ["{one}", "{two}"], "{base}"), "W820"),
        (recipe("linear", ["{one}", "{two}"], dtype="float"), "W823"),
        (
            recipe(
                "linear",
                ["{one}", "{two}"],
                parameters={"weight": [1.0, 0.0, -1.0], "normalize": True},
            ),
            None,
        ),
        (Recipe("linear", (Model("{one}", {"weight": 1}), Model("{two}", {"weight": -1}))), "W825"),
        (recipe("linear", ["{one}", "nowhere"]), "M301"),
    ],
)
def test_recipes_that_cannot_be(wrong, code, nets, tmp_path):
    paths, _ = nets

    def real(text):
        return text and text.format(**paths)

    models = tuple(Model(real(m.path), m.parameters) for m in wrong.models)
    filled = Recipe(wrong.rule, models, real(wrong.base), wrong.parameters, wrong.dtype)
    if code is None:  # a gradient through zero: one layer's weights cancel
        with pytest.raises(JobError, match=r"layers\.1\..* sum to zero"):
            plan(filled)
        return
    with pytest.raises(JobError) as error:
        plan(filled)
    assert code in codes(error)


def test_nothing_is_written_over(nets, tmp_path):
    paths, states = nets
    for out in (paths["one"], Path(paths["one"]) / "model.safetensors", Path(paths["one"]).parent):
        with pytest.raises(JobError, match="W840"):
            merge(of("linear", paths), out)
    save(tmp_path / "there", states["one"])
    before = left_in(tmp_path)
    with pytest.raises(JobError, match="is there already"):
        merge(of("linear", paths), tmp_path / "there")
    assert left_in(tmp_path) == before
    (tmp_path / "empty").mkdir()
    merge(of("linear", paths), tmp_path / "empty")
    assert (tmp_path / "empty" / "model.safetensors").is_file()


def test_a_disk_too_small_is_seen_before(nets, tmp_path, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(JobError, match="W841"):
        merge(of("linear", nets[0]), tmp_path / "results" / "out")
    assert not (tmp_path / "results").exists()


def test_planning_does_not_import_torch(nets):
    code = (
        "import sys\n"
        "from bequeath.weights.merge import plan\n"
        "from bequeath.weights.mergekit import read_mergekit\n"
        "from bequeath.weights.recipe import Model, Recipe\n"
        f"plan(Recipe('ties', (Model({nets[0]['one']!r}),), {nets[0]['base']!r}))\n"
        "sys.exit('torch' in sys.modules)"
    )
    source = Path(stream.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(source)}
    )
    assert done.returncode == 0


def test_torch_has_its_threads_again(nets, tmp_path):
    before = torch.get_num_threads()
    merge(of("linear", nets[0]), tmp_path / "out")
    assert torch.get_num_threads() == before
