"""The rules against the papers' formulas, written out in plain torch on whole tensors."""

from __future__ import annotations

import pytest
import torch
from checkpoints import same

from bequeath.weights.memory import merge_tensors
from bequeath.weights.random_mask import random_mask, stream_key
from bequeath.weights.rules import RULES, breadcrumbs, dare, linear, slerp, task_arithmetic, ties

DELTA = [name for name, rule in RULES.items() if rule.base == "delta"]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return x.to(dtype)


def three(dtype: torch.dtype = torch.float32, n: int = 50_000):
    base = draw(n, seed=1, dtype=dtype)
    models = [(base.float() + 0.02 * draw(n, seed=s)).to(dtype) for s in (2, 3, 4)]
    base[:5] = -0.0
    return base, models


def merge(rule: str, tensors, base=None, chunk=None, name="t", seed=0, **settings):
    known = RULES[rule]
    needs = base if known.base == "delta" else None
    made = known.Settings(**settings)
    return merge_tensors(known, tensors, made, base=needs, chunk=chunk, name=name, seed=seed)


def keep_largest(tau: torch.Tensor, k: int) -> torch.Tensor:
    mask = torch.zeros_like(tau, dtype=torch.bool)
    mask[torch.sort(tau.abs(), descending=True, stable=True).indices[:k]] = True
    return mask


# --- the same model -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rule", list(RULES))
def test_equal_models_are_the_model_to_the_last_bit(rule, dtype):
    base, _ = three(dtype)
    models = [base.clone(), base.clone()]
    assert same(merge(rule, models, base), base)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rule", DELTA)
@pytest.mark.parametrize("settings", [{"weight": (0.0,)}, {"lambda_": 0.0}])
def test_no_weight_leaves_the_base(rule, dtype, settings):
    base, models = three(dtype)
    assert same(merge(rule, models, base, **settings), base)


@pytest.mark.parametrize("rule", DELTA)
def test_a_negative_lambda_keeps_the_sign_of_a_zero_that_does_not_change(rule):
    base, _ = three()
    assert same(merge(rule, [base, base], base, lambda_=-1.0), base)


def test_weights_of_one_and_zero_give_that_model():
    _, models = three()
    for i, x in enumerate(models):
        weights = tuple(float(i == j) for j in range(3))
        assert same(merge("linear", models, weight=weights), x)


def test_slerp_at_its_ends():
    a, b = draw(1000), draw(1000, seed=1)
    assert same(slerp.slerp(a, b, slerp.Settings(t=0.0)), a)
    assert same(slerp.slerp(a, b, slerp.Settings(t=1.0)), b)


# --- against the formulas -----------------------------------------------------------------------


def test_linear():
    _, models = three()
    w = (0.2, 0.5, -0.1)
    average = sum(wi * x.double() for wi, x in zip(w, models)) / sum(w)
    assert torch.allclose(linear.linear(models, linear.Settings(w)).double(), average, atol=1e-6)
    plain = linear.linear(models, linear.Settings(w, normalize=False))
    assert torch.allclose(plain.double(), average * sum(w), atol=1e-6)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.8])
def test_slerp_keeps_directions_on_the_arc(t):
    a, b = draw(5000).double(), 3 * draw(5000, seed=1).double()
    made = slerp.slerp(a.float(), b.float(), slerp.Settings(t=t)).double()
    unit_a, unit_b = a / a.norm(), b / b.norm()
    theta = torch.arccos(unit_a @ unit_b)
    wanted = (torch.sin((1 - t) * theta) * a + torch.sin(t * theta) * b) / torch.sin(theta)
    assert torch.allclose(made, wanted, atol=1e-5)
    # Of two unit vectors the result is one, at the share t of the angle from the first.
    unit = slerp.slerp(unit_a.float(), unit_b.float(), slerp.Settings(t=t)).double()
    assert unit.norm().item() == pytest.approx(1, abs=1e-6)
    assert torch.arccos(unit @ unit_a).item() == pytest.approx(t * theta.item(), abs=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_slerp_of_parallel_tensors_is_the_straight_line(sign):
    a = draw(3000)
    b = sign * 2 * a
    wanted = 0.75 * a + 0.25 * b
    assert torch.allclose(slerp.slerp(a, b, slerp.Settings(t=0.25)), wanted, atol=1e-6)


def test_slerp_with_a_zero_tensor_is_the_straight_line():
    a = draw(100)
    made = slerp.slerp(torch.zeros(100), a, slerp.Settings(t=0.25))
    assert torch.allclose(made, 0.25 * a)


def test_task_arithmetic():
    base, models = three()
    settings = task_arithmetic.Settings(weight=(1.0, -0.5, 0.25), lambda_=0.3)
    made = task_arithmetic.task_arithmetic(models, base, settings)
    tau = [x.double() - base.double() for x in models]
    wanted = base.double() + 0.3 * (tau[0] - 0.5 * tau[1] + 0.25 * tau[2])
    assert torch.allclose(made.double(), wanted, atol=1e-6)


def plain_ties(taus, weights, masks, elect, normalize):
    """sum (mean) of the weighted task vectors that agree with the elected sign, one by one."""
    weighted = torch.stack([w * tau * m for w, tau, m in zip(weights, taus, masks)])
    ballot = weighted if elect == "mass" else weighted.sign()
    elected = torch.where(ballot.sum(0) >= 0, 1.0, -1.0)
    agree = weighted.sign() == elected
    merged = (weighted * agree).sum(0)
    if not normalize:
        return merged
    w = torch.tensor(weights).view(-1, *[1] * (weighted.dim() - 1))
    divisor = (w * agree).sum(0)
    return merged / torch.where(divisor == 0, 1.0, divisor)


@pytest.mark.parametrize("elect", ["mass", "count"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ties(elect, normalize, dtype):
    base, models = three(dtype)
    weights, density = (1.0, 0.5, 2.0), (0.2, 0.5, 0.333)
    settings = ties.Settings(weights, density, 0.7, normalize=normalize, elect=elect)
    made = ties.ties([x.float() for x in models], base.float(), settings)
    taus = [x.float() - base.float() for x in models]
    masks = [keep_largest(tau, int(d * tau.numel())) for tau, d in zip(taus, density)]
    assert [int(m.sum()) for m in masks] == [int(d * base.numel()) for d in density]
    wanted = base.float() + 0.7 * plain_ties(taus, weights, masks, elect, normalize)
    assert torch.allclose(made, wanted, atol=1e-6)


def test_trimming_keeps_the_number_it_should_where_many_are_equal():
    base = torch.zeros(40_000)
    x = torch.ones(40_000)
    x[10_000:20_000] = 3.0
    made = ties.ties([x], base, ties.Settings(density=(0.5,)))
    assert made.count_nonzero() == 20_000
    assert bool((made[10_000:20_000] == 3).all())
    assert bool((made[:10_000] == 1).all())  # among equals the first


@pytest.mark.parametrize("density", [0.0, 1e-9, 1.0])
def test_trimming_to_nothing_to_one_and_not_at_all(density):
    base, models = three(n=20_000)
    made = ties.ties(models[:1], base, ties.Settings(density=(density,)))
    changed = int((made != base).sum())
    assert changed == {0.0: 0, 1e-9: 1}.get(density, int((models[0] != base).sum()))


@pytest.mark.parametrize("rule", ["breadcrumbs", "breadcrumbs_ties"])
@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.3])
def test_breadcrumbs(rule, gamma):
    base, models = three(torch.bfloat16)
    base, models = base.float(), [x.float() for x in models]
    density, n = 0.25, base.numel()
    taus = [x - base for x in models]
    masks = []
    for tau in taus:
        order = torch.sort(tau.abs(), stable=True).indices
        smallest = n - int(density * n) - int(gamma * n)
        mask = torch.zeros(n, dtype=torch.bool)
        mask[order[smallest : smallest + int(density * n)]] = True
        masks.append(mask)
    if rule == "breadcrumbs":
        change = sum(tau * mask for tau, mask in zip(taus, masks))
    else:
        change = plain_ties(taus, (1.0, 1.0, 1.0), masks, "mass", False)
    made = merge(rule, models, base, density=(density,), gamma=(gamma,))
    assert torch.allclose(made, base + change, atol=1e-6)


@pytest.mark.parametrize("rule", ["dare_linear", "dare_ties"])
@pytest.mark.parametrize("rescale", ["none", "density", "norm"])
def test_dare(rule, rescale):
    base, models = three()
    taus = [x - base for x in models]
    masks = [random_mask(stream_key(7, "t", i), 0, base.numel(), 0.3) for i in range(len(taus))]
    kept = [tau * mask for tau, mask in zip(taus, masks)]
    factors = {
        "none": [1.0] * 3,
        "density": [1 / 0.3] * 3,
        "norm": [(t.abs().sum() / k.abs().sum()).item() for t, k in zip(taus, kept)],
    }[rescale]
    scaled = [f * k for f, k in zip(factors, kept)]
    ones = [torch.ones_like(mask) for mask in masks]
    weights = (1.0, 0.5, 0.25)
    change = (
        sum(w * s for w, s in zip(weights, scaled))
        if rule == "dare_linear"
        else plain_ties(scaled, weights, ones, "mass", False)
    )
    made = merge(rule, models, base, seed=7, weight=weights, density=(0.3,), rescale=rescale)
    assert torch.allclose(made, base + change, atol=1e-6)


def test_dare_keeps_the_mean_and_the_share():
    base = torch.zeros(1_000_000)
    made = dare.dare([torch.ones(1_000_000)], base, dare.Settings(density=(0.1,)))
    assert made.mean().item() == pytest.approx(1, abs=0.02)  # six standard deviations
    assert made.unique().tolist() == pytest.approx([0.0, 10.0])


def test_breadcrumbs_as_a_function_elects_with_its_ties_settings():
    base, models = three(n=20_000)
    made = breadcrumbs.breadcrumbs(models, base, breadcrumbs.TiesSettings(density=(0.4,)))
    assert same(made, merge("breadcrumbs_ties", models, base, density=(0.4,)))


# --- parts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rule", list(RULES))
def test_the_result_does_not_depend_on_how_it_is_cut(rule, dtype):
    base, models = three(dtype, n=16_384 * 5 + 321)
    models = models[: RULES[rule].models[1]]
    settings = {"rescale": "norm"} if "rescale" in RULES[rule].specs else {}
    whole = merge(rule, models, base, **settings)
    for chunk in (1, 3 * 16_384):
        assert same(merge(rule, models, base, chunk=chunk, **settings), whole)


def test_thresholds_are_exact_in_float64_too():
    base = torch.zeros(40_000, dtype=torch.float64)
    # Values that only the last bits of a float64 tell apart.
    order = torch.randperm(40_000, generator=torch.Generator().manual_seed(0))
    x = 1 + order.double() * 2**-50
    rule = RULES["ties"]
    settings = rule.Settings(density=(0.25,))
    made = merge_tensors(rule, [x], settings, base=base, compute=torch.float64, chunk=1)
    assert bool(((made != 0) == (order >= 30_000)).all())


def test_masks_depend_on_position_and_not_on_the_cut():
    key = stream_key(3, "layer.weight", 0)
    whole = random_mask(key, 0, 10_001, 0.4)
    for start, n in ((0, 1), (5, 100), (8, 8), (4097, 5904)):
        assert random_mask(key, start, n, 0.4).equal(whole[start : start + n])
    assert whole.float().mean().item() == pytest.approx(0.4, abs=0.03)
    others = [stream_key(4, "layer.weight", 0), stream_key(3, "other", 0)]
    others.append(stream_key(3, "layer.weight", 1))
    for other in others:
        agree = (random_mask(other, 0, 10_001, 0.4) == whole).float().mean().item()
        assert agree == pytest.approx(0.52, abs=0.04)  # 0.4^2 + 0.6^2: independent


@pytest.mark.parametrize("density", [0.003, 0.01, 0.1, 1 / 3, 0.5, 0.9, 0.997])
def test_masks_keep_the_density_and_no_more_alike_than_by_chance(density):
    """Shares are tested at five standard deviations of independent draws."""
    n = 1 << 22
    mask = random_mask(stream_key(11, "t", 0), 0, n, density).double()
    variance = density * (1 - density)
    assert mask.unique().tolist() == [0.0, 1.0]
    assert abs(mask.mean().item() - density) < 5 * (variance / n) ** 0.5
    # Positions are alike only where they share a border (1024 apart, of the same ALIGN), and then
    # as much as that makes them: the variance of the border's rounding.
    off, share = mask - density, density * 256 % 1
    for apart in (1, 2, 8, 1024, 3 * 1024, 16_384):
        together = (off[:-apart] * off[apart:]).mean().item() / variance
        of_pairs = 1 - apart / 16_384 if apart % 1024 == 0 else 0
        expected = of_pairs * share * (1 - share) / 2**16 / variance
        assert abs(together - expected) < 5 / (n - apart) ** 0.5, apart
    # The number kept of 4096 neighbours varies as a binomial's does.
    counts = mask.view(-1, 4096).sum(1)
    spread = counts.var().item() / (4096 * variance)
    kurtosis = (1 - 6 * variance) / (4096 * variance)
    assert abs(spread - 1) < 5 * ((2 + kurtosis) / counts.numel()) ** 0.5


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_masks_of_nothing_and_of_all(density):
    mask = random_mask(stream_key(0, "t", 0), 3, 40_000, density, torch.float64)
    assert mask.dtype == torch.float64 and bool((mask == density).all())


def test_the_inputs_are_left_as_they_are():
    base, models = three()
    before = [x.clone() for x in (base, *models)]
    for rule in RULES:
        merge(rule, models[: RULES[rule].models[1]], base)
        assert all(same(x, y) for x, y in zip((base, *models), before))


def test_shapes_that_differ_and_a_missing_base_are_refused():
    with pytest.raises(ValueError, match="shapes differ"):
        merge("linear", [draw(3), draw(4)])
    with pytest.raises(ValueError, match="needs a base"):
        merge("ties", [draw(3)])
