"""mergekit files read, and what comes of them beside what mergekit makes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from checkpoints import load
from ruamel.yaml import YAML
from safetensors.torch import save_file

from bequeath.kernel.errors import JobError
from bequeath.weights.merge import merge
from bequeath.weights.mergekit import read_mergekit


def read(text: str):
    return read_mergekit(YAML(typ="safe").load(text))


SLERP = """
slices:
  - sources:
      - {model: one, layer_range: [0, 3]}
      - {model: two, layer_range: [0, 3]}
merge_method: slerp
base_model: two
parameters:
  t:
    - {filter: self_attn, value: [0, 0.5, 1]}
    - {value: 0.5}
dtype: bfloat16
"""

TIES = """
models:
  - model: base
  - model: one
    parameters: {density: [1, 0.5], weight: 0.3}
  - model: two
    parameters: {weight: {filter: mlp, value: 1}}
merge_method: ties
base_model: base
parameters: {normalize: true, int8_mask: true, weight: 0.1}
dtype: float16
out_dtype: float32
tokenizer_source: one
"""


def test_slerp_with_slices():
    recipe = read(SLERP)
    assert recipe.rule == "slerp" and recipe.base == "two" and recipe.layers == 3
    assert [model.path for model in recipe.models] == ["one", "two"]
    assert recipe.parameters["t"][0] == {"filter": "self_attn", "value": [0, 0.5, 1]}
    assert recipe.dtype == "bfloat16" and recipe.compute == "float32"


def test_ties_with_the_base_among_the_models():
    recipe = read(TIES)
    assert [model.path for model in recipe.models] == ["one", "two"] and recipe.base == "base"
    assert recipe.models[0].parameters == {"density": [1, 0.5], "weight": 0.3}
    # mergekit trims nothing unless told; the paper's 0.2 is the rule's own default.
    assert recipe.parameters == {"normalize": True, "weight": 0.1, "rescale": "none", "density": 1}
    assert recipe.dtype == "float32" and recipe.tokenizer == "one"
    assert len(recipe.notes) == 2 and "int8_mask" in recipe.notes[0]


def test_dare_is_rescaled_as_mergekit_does():
    text = "{merge_method: dare_linear, base_model: b, models: [{model: x}], parameters: %s}"
    assert read(text % "{weight: 1}").parameters["rescale"] == "norm"
    assert read(text % "{weight: 1, rescale: false}").parameters["rescale"] == "none"


LINEAR = {"merge_method": "linear", "models": [{"model": "a", "parameters": {"weight": 1}}]}


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"merge_metod": "linear"}, "W830", "did you mean `merge_method`?"),
        ({"weight": 1}, "W830", "move it under `parameters`"),
        ({"parameters": {"wieght": 1}}, "W822", "did you mean `weight`?"),
        ({"parameters": {"random_seed": 1}}, "W822", "random_seed"),
        ({"parameters": [1]}, "W830", "mapping"),
        ({"parameters": {"elect": "mass"}, "merge_method": "ties", "base_model": "b"}, "W822", ""),
        ({"merge_method": "della"}, "W821", "della"),
        ({"merge_method": "ties"}, "W820", "needs a base"),
        ({"models": [{"model": "a", "weight": 1}]}, "W830", "move it under `parameters`"),
        ({"models": [{"model": "a"}]}, "W830", "`weight` of `a` is missing"),
        ({"models": [{"modle": "a"}]}, "W830", "has `model`"),
        ({"models": []}, "W830", "list of models"),
        ({"models": [{"model": "a+lora", "parameters": {"weight": 1}}]}, "W831", "adapter"),
        (
            {"models": [{"model": "a", "parameters": {"weight": 1, "normalize": True}}]},
            "W822",
            "belongs to the whole merge",
        ),
        ({"modules": {}}, "W831", "modules"),
        ({"tokenizer": {}}, "W831", "tokenizer"),
        ({"tokenizer_source": "union"}, "W831", "union"),
        ({"tokenizer_source": "z"}, "W831", "none of the models"),
        ({"dtype": "int8"}, "W823", "bfloat16"),
        ({"slices": []}, "W830", "`models`, or `slices`"),
    ],
)
def test_what_is_wrong_is_told(change, code, says):
    with pytest.raises(JobError) as error:
        read_mergekit(LINEAR | change)
    assert code in [problem.code for problem in error.value.problems]
    assert says in str(error.value) + " ".join(p.label for p in error.value.problems)


@pytest.mark.parametrize(
    ("sources", "code"),
    [
        ([{"model": "a", "layer_range": [0, 2]}, {"model": "b", "layer_range": [2, 4]}], "W831"),
        ([{"model": "a", "layer_range": [4, 8]}], "W831"),
        ([{"model": "a"}], "W830"),
        ([{"model": "a", "layer_range": 3}], "W830"),
    ],
)
def test_layers_put_together_anew_are_refused(sources, code):
    file = {"merge_method": "linear", "parameters": {"weight": 1}, "slices": [{"sources": sources}]}
    with pytest.raises(JobError) as error:
        read_mergekit(file)
    assert code in [problem.code for problem in error.value.problems]
    with pytest.raises(JobError, match="W831"):
        read_mergekit(file | {"slices": [{"sources": sources}] * 2})


# --- beside mergekit ----------------------------------------------------------------------------


def llama(folder: Path, seed: int, near: dict[str, torch.Tensor] | None = None):
    """The names and shapes of a small Llama, which mergekit knows; float32."""
    hidden, inner, words = 64, 96, 50
    layer = {f"self_attn.{x}_proj": (hidden, hidden) for x in "qkvo"}
    layer |= {"mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden)}
    layer |= {"mlp.down_proj": (hidden, inner), "input_layernorm": (hidden,)}
    layer |= {"post_attention_layernorm": (hidden,)}
    shapes = {"model.embed_tokens": (words, hidden), "lm_head": (words, hidden)}
    shapes |= {f"model.layers.{i}.{name}": s for i in range(3) for name, s in layer.items()}
    shapes["model.norm"] = (hidden,)
    draw = torch.Generator().manual_seed(seed)
    state = {f"{n}.weight": torch.randn(s, generator=draw) for n, s in shapes.items()}
    if near is not None:
        state = {n: near[n] + 0.02 * x for n, x in state.items()}
    folder.mkdir()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 3}
    config |= {"hidden_size": hidden, "intermediate_size": inner, "vocab_size": words}
    config |= {"num_attention_heads": 4, "torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config))
    return state


GRADIENT = [{"filter": "mlp", "value": [0.2, 0.9]}, {"value": 0.4}]
CASES = {
    "linear": {"weight": GRADIENT},
    "linear, not normalized": {"weight": 0.4, "normalize": False},
    "slerp": {"t": GRADIENT},
    "task_arithmetic": {"weight": GRADIENT, "lambda": 0.7},
    "task_arithmetic, normalized": {"weight": 0.3, "normalize": True},
    "ties": {"weight": GRADIENT, "density": 0.3},
    "ties, rescaled": {"weight": 0.7, "density": 0.3, "rescale": True, "normalize": False},
    "breadcrumbs": {"weight": 0.5, "density": 0.6, "gamma": 0.05},
    "breadcrumbs, gamma too large": {"weight": 0.5, "density": 0.9, "gamma": 0.3},
    "breadcrumbs_ties": {"weight": GRADIENT, "density": [0.2, 0.7]},
    "dare_linear": {"weight": 0.5, "density": 1.0},
    "dare_ties": {"weight": 0.5, "density": 1.0, "lambda": 0.5},
}


@pytest.mark.skipif(
    importlib.util.find_spec("mergekit") is None, reason="mergekit 0.1.5 is not installed"
)
@pytest.mark.parametrize("case", CASES)
def test_the_result_is_mergekit_s_up_to_rounding(case, tmp_path):
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    base = llama(tmp_path / "base", 0)
    llama(tmp_path / "one", 1, base)
    llama(tmp_path / "two", 2, base)
    method = case.split(",")[0]
    names = ["base", "two"] if method == "slerp" else ["one", "two"]
    file = {
        "merge_method": method,
        "models": [{"model": str(tmp_path / name)} for name in names],
        "parameters": CASES[case],
        "dtype": "float32",
    }
    if method == "linear":  # `weight` is each model's own there
        for model in file["models"]:
            model["parameters"] = {"weight": CASES[case]["weight"]}
        file["parameters"] = {k: v for k, v in CASES[case].items() if k != "weight"}
    else:
        file["base_model"] = str(tmp_path / "base")
    options = MergeOptions(copy_tokenizer=False, quiet=True, write_model_card=False)
    run_merge(MergeConfiguration.model_validate(file), str(tmp_path / "theirs"), options)
    merge(read_mergekit(file), tmp_path / "ours")
    theirs, ours = load(tmp_path / "theirs"), load(tmp_path / "ours")
    assert set(theirs) == set(ours)
    for name, x in theirs.items():
        assert torch.allclose(x, ours[name], rtol=1e-5, atol=1e-6), name
