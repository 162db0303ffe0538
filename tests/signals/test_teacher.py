"""Cached and live say the same."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asking import VIEWS, Make, batches, cached, folder
from signal_fakes import Images, ModelView, Net
from torch import nn
from torch.nn import functional as F

import bequeath.signals.teacher as door
from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.given.bound import BoundModel, hash_tensors
from bequeath.given.given import Given
from bequeath.given.samples import ArraySamples
from bequeath.kernel.errors import JobError, RunError
from bequeath.signals.cached import CachedTeacher, _Table
from bequeath.signals.live import LiveTeacher
from bequeath.signals.teacher import teacher
from bequeath.train.batches import Batches
from bequeath.train.context import Context


@pytest.mark.parametrize("augment", [{}, VIEWS])
def test_cached_answers_are_the_live_ones(
    context: Make, data: Images, augment: dict[str, Any]
) -> None:
    features = ("embedding", "conv")
    on = context(augment=augment)
    kept = cached(on, ModelView(), data, features=features)
    live = teacher(context(augment=augment, cache="off"), ModelView(), data, features=features)
    assert isinstance(live, LiveTeacher) and live.stats is None
    for batch in batches(on, data, 4):
        ours, theirs = kept(batch).outputs(), live(batch).outputs()
        assert list(ours) == list(theirs) == ["logits", "embedding", "conv"]
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("augment", [{}, VIEWS])
def test_a_student_learns_the_same_from_both(
    context: Make, data: Images, augment: dict[str, Any]
) -> None:
    """The pass puts samples in other batches than training does, hence not bit for bit."""

    def trained(cache: str) -> torch.Tensor:
        ctx = context(augment=augment, cache=cache)
        answers = teacher(ctx, ModelView(), data)
        torch.manual_seed(0)
        student = ModelView(seed=5).load().train()
        optimizer = torch.optim.SGD(student.parameters(), 0.1, momentum=0.9)
        for batch in batches(ctx, data, 5):
            loss = F.mse_loss(student(batch), answers(batch).logits)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return nn.utils.parameters_to_vector(student.parameters()).detach()

    torch.testing.assert_close(trained("on"), trained("off"), rtol=0, atol=1e-5)


def test_views_can_be_mixed_in_a_batch(context: Make, data: Images) -> None:
    ctx = context(augment=VIEWS)
    kept = cached(ctx, ModelView(), data)
    by_view = batches(ctx, data, 3)
    table = torch.zeros(3, len(data), 4)
    for batch in by_view:
        table[batch["view"], batch["idx"]] = kept(batch).logits
    idx, view = torch.tensor([5, 6, 5]), torch.tensor([2, 0, 1])
    mixed = {"idx": idx, "view": view}
    kept._calls = 2  # the batch has no pixels to be looked at
    torch.testing.assert_close(kept(mixed).logits, table[view, idx], rtol=0, atol=0)


@pytest.mark.parametrize("views", [None, [0, 1, 1], [1, 1, 1]])
def test_tensors_on_a_device_and_maps_hold_the_same(views: list[int] | None) -> None:
    rng = np.random.default_rng(0)
    stored = [
        {"logits": rng.normal(size=(9, 4)).astype("f4"), "f": rng.normal(size=(9, 2)).astype("f4")}
        for _ in range(2)
    ]
    idx = torch.tensor([8, 0, 3])
    view = None if views is None else torch.tensor(views)
    maps, tensors = (_Table(stored, device).rows(idx, view) for device in (None, "cpu"))
    for name in ("logits", "f"):
        assert torch.equal(maps[name], tensors[name])
        wanted = [stored[v][name][i] for i, v in zip([8, 0, 3], views or [0, 0, 0])]
        np.testing.assert_array_equal(maps[name].numpy(), np.stack(wanted))


def test_the_second_use_is_a_hit_and_says_what_it_saved(context: Make, data: Images) -> None:
    ctx, view = context(), ModelView()
    first = cached(ctx, view, data)
    assert first.stats["hit"] is False and ctx.notes["cache"] is first.stats
    assert first.stats["bytes"] == 64 * 4 * 4 and first.stats["saved_s"] < 0
    assert view.asked >= 64
    view = ModelView()
    second = cached(context(seed=1), view, data)
    assert second.stats["hit"] is True
    assert view.asked == 32  # the sample it is checked with
    second._seconds = 0.5
    before = second.stats["saved_s"]
    for batch in batches(ctx, data, 1):
        second(batch)
    assert second.stats["saved_s"] == pytest.approx(before + 0.5 * 64)


def test_seeds_share_a_finite_number_of_views(context: Make, data: Images) -> None:
    cached(context(seed=0, augment=VIEWS), ModelView(), data)
    assert cached(context(seed=1, augment=VIEWS), ModelView(), data).stats["hit"] is True


def test_more_views_go_on_from_those_there_are(context: Make, data: Images) -> None:
    cached(context(augment=VIEWS), ModelView(), data)
    view = ModelView()
    kept = cached(context(augment={**VIEWS, "views": 4}), view, data)
    assert kept.stats["hit"] is False and view.asked < 2 * 64
    assert cached(context(augment=VIEWS), ModelView(), data).stats["hit"] is True


def test_every_ingredient_makes_another_cache(
    context: Make, data: Images, cache_root: Path
) -> None:
    def count(ctx: Context, view: ModelView, samples: Images, **more: Any) -> int:
        assert cached(ctx, view, samples, **more).stats["hit"] is False
        return len([p for p in cache_root.iterdir() if p.is_dir()])

    assert count(context(), ModelView(), data) == 1
    assert count(context(), ModelView(seed=1), data) == 2
    assert count(context(), ModelView(mean=0.4), data) == 3
    assert count(context(), ModelView(), Images(seed=1)) == 4
    assert count(context(augment=VIEWS), ModelView(), data) == 5
    assert count(context(augment={**VIEWS, "crop": 1}), ModelView(), data) == 6
    assert count(context(precision="bf16"), ModelView(), data) == 7
    assert count(context(), ModelView(), data, features=("embedding",)) == 7  # beside the logits


def test_the_teacher_is_let_go(context: Make, data: Images) -> None:
    view = ModelView()
    gone: list[weakref.ref[nn.Module]] = []
    load = view.load

    def watched() -> Any:
        model = load()
        gone.append(weakref.ref(model.module))
        return model

    view.load = watched  # type: ignore[method-assign]
    kept = cached(context(augment=VIEWS), view, data, features=("embedding",))
    list(kept.over_data())
    gc.collect()
    assert len(gone) == 2 and all(ref() is None for ref in gone)


@pytest.mark.parametrize("augment", [{}, VIEWS])
@pytest.mark.parametrize("cache", ["on", "off"])
def test_over_data_is_without_augmentation(
    context: Make, data: Images, augment: dict[str, Any], cache: str
) -> None:
    answers = teacher(context(augment=augment, cache=cache), ModelView(), data, ("embedding",))
    seen = list(answers.over_data())
    batch = data.fetch(torch.arange(64))
    expected = LiveTeacher(ModelView().load())(batch).logits
    assert torch.equal(torch.cat([b["idx"] for b, _ in seen]), batch["idx"])
    assert torch.equal(torch.cat([b["x"] for b, _ in seen]), batch["x"])
    got = torch.cat([signal.logits for _, signal in seen])
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    assert seen[0][1].features["embedding"].shape[1] == 8


def test_views_without_end(context: Make, data: Images) -> None:
    endless = {"crop": 2}
    with pytest.raises(JobError) as caught:
        teacher(context(augment=endless), ModelView(), data)
    assert caught.value.problems[0].code == "S704"
    assert isinstance(
        teacher(context(augment=endless, cache="auto"), ModelView(), data), LiveTeacher
    )


def test_auto_keeps_answers_when_that_is_less_work(
    context: Make, data: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = context(cache="auto", epochs=1)
    assert isinstance(teacher(few, ModelView(), data), LiveTeacher)
    monkeypatch.setattr(door, "free_bytes", lambda where: 5000)  # a tenth is less than 1024 bytes
    many = context(cache="auto", epochs=5)
    assert isinstance(teacher(many, ModelView(), data), LiveTeacher)
    monkeypatch.setattr(door, "free_bytes", lambda where: 50_000)
    assert cached(many, ModelView(), data).stats["hit"] is False
    assert cached(few, ModelView(), data).stats["hit"] is True  # it costs nothing any more


def test_auto_goes_on_live_where_nothing_can_be_written(
    context: Make, data: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "file" / "x"))
    with pytest.warns(UserWarning, match="asked live"):
        assert isinstance(teacher(context(cache="auto"), ModelView(), data), LiveTeacher)
    with pytest.raises(RunError, match="S705"):
        teacher(context(cache="on"), ModelView(), data)


def test_a_fill_that_was_stopped_goes_on(context: Make, data: Images, cache_root: Path) -> None:
    class Stops(ModelView):
        def load(self) -> Any:
            model = super().load()

            def hook(m: nn.Module, args: Any, out: Any) -> None:
                if self.asked > 96:
                    raise KeyboardInterrupt

            model.register_forward_hook(hook)
            return model

    ctx = context(augment=VIEWS)
    with pytest.raises(KeyboardInterrupt):
        cached(ctx, Stops(), data)
    assert {p.name for p in folder(cache_root).iterdir()} == {"meta.json", "logits-0.npy"}
    view = ModelView()
    kept = cached(ctx, view, data)
    assert view.asked < 64 * 3 and kept.stats["hit"] is False
    live = teacher(context(augment=VIEWS, cache="off"), ModelView(), data)
    for batch in batches(ctx, data, 3):
        torch.testing.assert_close(kept(batch).logits, live(batch).logits)


def test_two_runs_at_once_ask_the_teacher_once(context: Make, data: Images) -> None:
    view = ModelView()
    found: list[CachedTeacher] = []
    contexts = [context(seed=seed) for seed in range(2)]
    threads = [
        threading.Thread(target=lambda c=ctx: found.append(cached(c, view, data)))
        for ctx in contexts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.stats["hit"] for one in found) == [False, True]


class Served:
    """A view that lets only the answers through."""

    access = Access.LOGITS

    def __init__(self, known: bool = True):
        inner = ModelView()
        model = inner.load().eval()
        self.facts = inner.facts
        if known:
            self.facts = type(inner.facts)(architecture="net", hash="abc", head="head")
        self._model = model

    def predictor(self) -> Callable[[dict[str, Any]], torch.Tensor]:
        model = self._model
        return lambda batch: model(batch)


def test_answers_alone_can_be_kept_when_the_teacher_is_known(context: Make, data: Images) -> None:
    kept = cached(context(), Served(), data)  # type: ignore[arg-type]
    assert kept(data.fetch(torch.arange(3))).logits.shape == (3, 4)
    with pytest.raises(JobError, match="S709"):
        teacher(context(), Served(known=False), data)
    live = teacher(context(cache="auto"), Served(known=False), data)
    assert isinstance(live, LiveTeacher)


def test_an_embedding_needs_a_known_classifier(context: Make, data: Images) -> None:
    view = ModelView()
    view.facts = type(view.facts)(architecture="net")
    with pytest.raises(JobError, match="S707"):
        teacher(context(), view, data, features=("embedding",))


def test_no_global_random_number_is_used(context: Make, data: Images) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    kept = cached(context(augment=VIEWS), ModelView(), data)
    kept(batches(context(augment=VIEWS), data, 1)[0])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert isinstance(ModelView().load().module, Net)


def test_through_the_seal(context: Make, data: Images) -> None:
    """A method that may see answers and no labels gets the same, live and cached."""
    samples = ArraySamples("image", data.x, data.y, ("a", "b", "c", "d"))
    needs = Needs(
        models={"teacher": ModelNeed(Access.LOGITS)}, data={"train": DataNeed(Labels.NONE)}
    )
    model = ModelView().load()
    known = replace(model.facts, hash=hash_tensors(model.module))

    def given() -> Given:
        opened = BoundModel(model.module, model.preprocess, known, model.source)
        return Given(needs, {"teacher": lambda: opened}, {"teacher": known}, {"train": samples})

    def asked(cache: str) -> list[torch.Tensor]:
        ctx, seen = context(cache=cache, augment=VIEWS), given()
        answers = teacher(ctx, seen.model("teacher"), seen.data("train"))
        made = Batches(seen.data("train"), 16, ctx.seed, ctx.train.augment)
        batches = [batch for epoch in range(3) for batch in made.epoch(epoch)]
        assert "y" not in batches[0] and seen.attempts == []
        return [answers(batch).logits for batch in batches] + [
            signal.logits for _, signal in answers.over_data()
        ]

    for kept, live in zip(asked("on"), asked("off"), strict=True):
        torch.testing.assert_close(kept, live, rtol=1e-5, atol=1e-6)
    ctx = context(augment=VIEWS)
    cached(ctx, given().model("teacher"), given().data("train"))  # type: ignore[arg-type]
    assert ctx.notes["cache"]["hit"] is True
