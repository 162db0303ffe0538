"""Laws over mixtures and sizes: exact where they must be."""

from __future__ import annotations

import numpy as np
import pytest

from bequeath.blocks import scaling
from bequeath.blocks.mixtures import simplex_grid
from bequeath.blocks.scaling import carry, carry_slopes, fit_power_law, fit_surface

FORMS = ("linear", "quadratic", "ot-linear", "pseudo-linear", "pseudo-quadratic")
rng = np.random.default_rng(0)
P = simplex_grid(3, 0.1)
OT = 2.0 + rng.random(len(P))


@pytest.mark.parametrize("law", ["log-linear", "power"])
def test_carried_to_a_size_it_was_measured_at_it_is_what_was_measured(law):
    low, high = rng.random(20) * 0.8, rng.random(20) * 0.9
    assert np.allclose(carry(low, high, 200, 400, 200, law), low, atol=1e-14)
    assert np.allclose(carry(low, high, 200, 400, 400, law), high, atol=1e-14)


def test_worlds_that_follow_the_law_are_predicted_exactly():
    sizes = np.array([100.0, 150.0, 10_000.0])
    linear = 0.2 + 0.05 * np.log(sizes)
    assert abs(carry(linear[:1], linear[1:2], 100, 150, 10_000)[0] - linear[2]) < 1e-12
    power = 1 - 2.0 * sizes**-0.3
    assert abs(carry(power[:1], power[1:2], 100, 150, 10_000, "power")[0] - power[2]) < 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_a_log_linear_world_of_any_form_is_exact_everywhere(form):
    """Fitted on half of the simplex at two sizes; right on the other half at a third."""
    k = scaling.n_coefficients(form, 3)
    a, b = rng.normal(size=k), rng.normal(size=k)
    X = scaling.design(form, P, OT)
    assert X.shape == (len(P), k)
    world = {n: X @ a + np.log(n) * (X @ b) for n in (200, 400, 3000)}
    fit = P[:, 2] < 0.5
    low, high = (fit_surface(form, P[fit], world[n][fit], OT[fit]) for n in (200, 400))
    found = carry(low.values(P, OT), high.values(P, OT), 200, 400, 3000)
    assert np.allclose(found, world[3000], atol=1e-7)


@pytest.mark.parametrize("form", FORMS)
def test_slopes_of_a_surface_are_those_of_finite_differences(form):
    one = scaling.Surface(form, rng.normal(size=scaling.n_coefficients(form, 4)))
    p, ot, h = np.array([0.1, 0.4, 0.2, 0.3]), 1.7, 1e-6
    explicit, by_ot = one.slopes(p, ot)

    def value(q, d):
        return float(one.values(q[None], np.array([d]))[0])

    for i in range(4):
        step = h * np.eye(4)[i]
        assert abs((value(p + step, ot) - value(p - step, ot)) / (2 * h) - explicit[i]) < 1e-8
    assert abs((value(p, ot + h) - value(p, ot - h)) / (2 * h) - by_ot) < 1e-8


def test_the_fit_does_not_depend_on_the_units_of_the_distance():
    values = rng.random(len(P))
    few = slice(0, 8)  # fewer mixtures than coefficients
    for rows in (slice(None), few):
        plain, scaled = (
            fit_surface("pseudo-quadratic", P[rows], values[rows], u * OT[rows]).values(P, u * OT)
            for u in (1.0, 1000.0)
        )
        assert np.allclose(plain, scaled, atol=1e-6)


def test_a_form_with_distances_needs_them():
    with pytest.raises(ValueError, match="needs the distances"):
        fit_surface("ot-linear", P, OT)


@pytest.mark.parametrize("law", ["log-linear", "power"])
def test_slopes_of_the_law(law):
    low, high, h = 0.6, 0.7, 1e-6
    at = lambda a, b: float(carry(np.array(a), np.array(b), 200, 400, 2000, law))  # noqa: E731
    found = carry_slopes(low, high, 200, 400, 2000, law)
    assert abs((at(low + h, high) - at(low - h, high)) / (2 * h) - found[0]) < 1e-7
    assert abs((at(low, high + h) - at(low, high - h)) / (2 * h) - found[1]) < 1e-7


def test_sizes_out_of_order_are_refused():
    for n0, n1, n in ((400, 200, 1000), (200, 200, 1000), (200, 400, 0)):
        with pytest.raises(ValueError, match="n0 < n1"):
            scaling.carry_weights(n0, n1, n)


def test_power_law_with_an_offset():
    n = np.array([50.0, 100, 300, 1000, 4000])
    for a, b, c in ((2.0, 0.5, 0.1), (5.0, 1.0, 0.0), (1.0, 0.2, 0.05)):
        found = fit_power_law(n, a * n**-b + c)
        assert np.allclose(found, (a, b, c), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="three sizes"):
        fit_power_law(n[:2], n[:2])


@pytest.mark.parametrize("law", ["log-linear", "power"])
def test_slopes_of_what_is_carried(law):
    """By the mixture with the distances held, and by each distance."""
    small = 0.02 * rng.normal(size=(2, scaling.n_coefficients("pseudo-quadratic", 3)))
    small[:, 0] += (0.5, 0.6)
    pair = [scaling.Surface("pseudo-quadratic", c) for c in small]
    one = scaling.Carried(*pair, (200, 400), 1500, law)
    p, ot, h = np.array([0.2, 0.5, 0.3]), np.array([1.2, 0.9]), 1e-6
    explicit, by_ot = one.slopes(p, ot)

    def value(q, d):
        return float(one.values(q[None], d[:, None])[0])

    for i in range(3):
        step = h * np.eye(3)[i]
        assert abs((value(p + step, ot) - value(p - step, ot)) / (2 * h) - explicit[i]) < 1e-7
    for i in range(2):
        step = h * np.eye(2)[i]
        assert abs((value(p, ot + step) - value(p, ot - step)) / (2 * h) - by_ot[i]) < 1e-7
