"""The one door to a teacher: a method asks for its answers and need not know where they are from.

    answers = teacher(ctx, given.model("teacher"), given.data("train"), features=("embedding",))
    signal = answers(batch)

`train.cache` decides: `off` asks the model at every step; `on` asks it once for each sample and
view and keeps the answers on disk; `auto` keeps them when that is less work and they are small.
Kept answers are verified against the model each time they are opened, then the model is let go.

Several runs that ask the same teacher call `prepare` first: one pass then serves them all. A pass
obeys the budget of its run: when the time does not last for it, what is whole is kept, the teacher
is asked live, and the fit stops at its budget as any other.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from bequeath.kernel.errors import JobError, Problem, RunError
from bequeath.signals import policy
from bequeath.signals.cache import free_bytes
from bequeath.signals.cached import CachedTeacher
from bequeath.signals.check import verify
from bequeath.signals.live import LiveTeacher
from bequeath.signals.outputs import Features
from bequeath.signals.passes import TimeIsOver, fill, let_go
from bequeath.signals.question import Open, Question, open_teacher
from bequeath.signals.signal import Teacher
from bequeath.train.context import Context


def teacher(
    ctx: Context,
    model: Any,
    data: Any,
    features: Features = (),
    *,
    top_k: int = 0,
    in_parts: bool = False,
) -> Teacher:
    """The teacher's answers to the training data.

    ctx: a Context. model: a model view (`given.model("teacher")`). data: the data view whose
    batches will be asked about. features: `embedding` (what goes into the classifier), module paths
    (their outputs), or a mapping name -> Tap; features need access to the weights. top_k: be
    answered with the k likeliest classes or words and the mass of all others (a TopK), not with all
    logits; in a cache these are 2k + 1 numbers each. in_parts: of a large vocabulary, be answered
    with a Projected where the model allows it; such logits are not kept unless the job insists.

    Raises JobError (S704, S707, S709) when what the job asks cannot be done, RunError (S701 to
    S708) when the cache or the teacher fails.
    """
    question = replace(
        _question(ctx, model, data, features), top_k=top_k, in_parts=in_parts or bool(top_k)
    )
    found, opened = _in_turn(question, _kept_if_worthwhile)
    if found is opened.live:
        opened.live.length = None
    return found


def live_teacher(ctx: Context, model: Any, data: Any, *, in_parts: bool = False) -> LiveTeacher:
    """A teacher that can be asked about anything, as about what a student has just said.

    JobError S711 where the job insists on answers that are kept.
    """
    if ctx.train.cache == "on":
        raise JobError(_not_to_be_kept())
    return open_teacher(replace(_question(ctx, model, data, ()), in_parts=in_parts)).live


def _kept_if_worthwhile(question: Question, opened: Open) -> Teacher:
    ctx = question.ctx
    if not _may_keep(question, opened):
        return opened.live
    names, parts = opened.names, opened.parts
    opened.live.plain = lambda live: _plain_if_kept(question, Open(live, names, parts))
    asks = policy.samples_asked(ctx.train, question.samples)
    if not question.views or not _worthwhile(question, opened, asks):
        return opened.live
    answers = _kept_or_live(question, opened)
    if isinstance(answers, CachedTeacher):
        ctx.notes["cache"] = answers.stats  # kept up to date; the record wants it as `cost.cache`
    return answers


@dataclass(frozen=True)
class Prepared:
    """Answers that runs will find, those that were there before among them.

    outputs: as methods ask for them. views: how many each sample was asked about in, 0 for the
    samples as they are. bytes: of the answers. asked: how many samples went through the teacher
    now, all views together; 0: all was there. stopped: why the pass was given up, or nothing.
    """

    outputs: tuple[str, ...]
    samples: int
    views: int
    bytes: int
    asked: int
    stopped: str = ""


def prepare(
    ctx: Context, model: Any, data: Any, features: Features = (), *, runs: int, plain: int = 0
) -> list[Prepared]:
    """Have the answers ready that several runs will ask for, in one pass over the data a view.

    features: all that any of the runs wants. runs: how many train with the teacher's answers;
    plain: how many of them also go through `over_data`, which is about the data without
    augmentation. ctx: as that of the runs; its budget is obeyed. Nothing is done, and nothing
    returned, where the teacher is to be asked live. Errors as of `teacher`.
    """
    question = _question(ctx, model, data, features)
    if ctx.train.cache == "off" or not runs + plain:
        return []
    opened = open_teacher(question)
    found = []
    if _may_keep(question, opened):
        for one, asks in _shares(question, runs, plain):
            if asks and one.views and _worthwhile(one, opened, asks):
                found.append(_prepared(one, opened))
    let_go(opened.live, ctx.device)
    return found


def _shares(question: Question, runs: int, plain: int) -> Iterator[tuple[Question, int]]:
    """What runs will ask, and about how many samples in all."""
    asks = runs * policy.samples_asked(question.ctx.train, question.samples)
    if question.augment is None:
        yield question, asks + plain * question.samples
    else:
        # first what a method cannot begin without
        yield question.bare(), plain * question.samples
        yield question, asks


def _prepared(question: Question, opened: Open) -> Prepared:
    cache = opened.cache(question)
    outputs, asked, stopped = list(opened.names.values()), 0, ""
    try:
        with cache.lock():
            asked = len(fill(question, opened, cache)) * question.samples
    except TimeIsOver as over:
        stopped = str(over)
    except RunError as error:
        if question.ctx.train.cache == "on" or error.problem.code != "S705":
            raise
        stopped = error.problem.message
    size = sum(one["bytes"] for one in cache.listed(outputs, question.views).values())
    views = 0 if question.augment is None else question.views
    return Prepared(tuple(opened.names), question.samples, views, size, asked, stopped)


def _question(ctx: Context, model: Any, data: Any, features: Features) -> Question:
    """Views are 0 where they are without end."""
    train, kind = ctx.train, getattr(data, "kind", "image")
    if wrong := policy.problems(train, kind):
        raise JobError(wrong)
    augment = train.augment if kind == "image" and train.augment.active else None
    views = policy.views_asked(train, len(data), kind) or 0
    return Question(ctx, model, data, features, augment, views)


def _may_keep(question: Question, opened: Open) -> bool:
    """Whether answers may be kept. JobError S709 when the job insists and it is not possible."""
    cache = question.ctx.train.cache
    if cache == "on" and not opened.known:
        raise JobError(_nameless())
    if cache == "off" or not opened.known:
        return False
    if question.in_parts and not question.top_k:
        if cache != "on":
            return False
        opened.live.in_parts = False
    return opened.make_even(question, insist=cache == "on")


def _missing(question: Question, opened: Open) -> dict[int, list[str]]:
    """view -> outputs that are not kept. Nothing for the cache of another: using it will say so."""
    cache = opened.cache(question)
    with suppress(RunError):
        cache.load(put_aside=False)
        return cache.missing(opened.names.values(), question.views)
    return {}


def _worthwhile(question: Question, opened: Open, asks: int) -> bool:
    """Whether to keep the answers that `asks` samples will be looked up in."""
    if question.ctx.train.cache == "on":
        return True
    missing = _missing(question, opened)
    if not missing:
        return True
    if not policy.pays(asks, question.samples, len(missing)):
        return False
    return policy.fits(opened.size(question, missing), free_bytes(opened.cache(question).where))


def _kept_or_live(question: Question, opened: Open) -> Teacher:
    """The kept answers, the model let go; the live teacher where they cannot be had."""
    try:
        cached = _from_cache(question, opened)
    except TimeIsOver as over:
        reason = str(over)
    except RunError as error:
        if question.ctx.train.cache == "on" or error.problem.code != "S705":
            raise
        reason = error.problem.message
    else:
        let_go(opened.live, question.ctx.device)
        return cached
    warnings.warn(f"{reason}; the teacher is asked live", stacklevel=3)
    return opened.live


def _from_cache(question: Question, opened: Open) -> CachedTeacher:
    started = time.perf_counter()
    ctx, names, views = question.ctx, opened.names, question.views
    cache = opened.cache(question)
    with cache.lock():
        asked = fill(question, opened, cache)
        rows = cache.read(names.values(), views)
    stored = [{name: one[kept] for name, kept in names.items()} for one in rows]
    verify(
        cache,
        stored,
        opened.live,
        question.draw,
        made_with=[one["made_with"] for one in cache.listed(names.values(), views).values()],
        precision=ctx.train.precision,
        device=ctx.device,
        salt=ctx.seed,
    )
    return CachedTeacher(
        stored,
        question.data,
        question.draw,
        hit=not asked,
        seconds=cache.seconds(names.values(), views),
        spent=time.perf_counter() - started,
        device=ctx.device,
        plain=None if question.augment is None else lambda: _anew(question.bare()),
        grow=None if views >= question.all_views else lambda n: _anew(replace(question, views=n)),
    )


def _anew(question: Question) -> Teacher:
    return _in_turn(question, _kept_or_live)[0]


def _in_turn(
    question: Question, choose: Callable[[Question, Open], Teacher]
) -> tuple[Teacher, Open]:
    """Of several processes the main one writes what is to be kept, and decides what is not."""
    with question.ctx.processes.main_first() as turn:
        opened = open_teacher(question)
        found = opened.live if turn.said == "live" else choose(question, opened)
        turn.said = "live" if found is opened.live else "kept"
    return found, opened


def _plain_if_kept(question: Question, opened: Open) -> Teacher | None:
    """The answers to the data without augmentation, for a live teacher, if they are there."""
    bare = question.bare()
    if question.augment is None or _missing(bare, opened):
        return None
    answers = _from_cache(bare, opened)
    question.ctx.notes["cache"] = answers.stats
    return answers


def _nameless() -> Problem:
    return Problem(
        "S709",
        "`cache: on` needs to know which teacher gave the answers, and this one has no hash",
        at=("train", "cache"),
        remedies=("set `train.cache: auto`, or give the teacher with its weights",),
    )


def _not_to_be_kept() -> Problem:
    return Problem(
        "S711",
        "`cache: on` cannot keep answers to what the student says: that is new each time",
        at=("train", "cache"),
        remedies=("set `train.cache: auto`",),
    )


__all__ = ["Prepared", "live_teacher", "prepare", "teacher"]
