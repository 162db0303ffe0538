"""Settings that differ by model, name and depth."""

from __future__ import annotations

import pytest

from bequeath.kernel.errors import JobError
from bequeath.weights.parameters import check, depths, layers, resolve, value
from bequeath.weights.recipe import Model, Recipe
from bequeath.weights.rules import RULES

LLAMA = [
    "model.embed_tokens.weight",
    *(f"model.layers.{i}.{part}.weight" for i in range(11) for part in ("mlp.up", "self_attn.q")),
    "model.norm.weight",
    "lm_head.weight",
]


def test_depth_goes_along_the_layers():
    found = depths(LLAMA)
    assert found["model.layers.0.mlp.up.weight"] == 0
    assert found["model.layers.5.self_attn.q.weight"] == 0.5
    assert found["model.layers.10.mlp.up.weight"] == 1
    assert found["model.embed_tokens.weight"] == found["lm_head.weight"] == 0
    assert layers(LLAMA) == 11


def test_depth_of_stages_stacks_and_single_layers():
    resnet = [f"layer{stage}.{block}.conv1.weight" for stage in (1, 2) for block in range(2)]
    found = depths(["conv1.weight", *resnet, "fc.weight"])
    assert [found[name] for name in resnet] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert found["fc.weight"] == 0
    both = depths([f"{side}.block.{i}.w" for side in ("encoder", "decoder") for i in range(3)])
    assert both["encoder.block.2.w"] == both["decoder.block.2.w"] == 1
    assert depths(["h.0.w"]) == {"h.0.w": 1.0}
    assert depths(["0.weight"]) == {"0.weight": 0.0}
    experts = depths([f"layers.{i}.experts.{j}.w" for i in range(2) for j in range(4)])
    assert set(experts.values()) == {0.0, 1.0}


def test_values():
    assert value(0.3, "a", 0.5) == 0.3
    assert [value([0, 1], "a", d) for d in (0, 0.25, 1)] == [0, 0.25, 1]
    assert value([0.0, 1.0, 0.5], "a", 0.75) == 0.75
    assert value([True, False], "a", 0.9) is True and value([True, False], "a", 1.0) is False
    some = [{"filter": "mlp", "value": [0, 1]}, {"filter": "q", "value": 2}]
    assert value(some, "layers.0.mlp", 0.5) == 0.5
    assert value(some, "layers.0.q", 0.5) == 2
    assert value(some, "norm", 0.5) is None
    assert value([*some, {"value": 7}], "norm", 0.5) == 7
    assert value([{"filter": "*", "value": 1}, *some], "layers.0.mlp", 0.5) == 1  # the first
    assert value({"filter": "mlp", "value": 3}, "mlp", 0) == 3


def made(rule: str, parameters=None, *own):
    models = tuple(Model(f"m{i}", each) for i, each in enumerate(own or ({}, {})))
    return Recipe(rule, models, "base", parameters or {})


def test_the_model_goes_before_the_recipe_and_the_recipe_before_the_rule():
    recipe = made(
        "ties",
        {"weight": 0.5, "density": [{"filter": "mlp", "value": 0.9}], "lambda": 2},
        {"weight": [{"filter": "self_attn", "value": 0.7}]},
        {},
    )
    found = resolve(RULES["ties"], recipe, LLAMA)
    attention = found["model.layers.3.self_attn.q.weight"]
    assert attention.weight == (0.7, 0.5) and attention.density == (0.2, 0.2)
    mlp = found["model.layers.3.mlp.up.weight"]
    assert mlp.weight == (0.5, 0.5) and mlp.density == (0.9, 0.9)
    assert mlp.lambda_ == 2 and mlp.normalize is True and mlp.elect == "mass"


@pytest.mark.parametrize(
    ("recipe", "code", "says"),
    [
        (made("ties", {"desnity": 0.5}), "W822", "did you mean `density`?"),
        (made("linear", {"density": 0.5}), "W822", "`weight`, `normalize`"),
        (made("ties", {}, {"lambda": 1.0}, {}), "W822", "belongs to the whole merge"),
        (made("ties", {"density": 1.5}), "W823", "from 0 to 1"),
        (made("ties", {"density": [0.5, -0.1]}), "W823", "from 0 to 1"),
        (made("ties", {"density": "half"}), "W823", "from 0 to 1"),
        (made("ties", {"weight": float("nan")}), "W823", "a finite number"),
        (made("ties", {"weight": True}), "W823", "a finite number"),
        (made("ties", {"weight": []}), "W823", "an empty list"),
        (made("ties", {"normalize": 1}), "W823", "`true` or `false`"),
        (made("ties", {"elect": "vote"}), "W823", "`mass` or `count`"),
        (made("ties", {"weight": [{"filter": "mlp"}]}), "W823", "no `value`"),
        (made("ties", {"weight": [{"fliter": "mlp", "value": 1}]}), "W822", "`fliter`"),
        (made("ties", {"weight": [0.5, {"value": 1}]}), "W823", "a number among filters"),
        (made("ties", {"weight": {"value": [{"value": 1}]}}), "W823", "within a filter"),
        (made("ties", {"weight": {"filter": 3, "value": 1}}), "W823", "is text"),
    ],
)
def test_what_cannot_be_is_told(recipe, code, says):
    problems = check(RULES[recipe.rule], recipe)
    assert [problem.code for problem in problems] == [code]
    with pytest.raises(JobError) as error:
        resolve(RULES[recipe.rule], recipe, LLAMA)
    assert says in str(error.value) or says in problems[0].label


def test_a_filter_that_matches_nothing_is_told():
    with pytest.raises(JobError, match=r"W824.*`self_atn`"):
        resolve(RULES["ties"], made("ties", {"weight": {"filter": "self_atn", "value": 1}}), LLAMA)


def test_every_setting_says_where_its_default_is_from():
    for rule in RULES.values():
        for spec in rule.specs.values():
            assert spec.description and spec.source, (rule.name, spec.name)
            assert spec.kind is not str or spec.default in spec.choices
