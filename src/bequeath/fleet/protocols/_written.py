"""What a student writes, and what its teacher says of that.

    written_nll          mean over the words it wrote of -log p, p the teacher: how likely they are
    written_own_nll      the same of its own -log q: an estimate of its entropy
    written_reverse_kl   the former less the latter: an estimate of KL(q || p) of a word

A student that covers all its teacher might say writes unlikely things (high written_nll); one that
keeps to the likely ones says less (low written_own_nll). The texts that judge give the beginnings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from bequeath.blocks.targets import rows_of, targets
from bequeath.blocks.writing import beginnings, go_on
from bequeath.fleet.gates import Opened, reference_role
from bequeath.fleet.protocols._language import tokens_of
from bequeath.given.words import answering
from bequeath.kernel.errors import Problem
from bequeath.losses.vocabulary import log_prob
from bequeath.train.seeds import generator

START, NEW, AT_ONCE = 8, 32, 64  # tokens given, tokens written at most, texts


def written_problems(opened: Opened) -> Iterator[Problem]:
    """G495 where there is no teacher of the same tokens to judge what is written."""
    role, facts = reference_role(opened.job), opened.model_facts
    if not getattr(opened.job.protocol, "write", 0):
        return
    student = facts.get("student")
    same = role in facts and student is not None and facts[role].per_token and student.per_token
    if not same or tokens_of(facts[str(role)]) != tokens_of(facts["student"]):
        yield Problem(
            "G495",
            "`write` needs a student and a teacher that are language models with the same tokens",
            at=("protocol", "write"),
            remedies=("leave `protocol.write` out",),
        )


@torch.no_grad()
def judge_written(opened: Opened, model: Any, seed: int) -> dict[str, float]:
    """The notes above, of as many texts as the protocol says; beginnings come round again."""
    models = model, opened.load(str(reference_role(opened.job))).eval()
    ours, theirs = (answering(one, AT_ONCE) for one in models)
    count = int(getattr(opened.job.protocol, "write", 0))
    p = q = 0.0
    n = 0
    for number, places in enumerate(torch.arange(count).split(AT_ONCE)):
        batch = opened.judge.fetch(places % len(opened.judge))
        batch["idx"] = batch["idx"].to(opened.device)
        start = beginnings(model, batch, START)
        said = go_on(model, start, NEW, generator(seed, "written", number))
        asked = targets(model, said.batch, skip=said.start - 1)
        p += float(log_prob(rows_of(asked, theirs(said.batch)), asked.y).sum())
        q += float(log_prob(rows_of(asked, ours(said.batch)), asked.y).sum())
        n += len(asked.y)
    if n == 0:
        return {}
    return {
        "written_nll": -p / n,
        "written_own_nll": -q / n,
        "written_reverse_kl": (q - p) / n,
    }
