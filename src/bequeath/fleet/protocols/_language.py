"""How language models are judged: what they say of text they have not seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from bequeath.blocks.listen import hear
from bequeath.blocks.targets import answers_in, prompt_tokens, reader
from bequeath.evidence.record import Metric
from bequeath.fleet.evaluate import describe
from bequeath.fleet.gates import Opened
from bequeath.fleet.measured import Measured
from bequeath.given.bound import BoundModel
from bequeath.given.facts import ModelFacts
from bequeath.kernel.errors import Problem
from bequeath.metrics.language import LANGUAGE

LOOKED_AT = 64  # texts
UNITS = {"nll": "nats", "bits_per_token": "bits", "accuracy": "share"}


def measure_language(opened: Opened, model: BoundModel, names: tuple[str, ...]) -> Measured:
    """The metrics `names` on the judging text, with a term for each text."""
    was_training = model.training
    said = hear(model.eval(), opened.judge, opened.device)
    model.train(was_training)
    measured = Measured(model=describe(model, opened.judge, opened.device))
    measured.idx = torch.arange(len(opened.judge))
    for name in names:
        terms = said.terms(name)
        measured.metrics[name] = Metric(
            value=said.value(name),
            direction=LANGUAGE[name],
            n=int(said.tokens.sum()),
            counts="tokens",
            unit=UNITS.get(name, ""),
            terms=terms is not None,
        )
        if terms is not None:
            measured.terms = {**measured.terms, name: terms}
    return measured


def same_tokens(opened: Opened) -> Iterator[Problem]:
    """G491 where language models that learn from each other cut texts in different ways."""
    facts = opened.model_facts
    for arm in opened.job.arms:
        roles = [role for role in arm.needs.models if role in facts and facts[role].per_token]
        ways = {role: tokens_of(facts[role]) for role in roles}
        odd = [role for role in roles if ways[role] != ways[roles[0]]]
        if arm.needs.same_classes and odd:
            role = "student" if "student" in (roles[0], *odd) else odd[0]
            other = next(r for r in roles if ways[r] != ways[role])
            yield Problem(
                "G491",
                f"`models.{role}` and `models.{other}` cut texts into different tokens",
                at=("models", role),
                notes=tuple(f"models.{r}: {facts[r].n_classes} tokens" for r in (role, other)),
                remedies=(
                    f"zoo:gpt takes them over: `vocabulary: FOLDER` of models.{other}",
                    "`method: uld` learns from a teacher with other tokens",
                ),
            )
            return


def prompt_problems(opened: Opened) -> Iterator[Problem]:
    """G496 where texts answer prompts and a model reads none of the answers (by a few of them)."""
    models = {role: one for role, one in opened.model_facts.items() if one.per_token}
    for role, samples in opened.samples.items():
        batch = samples.fetch(torch.arange(min(LOOKED_AT, len(samples))))
        for name, facts in models.items() if answers_in(batch) else ():
            preprocess: Any = reader(facts).preprocess
            try:
                tokens = prompt_tokens(preprocess, batch)
            except NotImplementedError:
                why = f"the tokenizer of `models.{name}` does not say which characters a token is"
                help_ = "take its fast version (`tokenizer.json`)"
            else:
                if bool((tokens < preprocess.max_length).any()):
                    continue
                why = f"the prompts of `data.{role}` fill all that `models.{name}` reads"
                help_ = f"shorten them, or raise `max_length` ({preprocess.max_length} tokens now)"
            yield Problem("G496", why, at=("data", role, "prompt"), remedies=(help_,))
            return


def tokens_of(facts: ModelFacts) -> Any:
    """What tells one way of cutting texts from another; the length that is read does not."""
    said = dict(facts.preprocess or {})
    if said.get("fingerprint"):
        said = {"fingerprint": said["fingerprint"]}
    said.pop("max_length", None)
    return facts.n_classes, sorted(said.items())
