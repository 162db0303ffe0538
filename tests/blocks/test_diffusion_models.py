"""Noise to train on, networks, and what a generator makes as data again."""

from __future__ import annotations

import gaussian_diffusion as gauss
import pytest
import torch

from bequeath.blocks.diffusion import generator, learning
from bequeath.blocks.diffusion.noise import EPOCH, NoiseBatches, Pairs
from bequeath.given.preprocess import ImagePreprocess, VectorPreprocess
from bequeath.given.zoo import denoiser
from bequeath.kernel.errors import RunError
from bequeath.train.seeds import generator as stream


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_pairs_stay_together():
    held = Pairs(drawn(5, 2), drawn(5, 2) + 1)
    batch = held.fetch(torch.tensor([3, 1]))
    assert torch.equal(batch["noise"] + 1, batch["end"]) and len(held) == 5
    with pytest.raises(ValueError, match="no pairs"):
        Pairs(drawn(5, 2), drawn(4, 2))


def draw(*counters):
    return stream(3, *counters)


def test_noise_depends_on_its_number_alone():
    batches = NoiseBatches(draw, (2, 3), 8)
    all_of_one = list(batches.epoch(1))
    assert len(all_of_one) == len(batches) == EPOCH
    later = next(batches.epoch(1, start=5))
    assert torch.equal(later["noise"], all_of_one[5]["noise"])
    other = next(batches.epoch(2, start=5))
    assert not torch.equal(later["noise"], other["noise"])
    apart = NoiseBatches(draw, (2, 3), 8, rank=1).batch(105)
    assert not torch.equal(later["noise"], apart["noise"])
    assert later["noise"].shape == (8, 2, 3)


def test_times_are_spread_over_the_walk():
    time = NoiseBatches(draw, (1,), 16).batch(0)["time"]
    assert sorted((time * 16).long().tolist()) == list(range(16))
    _, u = learning.noisy(torch.zeros(16, 2), draw, (0, 1))
    assert sorted((u * 16).long().tolist()) == list(range(16))


@pytest.mark.parametrize("size", [(5, 4, 1), (4, 4, 3)])
def test_images_come_back_to_the_bit(size):
    x = torch.randint(0, 256, (6, *size), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    half = (0.5,) * size[2]
    model = gauss.bound(gauss.model(gauss.Best()))
    model.preprocess = ImagePreprocess(None, half, half, channels=size[2])
    eaten = model.preprocess({"x": x}, torch.device("cpu"))
    assert torch.equal(generator.as_data(model, eaten, size, "image").x, x)
    model.preprocess = VectorPreprocess(mean=(0.2,), std=(0.4,))
    eaten = model.preprocess({"x": x}, torch.device("cpu"))
    assert torch.equal(generator.as_data(model, eaten, size, "image").x, x)


def test_small_images_are_brought_to_the_size_of_the_data():
    model = gauss.bound(gauss.model(gauss.Best()))
    model.preprocess = ImagePreprocess((4, 4), (0.5,), (0.5,), channels=1)
    flat = torch.full((2, 8, 8, 1), 77, dtype=torch.uint8)
    eaten = model.preprocess({"x": flat}, torch.device("cpu"))
    assert eaten.shape == (2, 1, 4, 4)
    assert torch.equal(generator.as_data(model, eaten, (8, 8, 1), "image").x, flat)


def test_vectors_come_back():
    model = gauss.bound(gauss.model(gauss.Best()))
    x = drawn(6, 3).float()
    model.preprocess = VectorPreprocess(mean=(1.0, 2.0, 3.0), std=(0.5, 2.0, 1.0))
    eaten = model.preprocess({"x": x}, torch.device("cpu"))
    torch.testing.assert_close(generator.as_data(model, eaten, (3,), "vector").x, x)


def test_what_is_no_diffusion_model_is_refused():
    model = gauss.bound(gauss.model(gauss.Best()))
    model.module = torch.nn.Linear(3, 3)
    with pytest.raises(RunError, match="no diffusion model"):
        generator.diffusion(model, "teacher")


def test_impossible_models_are_refused():
    for wrong in (
        {"predicts": "score"}, {"schedule": "none"}, {"sampler": "x"}, {"steps": 0}, {"t_max": 0.0},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            denoiser.build("denoiser", None, (3,), **wrong)
    with pytest.raises(ValueError, match="halved"):
        denoiser.build("unet", None, (1, 6, 6), layers=2)


@pytest.mark.parametrize(
    "name, shape, layers", [("denoiser", (7,), 2), ("unet", (2, 8, 4), 2), ("unet", (1, 7, 5), 0)]
)
def test_networks_keep_the_shape_and_see_the_time(name, shape, layers):
    torch.manual_seed(0)
    net = denoiser.build(name, None, shape, width=8, layers=layers, steps=2)
    torch.nn.init.normal_(net.net.out.weight)
    x, t = torch.randn(3, *shape), torch.tensor([0.1, 0.5, 0.9])
    assert net(x, t).shape == x.shape == net(x).shape
    assert not torch.allclose(net(x, t), net(x, t.flip(0)))
    one = net(x[:1], t[:1])
    torch.testing.assert_close(net(x, t)[:1], one, rtol=1e-4, atol=1e-5)  # samples do not mix
