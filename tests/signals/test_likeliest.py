"""A teacher's likeliest words, kept: found again, checked, and told from others."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.given.data import data_handle
from bequeath.given.given import Given
from bequeath.given.models import model_handle
from bequeath.kernel.errors import JobError, RunError
from bequeath.losses.divergence import TopK
from bequeath.signals.check import _in_order
from bequeath.signals.teacher import live_teacher, teacher
from bequeath.train.context import Context

Make = Callable[..., Context]
GPT = "zoo:gpt?layers=1&width=16&heads=2&context=48&vocabulary=ascii"
TEXTS = data_handle("train", "sentences:20").load()


def view(access: Access = Access.TOP_K):
    handle = model_handle("teacher", GPT)
    facts = {"teacher": handle.examine(TEXTS.facts)}
    needs = Needs({"teacher": ModelNeed(access)}, {"train": DataNeed(Labels.NONE)})
    loaders = {"teacher": lambda: handle.load(data=TEXTS, seed=0)}
    return Given(needs, loaders, facts, {"train": TEXTS})


def answers(ctx: Context, access: Access = Access.TOP_K, k: int = 4):
    given = view(access)
    return teacher(ctx, given.model("teacher"), given.data("train"), top_k=k)


def said(one) -> TopK:
    answer = one(TEXTS.fetch(torch.arange(20))).answer
    assert isinstance(answer, TopK)
    return answer


@pytest.mark.parametrize("access", [Access.TOP_K, Access.WEIGHTS])
def test_kept_and_live_are_the_same_and_no_deeper_look_is_needed(context: Make, access):
    live = said(answers(context(cache="off"), access))
    if access == Access.WEIGHTS:  # a teacher that shows only its answers has no hash here
        kept = said(answers(context(cache="on"), access))
        length = live.index.shape[1]
        assert kept.index.dtype == torch.int64
        there = kept.log_p[:, :length, 0] != 0  # what is kept is 0 where a text is over
        for name in TopK.__match_args__:
            one, other = getattr(live, name), getattr(kept, name)[:, :length]
            torch.testing.assert_close(one[there], other[there], rtol=1e-5, atol=1e-5)
    whole = live.log_p.exp().sum(-1) + live.log_rest.exp()
    torch.testing.assert_close(whole, torch.ones_like(whole))


def test_another_k_is_another_answer(context: Make, cache_root: Path):
    for k in (4, 6):
        assert said(answers(context(), Access.WEIGHTS, k)).index.shape[-1] == k
    names = {path.name for path in cache_root.glob("*/*.npy")}
    assert len(names) == 6 and "top.index@6-0.npy" in names


def test_words_that_are_others_are_found(context: Make, cache_root: Path):
    answers(context(), Access.WEIGHTS)
    [path] = cache_root.glob("*/top.index@4-0.npy")
    wrong = np.load(path)
    wrong[..., :2] = (wrong[..., :2] + 7) % 90
    np.save(path, wrong)
    meta = json.loads((path.parent / "meta.json").read_text())
    data = path.read_bytes()
    meta["files"][path.name] |= {"bytes": len(data), "crc32": zlib.crc32(data)}
    (path.parent / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(RunError) as caught:
        answers(context(), Access.WEIGHTS)
    assert caught.value.problem.code == "S703"


def test_words_as_likely_as_each_other_may_change_places():
    old = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    new = np.array([[2.0, 1, 3], [4, 5, 0], [7, 0, 1]])
    assert _in_order(old, new)[1].tolist() == [[1, 1, 0]]


def test_answers_about_what_a_student_writes_are_not_to_be_kept(context: Make):
    given = view(Access.LOGITS)
    with pytest.raises(JobError) as caught:
        live_teacher(context(cache="on"), given.model("teacher"), given.data("train"))
    assert [p.code for p in caught.value.problems] == ["S711"]
    live = live_teacher(context(cache="auto"), given.model("teacher"), given.data("train"))
    tokens = {"input_ids": torch.tensor([[0, 5, 6]]), "attention_mask": torch.ones(1, 3).long()}
    assert live({"idx": torch.zeros(1).long(), "tokens": tokens}).logits.shape == (1, 3, 97 + 1)
