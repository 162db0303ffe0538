"""Schedules, forms, steps and targets of diffusion, against closed forms and diffusers."""

from __future__ import annotations

from itertools import pairwise

import gaussian_diffusion as gauss
import pytest
import torch

from bequeath.blocks.diffusion import bootstrap, forms, learning, schedule, steppers
from bequeath.blocks.diffusion.halving import two_steps
from bequeath.given.zoo import denoiser

F64 = torch.float64
NAMES = ("cosine", "linear")
FORMS = ("x0", "eps", "v")


def grid(n: int = 101, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    return torch.linspace(low, high, n, dtype=F64)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


# -- schedules


@pytest.mark.parametrize("name", NAMES)
def test_signal_and_noise_share_one_variance(name):
    alpha, sigma = schedule.named(name).levels(grid())
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha), rtol=0, atol=1e-14)
    assert float(alpha[0]) == 1.0 and float(sigma[0]) == 0.0
    assert bool((alpha[1:] < alpha[:-1]).all()) and bool((sigma[1:] > sigma[:-1]).all())


@pytest.mark.parametrize("name", NAMES)
def test_signal_to_noise_falls(name):
    ratio = schedule.named(name).log_ratio(grid(99, 0.01, 0.99))
    assert bool((ratio.diff() < 0).all())
    alpha, sigma = schedule.named(name).levels(grid(99, 0.01, 0.99))
    torch.testing.assert_close(ratio.exp(), alpha / sigma)


def test_linear_is_the_integral_of_its_rate():
    """d log alpha / dt = -beta(t) / 2, beta from 0.1 to 20."""
    t = grid(50, 0.05, 0.95).requires_grad_()
    alpha, _ = denoiser.linear(t)
    (slope,) = torch.autograd.grad(alpha.log().sum(), t)
    torch.testing.assert_close(slope, -(0.1 + 19.9 * t.detach()) / 2)


@pytest.mark.parametrize("name", NAMES)
def test_stride_is_one_less_the_ratio(name):
    t, s = grid(50, 0.3, 0.99), grid(50, 0.29, 0.9)
    (alpha, sigma), (alpha_s, sigma_s) = (schedule.named(name).levels(one) for one in (t, s))
    d = schedule.named(name).stride(t, s)
    torch.testing.assert_close(d, 1 - alpha * sigma_s / (sigma * alpha_s), rtol=1e-11, atol=0)
    assert bool((d > 0).all()) and bool((d < 1).all())


def test_stride_at_both_ends():
    levels = schedule.named("cosine")
    to_data = levels.stride(torch.tensor([0.2]), torch.tensor([0.0]))
    assert float(to_data) == 1.0
    zero_terminal = schedule.Schedule(lambda t: (1 - t, (1 - (1 - t) ** 2).sqrt()))
    assert float(zero_terminal.stride(torch.tensor([1.0]), torch.tensor([0.9]))) == 1.0


def test_stride_of_a_tiny_step_keeps_its_digits():
    """-d lambda / dt delta for the cosine, where 1 - r in float32 would be off by parts in a
    hundred."""
    t = torch.tensor([0.5])
    delta = 2**-20
    d = schedule.named("cosine").stride(t, t - delta)
    assert float(d) == pytest.approx(torch.pi * delta, rel=1e-4)


# -- forms


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("into", FORMS)
def test_forms_convert_there_and_back(form, into):
    x0, noise = drawn(5, 3), drawn(5, 3, seed=1)
    alpha, sigma = (one[:, None] for one in denoiser.cosine(grid(5, 0.1, 0.9)))
    x = alpha * x0 + sigma * noise
    output = forms.said(x0, noise, alpha, sigma, form)
    other = forms.convert(output, x, alpha, sigma, form, into)
    torch.testing.assert_close(other, forms.said(x0, noise, alpha, sigma, into))
    torch.testing.assert_close(forms.convert(other, x, alpha, sigma, into, form), output)
    torch.testing.assert_close(forms.data_of(output, x, alpha, sigma, form), x0)
    torch.testing.assert_close(forms.noise_of(output, x, alpha, sigma, form), noise)


def test_v_knows_the_data_in_pure_noise():
    x0, noise = drawn(4, 3), drawn(4, 3, seed=1)
    alpha, sigma = torch.zeros(4, 1, dtype=F64), torch.ones(4, 1, dtype=F64)
    v = forms.said(x0, noise, alpha, sigma, "v")
    torch.testing.assert_close(forms.data_of(v, noise, alpha, sigma, "v"), x0)


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="x0, eps or v"):
        forms.said(*[torch.zeros(1)] * 4, "score")


# -- steps against diffusers


@pytest.fixture
def tables():
    diffusers = pytest.importorskip("diffusers")
    more = {"num_train_timesteps": 1000, "clip_sample": False, "beta_schedule": "linear"}
    return diffusers, more


@pytest.mark.parametrize(
    "form, theirs", [("eps", "epsilon"), ("x0", "sample"), ("v", "v_prediction")]
)
def test_ddim_is_diffusers(tables, form, theirs):
    diffusers, more = tables
    scheduler = diffusers.DDIMScheduler(prediction_type=theirs, set_alpha_to_one=True, **more)
    scheduler.set_timesteps(10)
    table = scheduler.alphas_cumprod.double()
    x, output = drawn(2, 3), drawn(2, 3, seed=1)
    for t in scheduler.timesteps.tolist():
        here = (table[t].sqrt(), (1 - table[t]).sqrt())
        there = (table[t - 100].sqrt(), (1 - table[t - 100]).sqrt()) if t >= 100 else (
            torch.ones((), dtype=F64), torch.zeros((), dtype=F64))  # fmt: skip
        ours = steppers.ddim_update(x, forms.data_of(output, x, *here, form), here, there)
        theirs_x = scheduler.step(output, t, x).prev_sample
        torch.testing.assert_close(ours, theirs_x, rtol=1e-6, atol=1e-6)
        x = ours


def test_ddpm_is_diffusers(tables):
    """Mean and variance: the same generator, so the same draw."""
    diffusers, more = tables
    scheduler = diffusers.DDPMScheduler(variance_type="fixed_small", **more)
    table, x, output = scheduler.alphas_cumprod.double(), drawn(2, 3), drawn(2, 3, seed=1)
    for t in (999, 500, 20):
        here, there = (((table[i]).sqrt(), (1 - table[i]).sqrt()) for i in (t, t - 1))
        noise = drawn(2, 3, seed=7)
        made = scheduler.step(output, t, x, generator=torch.Generator().manual_seed(7)).prev_sample
        ours = steppers.ddpm_update(x, forms.data_of(output, x, *here, "eps"), here, there, noise)
        torch.testing.assert_close(ours, made, rtol=1e-5, atol=1e-5)


def test_heun_is_diffusers(tables):
    """A whole walk of Heun steps with the exact denoiser. Theirs works on x / alpha."""
    diffusers, more = tables
    more = {k: v for k, v in more.items() if k != "clip_sample"}
    scheduler = diffusers.HeunDiscreteScheduler(prediction_type="sample", **more)
    scheduler.set_timesteps(8)
    mean, std = (torch.tensor(one, dtype=F64) for one in (gauss.MEAN, gauss.STD))
    # sigma / alpha; theirs holds each twice but the first
    k = torch.cat([scheduler.sigmas[:1].double(), scheduler.sigmas[1::2].double()])
    pairs = {
        float(i): (1 / (1 + one**2).sqrt(), one / (1 + one**2).sqrt()) for i, one in enumerate(k)
    }

    def levels(t):
        found = [pairs[i] for i in t.tolist()]
        return torch.stack([a for a, _ in found]), torch.stack([s for _, s in found])

    def f(x, t):
        alpha, sigma = (one[:, None] for one in levels(t))
        return gauss.data(x, alpha, sigma, mean, std)

    noise = drawn(4, 3)
    _, sigma = pairs[0.0]
    made = steppers.walk(
        f,
        sigma * noise,
        schedule.Schedule(levels),
        [float(i) for i in range(len(k))],
        steppers.heun,
    )
    z = noise * k[0]
    for i, t in enumerate(scheduler.timesteps):
        sigma_hat = scheduler.sigmas.double()[i]
        one = (1 / (1 + sigma_hat**2).sqrt(), sigma_hat / (1 + sigma_hat**2).sqrt())
        output = gauss.data(z * one[0], *one, mean, std)
        z = scheduler.step(output, t, z).prev_sample
    torch.testing.assert_close(made, z, rtol=1e-5, atol=1e-5)


def test_a_table_of_diffusers_is_a_schedule(tables):
    diffusers, more = tables
    scheduler = diffusers.DDPMScheduler(**more)
    levels = schedule.of_scheduler(scheduler).levels
    at = torch.tensor([0, 1, 499, 999])
    alpha, sigma = levels((at + 1).double() / 1000)
    torch.testing.assert_close(alpha**2, scheduler.alphas_cumprod.double()[at])
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(4, dtype=F64))
    clean = levels(torch.zeros(1))
    assert float(clean[0]) == 1.0 and float(clean[1]) == 0.0
    # it is the linear schedule, but that log(1 - beta) is not -beta
    t = grid(9, 0.1, 0.9)
    gap = 2 * (levels(t)[0] / schedule.named("linear").levels(t)[0]).log()
    assert float(gap.abs().max()) < float(scheduler.betas.square().sum())
    scheduler.alphas_cumprod = torch.tensor([0.9, 0.95])
    with pytest.raises(ValueError, match="falls"):
        schedule.of_scheduler(scheduler)


# -- the Gaussian, where everything is known


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("step, order", [(steppers.ddim, 1), (steppers.heun, 2)])
def test_walks_go_where_the_flow_leads(name, step, order):
    """The error falls with the order of the step: by half, or by three quarters and more."""
    net = gauss.model(gauss.Best("x0", name), "x0", name)
    x = drawn(16, 3)
    ends = gauss.flow(x, x.new_full((16,), 0.9), x.new_full((16,), 0.1), name)
    errors = []
    for steps in (50, 100, 200):
        at = [0.9 - 0.8 * k / steps for k in range(steps + 1)]
        made = steppers.walk(net.data, x, schedule.named(name), at, step)
        errors.append(float((made - ends).detach().abs().max()))
    assert errors[2] < (0.02 if order == 1 else 5e-4)
    for coarse, fine in pairwise(errors):
        assert fine / coarse == pytest.approx(0.5**order, abs=0.06)


def test_a_model_walks_like_the_stepper():
    for predicts in FORMS:
        net = gauss.model(gauss.Best(predicts), predicts, steps=7)
        x = drawn(5, 3)
        ours = steppers.walk(net.data, x, schedule.named("cosine"), steppers.times(7, net.t_max))
        torch.testing.assert_close(net(x), ours)
        assert net.evaluations == 7
    with pytest.raises(ValueError, match="one step"):
        steppers.times(0, 1.0)


def test_ddpm_draws_the_gaussian():
    net = gauss.model(gauss.Best("x0"), "x0")
    at = steppers.times(200, net.t_max)
    step = steppers.ddpm(torch.Generator().manual_seed(3))
    with torch.no_grad():
        made = steppers.walk(net.data, drawn(20_000, 3), schedule.named("cosine"), at, step)
    torch.testing.assert_close(made.mean(0), torch.tensor(gauss.MEAN, dtype=F64), atol=0.04, rtol=0)
    torch.testing.assert_close(made.std(0), torch.tensor(gauss.STD, dtype=F64), rtol=0.04, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_signal_begins_and_ends_as_the_card_says(name):
    noise, T = drawn(8, 3), 0.99
    net = gauss.model(gauss.Best("x0", name), "x0", name)
    end = noise.new_full((8,), T)
    torch.testing.assert_close(gauss.signal(noise, end, T, name), net.data(noise, end).detach())
    alpha, sigma = (one[:, None] for one in denoiser.SCHEDULES[name](end))
    mean, std = (torch.tensor(one, dtype=F64) for one in (gauss.MEAN, gauss.STD))
    first = net.data(noise, end).detach()
    z = (alpha * (first - mean) + sigma * noise) / (alpha**2 * std**2 + sigma**2).sqrt()
    torch.testing.assert_close(gauss.signal(noise, 0 * end, T, name), mean + std * z)


@pytest.mark.parametrize("order, least", [(1, 0.97), (2, 1.9)])
def test_the_exact_student_meets_its_target(order, least):
    """With the exact signal the residual is the error of one step of the ODE: it vanishes with the
    step, over d as its order."""
    net, noise = gauss.model(gauss.Best("x0"), "x0"), drawn(64, 3)
    t = grid(64, 0.2, 0.9)

    def y(eps, at):
        return gauss.signal(eps, at, 0.99)

    rests = []
    for delta in (0.02, 0.01, 0.005):
        s = t - delta
        with torch.no_grad():
            wanted, d = bootstrap.target(
                y, net.data, noise, t, s, schedule.named("cosine"), order=order
            )
        rests.append(float(((y(noise, s) - wanted) / d).square().mean().sqrt()))
    rates = [torch.tensor(a / b).log2() for a, b in pairwise(rests)]
    assert min(rates) > least, rests


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_what_bootstrapping_settles_on_is_the_map(name, order):
    """A student that meets the boundary and every target on a grid of times is where the walk in
    those steps ends; with finer grids, where the ODE does."""
    net, noise = gauss.model(gauss.Best("x0", name), "x0", name), drawn(16, 3)
    ends = gauss.signal(noise, torch.zeros(16, dtype=F64), 0.99, name)
    errors = []
    for steps in (25, 50, 100):
        at = [noise.new_full((16,), one) for one in steppers.times(steps, 0.99)]
        with torch.no_grad():
            y = net.data(noise, at[0])
            for t, s in pairwise(at):
                held = y
                y, _ = bootstrap.target(
                    lambda eps, at, held=held: held,
                    net.data, noise, t, s, schedule.named(name), order=order,
                )  # fmt: skip
        errors.append(float((y - ends).norm() / ends.norm()))
    # order 1 and nearly 2: the first and the last step are long in lambda, however fine the grid
    rate = {1: 0.6, 2: 0.4}[order]
    assert all(fine < coarse * rate for coarse, fine in pairwise(errors)), errors
    assert errors[2] < (0.05 if order == 1 else 0.005), errors


def test_the_target_is_one_ddim_step():
    """For any y: the target's place at s is where DDIM leads from the place of y at t."""
    net, noise = gauss.model(gauss.Best("x0"), "x0"), drawn(6, 3)
    t, s = grid(6, 0.3, 0.9), grid(6, 0.1, 0.8)
    anything = drawn(6, 3, seed=4)
    levels = schedule.named("cosine")
    wanted, _ = bootstrap.target(lambda eps, at: anything, net.data, noise, t, s, levels)
    (alpha, sigma), (alpha_s, sigma_s) = (
        [o[:, None] for o in levels.levels(one)] for one in (t, s)
    )
    x = alpha * anything + sigma * noise
    there = steppers.ddim(net.data, x, t, s, levels)
    torch.testing.assert_close(alpha_s * wanted + sigma_s * noise, there)


def test_two_steps_become_one():
    net, x = gauss.model(gauss.Best("x0"), "x0"), drawn(6, 3)
    levels, t, s = schedule.named("cosine"), grid(6, 0.3, 0.9), grid(6, 0.0, 0.6)
    x0 = two_steps(net.data, x, t, s, levels)
    middle = (t + s) / 2
    twice = steppers.ddim(
        net.data, steppers.ddim(net.data, x, t, middle, levels), middle, s, levels
    )
    torch.testing.assert_close(steppers.ddim(lambda *_: x0, x, t, s, levels), twice)


def test_the_exact_denoiser_has_the_least_loss():
    """E || x_0 - f ||^2 is the posterior variance; a shifted denoiser adds its shift squared."""
    net = gauss.model(gauss.Best("x0"), "x0")
    mean, std = (torch.tensor(one, dtype=F64) for one in (gauss.MEAN, gauss.STD))
    x = mean + std * drawn(40_000, 3)
    t = x.new_full((len(x),), 0.5)
    with torch.no_grad():
        least = learning.denoising(net, x, drawn(40_000, 3, seed=2), t).mean()
        net.net.mean += 0.1
        more = learning.denoising(net, x, drawn(40_000, 3, seed=2), t).mean()
    alpha, sigma = denoiser.cosine(t[0])
    variance = std**2 * sigma**2 / (alpha**2 * std**2 + sigma**2)
    assert float(least) == pytest.approx(float(variance.mean()), rel=0.02)
    shift = 0.1 * (1 - alpha**2 * std**2 / (alpha**2 * std**2 + sigma**2))
    assert float(more - least) == pytest.approx(float(shift.square().mean()), rel=0.15)
