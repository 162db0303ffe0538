"""Preprocessing: exact where it can be, the same after a trip through JSON, refused when wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from samples_for_models import Rows, images, vectors

from bequeath.given.options import PreprocessOptions, parse_ref
from bequeath.given.preprocess import (
    ImagePreprocess,
    TextPreprocess,
    VectorPreprocess,
    from_dict,
    override,
)
from bequeath.kernel.errors import JobError

CPU = torch.device("cpu")


def test_images_are_scaled_and_normalised():
    x = images(side=5).batch()["x"]
    eyes = ImagePreprocess(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    by_hand = (x.permute(0, 3, 1, 2).double() / 255 - torch.tensor(eyes.mean)[:, None, None]) / (
        torch.tensor(eyes.std)[:, None, None]
    )
    torch.testing.assert_close(eyes({"x": x}, CPU).double(), by_hand, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
@pytest.mark.parametrize("sides", [(64, 48, 24), (10, 10, 24)])
def test_resizing_is_pillows(name, sides):
    height, width, side = sides
    rng = torch.Generator().manual_seed(1)
    # Away from 0 and 255: Pillow cuts off between its two passes, which no float version does.
    coarse = torch.rand(1, 3, 6, 6, generator=rng) * 130 + 60
    x = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255)
    x = x.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    eyes = ImagePreprocess((side, side), (0.0,) * 3, (1 / 255,) * 3, interpolation=name)
    mine = eyes({"x": x}, CPU)[0].permute(1, 2, 0)
    resample = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[name]
    theirs = np.asarray(Image.fromarray(x[0].numpy()).resize((side, side), resample))
    assert (mine - torch.from_numpy(theirs.astype(np.float32))).abs().max() <= 1.5


def test_crop_keeps_the_middle():
    x = torch.zeros(1, 8, 8, 1, dtype=torch.uint8)
    x[0, 2:6, 2:6] = 255
    eyes = ImagePreprocess((4, 4), (0.0,), (1.0,), crop=0.5, channels=1)
    assert torch.equal(eyes({"x": x}, CPU), torch.ones(1, 1, 4, 4))


def test_grey_and_colour():
    grey = images(channels=1).batch()["x"]
    colour = ImagePreprocess(None, (0.0,) * 3, (1.0,) * 3)({"x": grey}, CPU)
    assert colour.shape == (4, 3, 12, 12) and torch.equal(colour[:, 0], colour[:, 2])
    back = ImagePreprocess(None, (0.0,), (1.0,), channels=1)
    same = grey.expand(-1, -1, -1, 3).contiguous()
    assert torch.equal(back({"x": same}, CPU), back({"x": grey}, CPU))
    with pytest.raises(ValueError, match="5 channels cannot become 3"):
        ImagePreprocess()({"x": torch.zeros(1, 2, 2, 5, dtype=torch.uint8)}, CPU)
    with pytest.raises(ValueError, match="uint8"):
        ImagePreprocess()({"x": torch.zeros(1, 2, 2, 3)}, CPU)


def test_vectors_are_standardised_over_all_chunks():
    data = vectors()
    eyes = VectorPreprocess(standard=True).fit(data)
    out = eyes({"x": data.values}, CPU)
    varying = out[:, 1:]
    torch.testing.assert_close(varying.mean(0), torch.zeros(6), rtol=0, atol=1e-3)
    torch.testing.assert_close(varying.std(0, correction=0), torch.ones(6), rtol=1e-3, atol=0)
    assert torch.equal(out[:, 0], torch.zeros(len(data)))
    with pytest.raises(ValueError, match="not been fitted"):
        VectorPreprocess(standard=True)({"x": data.values}, CPU)


def test_flattened_images_share_one_mean():
    data = images(side=6)
    eyes = VectorPreprocess(standard=True).fit(data)
    pixels = data.values.double() / 255
    assert eyes.mean == pytest.approx([pixels.mean().item()], rel=1e-5)
    assert eyes.std == pytest.approx([pixels.std(correction=0).item()], rel=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.floats(-1e4, 1e4), st.floats(1e-2, 1e3))
def test_fit_agrees_with_numpy(n, centre, spread):
    rng = torch.Generator().manual_seed(n)
    values = (torch.randn(n, 3, generator=rng) * spread + centre).float()
    eyes = VectorPreprocess(standard=True).fit(Rows("vector", values, 2))
    exact = values.double().numpy()
    assert eyes.mean == pytest.approx(exact.mean(0), rel=1e-5, abs=1e-5)
    if n > 1:
        assert eyes.std == pytest.approx(exact.std(0), rel=1e-3)


@pytest.mark.parametrize(
    "eyes",
    [
        ImagePreprocess((3, 4), (0.5,), (0.1,), "nearest", 0.9, 1),
        VectorPreprocess((1.0, 2.5), (3.0, 0.1), True),
        TextPreprocess("somewhere", 12, None, "abc"),
    ],
)
def test_json_and_back(eyes):
    again = from_dict(json.loads(json.dumps(eyes.to_dict())))
    assert again == eyes and again.digest() == eyes.digest() and hash(again) == hash(eyes)


def test_digest_tells_apart_what_differs():
    plain = ImagePreprocess()
    assert plain.digest() == ImagePreprocess().digest()
    assert plain.digest() != ImagePreprocess(size=(8, 8)).digest()
    assert (
        TextPreprocess("a", fingerprint="x").digest()
        == TextPreprocess("b", fingerprint="x").digest()
    )
    with pytest.raises(ValueError, match="unknown kind"):
        from_dict({"kind": "smell"})
    with pytest.raises(ValueError, match="unknown preprocessing setting `sise`"):
        from_dict({"kind": "image", "sise": 3})


def test_options_replace_parts():
    options = PreprocessOptions.model_validate({"size": 9, "std": "0.5,0.5,0.5"})
    eyes = override(ImagePreprocess((8, 8), crop=0.8), options, trained=True)
    assert eyes == ImagePreprocess((9, 9), std=(0.5,) * 3)
    none = PreprocessOptions.model_validate({"scale": "none"})
    auto = PreprocessOptions.model_validate({})
    fitted = VectorPreprocess((1.0,), (2.0,), True)
    assert override(fitted, auto, trained=True) == fitted
    assert override(fitted, none, trained=True) == VectorPreprocess()
    assert override(VectorPreprocess(), auto, trained=False).standard
    with pytest.raises(JobError, match="together"):
        override(fitted, PreprocessOptions.model_validate({"mean": [1.0]}), trained=True)


def test_references():
    ref = parse_ref("npz:C:/my data/x.npz?split=train&take=20")
    assert (ref.scheme, ref.rest) == ("npz", "C:/my data/x.npz")
    assert ref.query == {"split": "train", "take": "20"}
    assert parse_ref(str(ref)) == ref
    for wrong in ("resnet8", "zoo:", "zoo:mlp?", "zoo:mlp?a=1&a=2", ":x", "a b:c"):
        with pytest.raises(ValueError):
            parse_ref(wrong)
