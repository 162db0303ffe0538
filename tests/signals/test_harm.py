"""What is stored is checked; a lie has a name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asking import VIEWS, Make, batches, cached, folder
from signal_fakes import Images, ModelView
from torch import nn
from torch.nn import functional as F

import bequeath.signals.passes as passes
from bequeath.kernel.errors import RunError


@pytest.mark.parametrize("harm", ["flip", "truncate", "remove", "list"])
def test_a_damaged_cache_is_made_again_with_a_warning(
    context: Make, data: Images, cache_root: Path, harm: str
) -> None:
    cached(context(), ModelView(), data)
    path = folder(cache_root) / "logits-0.npy"
    whole = path.read_bytes()
    if harm == "flip":
        path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 16]) + whole[-4:])
    elif harm == "truncate":
        path.write_bytes(whole[:-7])
    elif harm == "remove":
        path.unlink()
    else:
        (folder(cache_root) / "meta.json").write_text("{")
    if harm == "list":
        kept = cached(context(), ModelView(), data)
    else:
        with pytest.warns(UserWarning, match=r"damaged \(logits-0\.npy"):
            kept = cached(context(), ModelView(), data)
    assert kept.stats["hit"] is False and path.read_bytes() == whole
    assert cached(context(), ModelView(), data).stats["hit"] is True


@pytest.mark.filterwarnings("ignore:the teacher cache")
def test_a_disk_that_loses_data_is_told_so(
    context: Make, data: Images, cache_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(context(), ModelView(), data)
    damage = {"logits-0.npy": "checksum 00000001, was 00000002"}
    monkeypatch.setattr(passes.Cache, "damaged", lambda self, outputs, views: dict(damage))
    with pytest.raises(RunError) as caught:
        cached(context(), ModelView(), data)
    problem = caught.value.problem
    assert problem.code == "S701"
    assert problem.notes[0] == "logits-0.npy: checksum 00000001, was 00000002"


def scaled(cache_root: Path, factor: float) -> None:
    """Change what is stored and its checksum with it: a wrong answer that is well formed."""
    import zlib

    path = folder(cache_root) / "logits-0.npy"
    values = np.load(path)
    np.save(path, values * np.float32(factor))
    listed = json.loads((path.parent / "meta.json").read_text())
    listed["files"][path.name]["crc32"] = zlib.crc32(path.read_bytes())
    (path.parent / "meta.json").write_text(json.dumps(listed))


def test_answers_that_are_no_longer_the_teachers(
    context: Make, data: Images, cache_root: Path
) -> None:
    cached(context(), ModelView(), data)
    scaled(cache_root, 1.0 + 1e-6)
    assert cached(context(), ModelView(), data).stats["hit"] is True  # rounding is no lie
    scaled(cache_root, 1.1)
    with pytest.raises(RunError) as caught:
        cached(context(), ModelView(), data)
    problem = caught.value.problem
    assert problem.code == "S703" and "largest difference" in problem.notes[0]
    assert "code changed" in problem.notes[1]
    assert folder(cache_root).name in problem.remedies[0]


def test_the_same_tensors_in_other_code(context: Make, data: Images) -> None:
    cached(context(), ModelView(), data)
    with pytest.raises(RunError, match=r"S703") as caught:
        cached(context(), ModelView(scale=1.5), data)
    assert "0.33 of the largest answer" in str(caught.value)


def test_other_threads_are_named_as_a_cause(context: Make, data: Images, cache_root: Path) -> None:
    cached(context(), ModelView(), data)
    path = folder(cache_root) / "meta.json"
    listed = json.loads(path.read_text())
    listed["files"]["logits-0.npy"]["made_with"] |= {"threads": 77}
    path.write_text(json.dumps(listed))
    scaled(cache_root, 1.1)
    with pytest.raises(RunError, match=r"threads: 77 then, \d+ now"):
        cached(context(), ModelView(), data)


def test_a_teacher_that_answers_at_random_is_found_out(context: Make, data: Images) -> None:
    class Loose(ModelView):
        def load(self) -> Any:
            model = super().load()
            model.module.drop.register_forward_hook(lambda m, a, out: F.dropout(out, 0.5))
            return model

    with pytest.raises(RunError, match=r"answer to a sample is random"):
        cached(context(), Loose(), data)


def test_a_batch_of_other_data_is_refused(context: Make, data: Images) -> None:
    kept = cached(context(), ModelView(), data)
    [foreign, *_] = batches(context(), Images(seed=9), 1)
    with pytest.raises(RunError) as caught:
        kept(foreign)
    assert caught.value.problem.code == "S706"
    kept = cached(context(), ModelView(), data)
    with pytest.raises(RunError, match="S706"):
        kept({"idx": torch.tensor([64]), "x": data.x[:1]})


def test_a_batch_in_other_views_is_refused(context: Make, data: Images) -> None:
    kept = cached(context(augment=VIEWS), ModelView(), data)
    other = context(seed=3, augment={"crop": 2, "flip": True})  # views of its own, without end
    with pytest.raises(RunError, match="S706"):
        kept(batches(other, data, 1)[0])


def test_an_answer_that_is_no_number_names_the_samples(context: Make, data: Images) -> None:
    class Overflows(ModelView):
        def load(self) -> Any:
            model = super().load()

            def hook(m: nn.Module, args: Any, out: torch.Tensor) -> torch.Tensor:
                return out.masked_fill((args[0]["idx"] == 21)[:, None], float("nan"))

            model.register_forward_hook(hook)
            return model

    with pytest.raises(RunError) as caught:
        cached(context(), Overflows(), data)
    assert caught.value.problem.code == "S708"
    assert caught.value.problem.notes == ("samples: 21",)
