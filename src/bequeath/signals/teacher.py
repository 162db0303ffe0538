"""The one door to a teacher: a method asks for its answers and need not know where they are from.

    answers = teacher(ctx, given.model("teacher"), given.data("train"), features=("embedding",))
    signal = answers(batch)

`train.cache` decides: `off` asks the model at every step; `on` asks it once for each sample and
view and keeps the answers on disk; `auto` keeps them when that is less work and they are small.
Kept answers are verified against the model each time they are opened, then the model is let go.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bequeath.blocks.taps import Tap
from bequeath.given.access import Access
from bequeath.given.bound import hash_tensors
from bequeath.kernel.errors import JobError, Problem, RunError
from bequeath.kernel.units import show_size
from bequeath.signals import policy
from bequeath.signals.cache import Cache, Rows, free_bytes
from bequeath.signals.cached import CachedTeacher
from bequeath.signals.check import surroundings, verify
from bequeath.signals.live import LiveTeacher
from bequeath.signals.signal import Batch, Teacher, finite
from bequeath.signals.sweep import BATCH, pick, sweep
from bequeath.train.batches import view_seed
from bequeath.train.config import Augment
from bequeath.train.context import Context, is_main_process

log = logging.getLogger(__name__)

Features = Sequence[str] | Mapping[str, Tap]


def teacher(ctx: Context, model: Any, data: Any, features: Features = ()) -> Teacher:
    """The teacher's answers to the training data.

    ctx: a Context. model: a model view (`given.model("teacher")`). data: the data view whose
    batches will be asked about. features: `embedding` (what goes into the classifier), module paths
    (their outputs), or a mapping name -> Tap; features need access to the weights.

    Raises JobError (S704, S707, S709) when what the job asks cannot be done, RunError (S701 to
    S708) when the cache or the teacher fails.
    """
    train, kind = ctx.train, getattr(data, "kind", "image")
    if wrong := policy.problems(train, kind):
        raise JobError(wrong)
    live, parts = _open_model(ctx, model, data, features)
    views = policy.n_views(train, kind)
    if train.cache == "off" or views is None:
        return live
    augment = train.augment if kind == "image" and policy.augments(train.augment) else None
    question = Question(ctx, model, data, features, augment, views)
    if parts["teacher"] is None:
        if train.cache == "on":
            raise JobError(_nameless())
        return live
    cache = Cache({**parts, **question.parts()})
    if train.cache == "auto" and not _worthwhile(question, cache, live):
        return live
    try:
        cached = _from_cache(question, cache, live)
    except RunError as error:
        if train.cache == "on" or error.problem.code != "S705":
            raise
        warnings.warn(f"{error.problem.message}; the teacher is asked live", stacklevel=2)
        return live
    del live
    _release(ctx.device)
    ctx.notes["cache"] = cached.stats  # kept up to date; the record wants it as `cost.cache`
    return cached


@dataclass(frozen=True)
class Question:
    """What a teacher is asked: which data, in which views, and where."""

    ctx: Context
    model: Any
    data: Any
    features: Features
    augment: Augment | None
    views: int

    @property
    def seed(self) -> int:
        return 0 if self.augment is None else view_seed(self.ctx.seed, self.augment)

    def parts(self) -> dict[str, Any]:
        """Its share of the key. A view depends on its number, not on how many there are."""
        augment = self.augment and {**self.augment.model_dump(exclude={"views"}), "seed": self.seed}
        return {"data": self.data.hash, "n": len(self.data), "augment": augment}

    def draw(self, idx: Tensor, views: Tensor) -> Batch:
        return pick(
            self.data, idx, self.ctx.device, views=views, augment=self.augment, seed=self.seed
        )

    def view(self, number: int) -> Iterator[Batch]:
        """All samples in one view, in the fixed order."""
        return sweep(
            self.data,
            self.ctx.device,
            view=None if self.augment is None else number,
            augment=self.augment,
            seed=self.seed,
            batch_size=min(BATCH, self.ctx.train.batch_size),
        )

    def plain(self) -> CachedTeacher:
        """The teacher of the data without augmentation: its own cache, the model opened anew."""
        bare = replace(self, augment=None, views=1)
        live, parts = _open_model(self.ctx, self.model, self.data, self.features)
        cached = _from_cache(bare, Cache({**parts, **bare.parts()}), live)
        del live
        _release(self.ctx.device)
        return cached


def _open_model(
    ctx: Context, model: Any, data: Any, features: Features
) -> tuple[LiveTeacher, dict[str, Any]]:
    """The live teacher, and its share of the key (`teacher` None when it cannot be told apart)."""
    deep = getattr(model, "access", Access.WEIGHTS) >= Access.WEIGHTS
    speaks = model.load() if deep else model.predictor()
    facts = getattr(speaks, "facts", None) or model.facts
    taps = _taps(features, facts)
    precision = ctx.train.precision
    live = LiveTeacher(speaks, taps, data=data, device=ctx.device, precision=precision)
    preprocess = getattr(speaks, "preprocess", None) or getattr(model, "preprocess", None)
    tensors = hash_tensors(getattr(speaks, "module", speaks)) if _is_module(speaks) else facts.hash
    return live, {
        "teacher": tensors,
        "architecture": facts.architecture,
        "preprocess": None if preprocess is None else preprocess.digest(),
        "taps": {name: [tap.path, tap.side] for name, tap in sorted(taps.items())},
        "dtype": "float32",
        "precision": precision,
    }


def _is_module(speaks: Any) -> bool:
    return isinstance(speaks, nn.Module)


def _taps(features: Features, facts: Any) -> dict[str, Tap]:
    if isinstance(features, Mapping):
        return dict(features)
    taps = {}
    for name in features:
        if name != "embedding":
            taps[name] = Tap(name, "output")
        elif facts.head is None:
            raise JobError(
                Problem(
                    "S707",
                    "the teacher's classifier could not be found, so its embedding is not known",
                    at=("models", "teacher"),
                    remedies=("name the module: `head: path.of.the.classifier`",),
                )
            )
        else:
            taps[name] = Tap(facts.head, "input")
    return taps


def _worthwhile(question: Question, cache: Cache, live: LiveTeacher) -> bool:
    if _complete(cache, question.views):
        return True
    n = len(question.data)
    if not policy.pays(question.ctx.train, n, question.views):
        return False
    one = live(question.draw(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long)))
    size = 4 * n * question.views * sum(v.numel() for v in one.outputs().values())
    return policy.fits(size, free_bytes(cache.where))


def _complete(cache: Cache, views: int) -> bool:
    with suppress(RunError):
        cache.load(put_aside=False)
        return not cache.missing(views)
    return True  # it is there and is another's: opening it will say so


def _from_cache(question: Question, cache: Cache, live: LiveTeacher) -> CachedTeacher:
    started = time.perf_counter()
    with cache.lock():
        cache.load()
        if damaged := cache.damaged(question.views):
            cache.set_aside(damaged)
            what = "; ".join(f"{name}: {why}" for name, why in damaged.items())
            warnings.warn(
                f"the teacher cache `{cache.key}` was damaged ({what}); it is made again",
                stacklevel=3,
            )
        missing = cache.missing(question.views)
        _fill(question, cache, live, missing)
        if damaged and (again := cache.damaged(question.views)):
            raise RunError(_damaged_again(cache, again))
        stored = cache.read(question.views)
    verify(
        cache,
        stored,
        live,
        question.draw,
        precision=question.ctx.train.precision,
        device=question.ctx.device,
        salt=question.ctx.seed,
    )
    return CachedTeacher(
        stored,
        question.data,
        question.draw,
        hit=not missing,
        seconds=cache.seconds(),
        spent=time.perf_counter() - started,
        device=question.ctx.device,
        plain=None if question.augment is None else question.plain,
    )


def _fill(question: Question, cache: Cache, live: LiveTeacher, missing: list[int]) -> None:
    if not missing:
        return
    first = next(question.view(missing[0]))
    said = live(first)
    each = sum(v[0].numel() for v in said.outputs().values())
    size = 4 * each * len(question.data) * len(missing)
    cache.check_room(size)
    log.info(
        "asking the teacher about %d samples in %d views (%s)",
        len(question.data),
        len(missing),
        show_size(size),
    )
    made_with = surroundings(question.ctx.device)
    for view in missing:
        cache.write_view(view, _answers(question, live, view, len(missing)), made_with)


def _answers(
    question: Question, live: LiveTeacher, view: int, views: int
) -> Iterator[tuple[Rows, float]]:
    from rich.progress import track

    batches = question.view(view)
    steps = -(-len(question.data) // min(BATCH, question.ctx.train.batch_size))
    label = "asking the teacher" + (f", view {view + 1}" if views > 1 else "")
    show = question.ctx.show
    silent = not is_main_process() or not (sys.stderr.isatty() if show is None else show)
    for batch in track(batches, label, total=steps, transient=True, disable=silent):
        started = time.perf_counter()
        said = finite(live(batch), batch).outputs()
        rows = {name: values.cpu().numpy() for name, values in said.items()}
        yield rows, time.perf_counter() - started


def _release(device: Any) -> None:
    """Give the teacher's memory back: to the allocator of the device, and to the system."""
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what was freed otherwise


def _damaged_again(cache: Cache, files: dict[str, str]) -> Problem:
    return Problem(
        "S701",
        f"the teacher cache `{cache.key}` is damaged again right after it was written",
        notes=(*(f"{name}: {why}" for name, why in files.items()), f"in {cache.folder}"),
        remedies=(
            "the disk loses data: set BEQUEATH_CACHE to a folder on another one",
            "set `train.cache: off` to ask the teacher live",
        ),
    )


def _nameless() -> Problem:
    return Problem(
        "S709",
        "`cache: on` needs to know which teacher gave the answers, and this one has no hash",
        at=("train", "cache"),
        remedies=("set `train.cache: auto`, or give the teacher with its weights",),
    )
