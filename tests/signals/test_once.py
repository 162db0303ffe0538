"""The teacher speaks once: one cache for all that is asked of it, filled in one pass."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from asking import VIEWS, Make, batches, cached, folder
from signal_fakes import Images, ModelView

import bequeath.signals.passes as passes
import bequeath.signals.teacher as door
from bequeath.blocks.taps import Tap
from bequeath.kernel.errors import RunError
from bequeath.signals.cache import NAME
from bequeath.signals.cached import CachedTeacher
from bequeath.signals.live import LiveTeacher
from bequeath.signals.outputs import kept_as
from bequeath.signals.teacher import Prepared, prepare, teacher
from bequeath.train.budget import Deadline

N = 64
PROBE = 1  # a sample that tells how large the answers are
CHECKED = 32  # samples that kept answers are verified with
ND = ("embedding",)


def folders(root: Path) -> int:
    return len([p for p in root.iterdir() if p.is_dir()]) if root.exists() else 0


def test_an_output_is_added_to_those_there(context: Make, data: Images, cache_root: Path) -> None:
    cached(context(augment=VIEWS), ModelView(), data)
    logits = {p.name: p.stat() for p in folder(cache_root).glob("logits-*.npy")}
    view = ModelView()
    kept = cached(context(augment=VIEWS), view, data, features=ND)
    assert view.asked == PROBE + 3 * N + CHECKED and kept.stats["hit"] is False
    files = {p.name: p.stat() for p in folder(cache_root).glob("*.npy")}
    assert set(files) - set(logits) == {f"embedding@head.input-{v}.npy" for v in range(3)}
    assert {n: files[n].st_mtime_ns for n in logits} == {
        n: s.st_mtime_ns for n, s in logits.items()
    }
    live = teacher(context(augment=VIEWS, cache="off"), ModelView(), data, ND)
    for batch in batches(context(augment=VIEWS), data, 3):
        for name, values in live(batch).outputs().items():
            torch.testing.assert_close(kept(batch).outputs()[name], values, rtol=1e-5, atol=1e-6)
    again = ModelView()
    assert cached(context(augment=VIEWS), again, data).stats["hit"] is True
    assert again.asked == CHECKED


def test_a_wrong_output_is_found_though_the_other_is_right(
    context: Make, data: Images, cache_root: Path
) -> None:
    cached(context(), ModelView(), data, features=ND)
    path = folder(cache_root) / "embedding@head.input-0.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    cached(context(), ModelView(), data)  # who does not read it does not mind
    view = ModelView()
    with pytest.warns(UserWarning, match=r"damaged \(embedding@head\.input-0\.npy"):
        cached(context(), view, data, features=ND)
    assert view.asked == PROBE + N + CHECKED


def test_one_pass_serves_all_runs_of_a_comparison(
    context: Make, data: Images, cache_root: Path
) -> None:
    ctx, view = context(augment=VIEWS), ModelView()
    found = prepare(ctx, view, data, ND, runs=4, plain=2)
    assert view.asked == PROBE + N + 3 * N  # as they are, and in three views
    assert [(one.outputs, one.samples, one.views, one.asked) for one in found] == [
        (("logits", "embedding"), N, 0, N),
        (("logits", "embedding"), N, 3, 3 * N),
    ]
    assert found[1].bytes == sum(p.stat().st_size for p in cache_root.rglob("*-2.npy")) * 3
    assert folders(cache_root) == 2
    for seed in range(2):
        view = ModelView()
        kept = cached(context(seed=seed, augment=VIEWS), view, data)
        assert kept.stats["hit"] is True and view.asked == CHECKED
        kept = cached(context(seed=seed, augment=VIEWS), view, data, features=ND)
        assert len(list(kept.over_data())) == 1
        assert kept.stats["hit"] is True and view.asked == 3 * CHECKED
    assert folders(cache_root) == 2
    view = ModelView()
    assert [one.asked for one in prepare(ctx, view, data, ND, runs=4, plain=2)] == [0, 0]
    assert view.asked == 0


def test_the_runs_are_not_charged_for_the_pass(
    context: Make, data: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that goes one second for each sample the teacher answers, and stands otherwise."""
    view = ModelView()
    clock = SimpleNamespace(perf_counter=lambda: float(view.asked))
    monkeypatch.setattr(passes, "time", clock)
    monkeypatch.setattr(door, "time", clock)
    ctx = context(augment=VIEWS)
    prepare(ctx, view, data, ND, runs=2, plain=1)
    kept = cached(ctx, view, data, features=ND)
    assert kept.stats["saved_s"] == -CHECKED
    for batch in batches(ctx, data, 2):
        kept(batch)
    assert kept.stats["saved_s"] == 2 * N - CHECKED
    list(kept.over_data())
    assert kept.stats["saved_s"] == 3 * N - 2 * CHECKED
    assert kept.stats["bytes"] == N * (4 + 8) * 4 * (3 + 1)
    alone = cached(ctx, view, Images(seed=5))  # nobody has prepared it
    assert alone.stats["saved_s"] == -(PROBE + 3 * N + CHECKED)


@pytest.mark.parametrize(
    ("train", "runs", "plain"),
    [
        ({"cache": "off"}, 4, 2),
        ({"cache": "auto", "augment": {"flip": True}}, 4, 1),  # views without end
        ({"cache": "auto", "epochs": 1}, 1, 0),
        ({"cache": "auto", "augment": VIEWS, "epochs": 3}, 1, 1),
        ({"cache": "on"}, 0, 0),
    ],
)
def test_nothing_is_prepared_where_the_teacher_is_asked_live(
    context: Make, data: Images, cache_root: Path, train: dict[str, Any], runs: int, plain: int
) -> None:
    view = ModelView()
    assert prepare(context(**train), view, data, ND, runs=runs, plain=plain) == []
    assert view.asked == 0 and folders(cache_root) == 0


def test_it_pays_for_several_runs_what_does_not_for_one(context: Make, data: Images) -> None:
    ctx = context(cache="auto", augment=VIEWS, epochs=3)
    assert isinstance(teacher(ctx, ModelView(), data), LiveTeacher)
    [found] = prepare(ctx, ModelView(), data, runs=2)
    assert found == Prepared(("logits",), N, 3, found.bytes, 3 * N)
    assert cached(ctx, ModelView(), data).stats["hit"] is True


def test_means_of_the_plain_data_are_kept_where_views_have_no_end(
    context: Make, data: Images
) -> None:
    ctx = context(cache="auto", augment={"flip": True})
    [found] = prepare(ctx, ModelView(), data, ND, runs=2, plain=2)
    assert (found.views, found.asked) == (0, N)
    view = ModelView()
    answers = teacher(ctx, view, data, ND)
    assert isinstance(answers, LiveTeacher) and ctx.notes == {}
    seen = list(answers.over_data())
    assert view.asked == CHECKED and ctx.notes["cache"]["hit"] is True
    live = LiveTeacher(ModelView().load())(data.fetch(torch.arange(N)))
    torch.testing.assert_close(
        torch.cat([signal.logits for _, signal in seen]), live.logits, rtol=1e-5, atol=1e-6
    )
    answers(batches(ctx, data, 1)[0])
    assert view.asked == CHECKED + 16  # in training it is still live


def test_only_views_that_are_come_to_are_asked_for(
    context: Make, data: Images, cache_root: Path
) -> None:
    views = {**VIEWS, "views": 10}
    ctx, view = context(augment=views, epochs=2), ModelView()
    prepare(ctx, view, data, runs=3)
    kept = cached(ctx, view, data)
    assert view.asked == PROBE + 2 * N + CHECKED and kept.stats["hit"] is True
    assert len(list(folder(cache_root).glob("*.npy"))) == 2
    for batch in batches(ctx, data, 2):
        kept(batch)
    assert view.asked == PROBE + 2 * N + CHECKED


def test_a_method_may_train_for_longer_than_the_job_says(context: Make, data: Images) -> None:
    views = {**VIEWS, "views": 4}
    ctx, view = context(augment=views, epochs=2), ModelView()
    kept = cached(ctx, view, data)
    before = view.asked
    live = teacher(context(augment=views, cache="off"), ModelView(), data)
    for batch in batches(ctx, data, 6):  # views 0 1 2 3 0 1
        torch.testing.assert_close(kept(batch).logits, live(batch).logits, rtol=1e-5, atol=1e-6)
    assert view.asked == before + 2 * (PROBE + N + CHECKED)
    assert kept.stats["hit"] is False and kept.stats is ctx.notes["cache"]


def test_a_pass_stops_when_the_time_is_over(
    context: Make, data: Images, cache_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter([9.0] * 4 + [9.0] * 2)  # one view and a half, of four batches each
    monkeypatch.setattr(Deadline, "left", lambda self: next(left, 0.0))
    ctx, view = context(augment=VIEWS), ModelView()
    with pytest.warns(UserWarning, match=r"ended after 6 of 12 batches.* asked live"):
        answers = teacher(ctx, view, data)
    assert isinstance(answers, LiveTeacher) and view.asked == PROBE + 6 * 16
    assert {p.name for p in folder(cache_root).iterdir()} == {"meta.json", "logits-0.npy"}
    assert answers(batches(ctx, data, 1)[0]).logits.shape == (16, 4)
    monkeypatch.undo()
    monkeypatch.setenv("BEQUEATH_CACHE", str(cache_root))
    view = ModelView()
    cached(ctx, view, data)
    assert view.asked == PROBE + 2 * N + CHECKED


def test_a_pass_that_will_not_end_in_time_is_given_up_early(
    context: Make, data: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "_JUDGED_AT", 2)
    ctx, view = context(cache="auto", augment=VIEWS, epochs=9), ModelView()
    ctx.budget = Deadline(60.0)
    clock = iter(range(0, 10_000, 100))  # a batch takes longer than there is
    monkeypatch.setattr(passes.time, "perf_counter", lambda: float(next(clock)))
    [found] = prepare(ctx, view, data, runs=1)
    assert "it would take" in found.stopped and found.asked == 0
    assert view.asked == PROBE + 2 * 16
    monkeypatch.undo()


def test_only_auto_does_without_a_cache_that_cannot_be_written(
    context: Make, data: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "file" / "x"))
    [found] = prepare(context(cache="auto"), ModelView(), data, runs=2)
    assert "cannot be kept" in found.stopped and found.asked == 0
    with pytest.raises(RunError, match="S705"):
        prepare(context(), ModelView(), data, runs=2)


def test_outputs_go_by_where_they_are_read() -> None:
    def name(feature: str, *tap: Any, **more: Any) -> str:
        return kept_as({feature: Tap(*tap, **more)})[feature]

    assert kept_as({}) == {"logits": "logits"}
    assert name("embedding", "fc", "input") == "embedding@fc.input"
    assert name("any", "layer1.0") == name("other", "layer1.0") == "tap@layer1.0.output"
    odd = [
        name("a", "fc", "input"),
        name("a", "fc"),
        name("a", "fc", index=0),
        name("a", "fc", index="hidden"),
        name("a", "fc", clone=True),
        name("a", "FC"),
        name("a", "f/c"),
        name("a", "f_c"),
        name("a", "x" * 300),
        name("a", "x" * 301),
        name("a", ""),
        name("embedding", "fc", "input"),
    ]
    assert len({one.lower() for one in odd}) == len(odd)
    assert all(NAME.fullmatch(one) and len(one) < 100 and "/" not in one for one in odd)


def test_a_feature_is_not_called_like_the_answers(context: Make, data: Images) -> None:
    with pytest.raises(ValueError, match="another name"):
        teacher(context(), ModelView(), data, {"logits": Tap("conv")})


def test_a_cached_teacher_may_be_asked_while_it_grows(context: Make, data: Images) -> None:
    """The time ends when a method goes on beyond the job's epochs: the rest is asked live."""
    ctx, view = context(augment={**VIEWS, "views": 4}, epochs=2), ModelView()
    kept = cached(ctx, view, data)
    ctx.budget = Deadline(0.0)
    before = view.asked
    third = batches(ctx, data, 3)[-1]
    with pytest.warns(UserWarning, match="asked live"):
        kept(third)
    kept(third)
    assert view.asked == before + PROBE + 2 * len(third["idx"])
    assert isinstance(kept, CachedTeacher)
