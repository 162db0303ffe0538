"""What was found out about canaries, as metrics, terms, a table and notes of a record."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean

import torch

from bequeath.blocks.canaries import Kept, audit, canaries_in
from bequeath.evidence import stats
from bequeath.evidence.record import Metric, Table
from bequeath.fleet.gates import Opened
from bequeath.fleet.measured import Measured
from bequeath.given.bound import BoundModel
from bequeath.given.canaries import Canary
from bequeath.given.facts import ModelFacts
from bequeath.given.samples import Samples
from bequeath.kernel.errors import Problem
from bequeath.metrics.exposure import floor
from bequeath.train.seeds import generator

MOST, SAMPLES, BEAMS = 100_000, 10_000, 8  # of a student's audit by the way
LEAST_EXCESS = 0.5  # bits above the floor; less is not told from none by twenty canaries
METRICS = ("exposure_mean", "extraction_rate")


def look_for(model: BoundModel, samples: Samples, seed: int) -> tuple[list[Canary], list[Kept]]:
    """Audit a model with the job's canaries."""
    was_training = model.training
    model.eval()
    canaries = canaries_in(samples)
    rngs = [generator(seed, "canaries", i) for i in range(len(canaries))]
    how = {"most": MOST, "samples": SAMPLES, "beams": BEAMS}
    kept = [audit(model, canary, rng, **how) for canary, rng in zip(canaries, rngs)]
    model.train(was_training)
    return canaries, kept


def add_canaries(measured: Measured, canaries: Sequence[Canary], kept: Sequence[Kept]) -> None:
    """The metrics over canaries, with terms behind those that are there."""
    bits = [one.exposure.bits for one in kept]
    found = [float(one.greedy) for one in kept]
    add_terms(measured, "exposure_mean", bits, "canaries", "bits", "lower")
    add_terms(measured, "extraction_rate", found, "canaries", "share", "lower")
    least = fmean(floor(one.space) for one in kept)
    measured.notes |= {
        "exposure_bound": fmean(math.log2(one.space) for one in kept),
        "exposure_floor": least,
        "exposure_excess_log2": math.log2(max(fmean(bits) - least, LEAST_EXCESS)),
        "beam_extraction_rate": fmean(float(one.beam) for one in kept),
        "exposure_by_sampling": sum(one.how == "sample" for one in kept),
        "uneven_tokens": sum(not one.even for one in kept),
    }
    for repeat in sorted({canary.repeat for canary in canaries}):
        chosen = [b for b, canary in zip(bits, canaries) if canary.repeat == repeat]
        measured.notes[f"exposure_r{repeat}"] = fmean(chosen)
    fits = [one.exposure.fit for one in kept if one.exposure.fit is not None]
    if fits:
        measured.notes["worst_fit_p"] = min(fits)
    measured.tables["exposure"] = _table(canaries, kept)


def add_terms(
    measured: Measured, name: str, terms: Sequence[float], counts: str, unit: str, direction: str
) -> None:
    """A metric that is the mean of these terms; their rows stand behind those of other terms.

    Metrics over the same things (`counts`) added one after the other share their rows.
    """
    have = 0 if measured.idx is None else len(measured.idx)
    shared = [n for n, m in measured.metrics.items() if m.counts == counts and n in measured.terms]
    before = have - len(terms) if shared else have
    total = max(have, before + len(terms))
    columns = {n: torch.as_tensor(t, dtype=torch.float64) for n, t in measured.terms.items()}
    columns = {
        n: torch.cat([t, torch.full((total - len(t),), math.nan, dtype=torch.float64)])
        for n, t in columns.items()
    }
    own = torch.full((total,), math.nan, dtype=torch.float64)
    own[before : before + len(terms)] = torch.tensor(terms, dtype=torch.float64)
    measured.idx, measured.terms = torch.arange(total), {**columns, name: own}
    measured.metrics[name] = Metric(
        value=fmean(terms),
        direction=direction,  # type: ignore[arg-type]
        n=len(terms),
        counts=counts,
        unit=unit,
        terms=True,
    )


def _table(canaries: Sequence[Canary], kept: Sequence[Kept]) -> Table:
    rows: list[list[float | str | None]] = []
    names = []
    groups = sorted({canary.repeat for canary in canaries})
    for group in [groups, *([g] for g in groups if len(groups) > 1)]:
        chosen = [one for one, canary in zip(kept, canaries) if canary.repeat in group]
        bits = [one.exposure.bits for one in chosen]
        draws = stats.estimate([fmean(bits)], torch.tensor([bits]).numpy()).draws
        known = draws is not None and len(bits) > 1
        low, high = stats.interval(draws, 0.95) if draws is not None and known else (None, None)
        bound = fmean(math.log2(one.space) for one in chosen)
        greedy, beam = (sum(getattr(one, how) for one in chosen) for how in ("greedy", "beam"))
        names.append("all canaries" if group is groups else f"repeated {group[0]} times")
        rows.append([len(chosen), fmean(bits), low, high, bound, greedy, beam])
    return Table(
        columns=["canaries", "exposure", "95 % from", "to", "at most", "greedy", "beam"],
        rows=rows,
        row_names=names,
        title="Exposure of the canaries, bits",
        note=f"A model that never saw them has {fmean(floor(one.space) for one in kept):.2f} bits "
        "on average. Greedy, beam: how many secrets come out of the prefix.",
    )


def canary_problems(opened: Opened, role: str, facts: dict[str, ModelFacts]) -> Iterator[Problem]:
    """G493, G494: `data.<role>` holds no canaries, or these models cannot read them."""
    samples = opened.samples[role]
    if "secret" not in samples.fetch(torch.zeros(1, dtype=torch.long)):
        message = f"`data.{role}` holds no canaries"
        remedies = ("write canaries:FILE.csv, or canaries:digits",)
        yield Problem("G493", message, at=("data", role), remedies=remedies)
        return
    canaries = canaries_in(samples)
    for name, one in facts.items():
        said = one.preprocess or {}
        known, most = said.get("characters"), said.get("max_length")
        strange = {c for canary in canaries for c in canary.prefix + canary.alphabet}
        strange -= set(known) if known is not None else strange
        longest = max(len(canary.text) for canary in canaries)
        problem = ""
        if strange:
            problem = f"does not know the characters `{''.join(sorted(strange))[:20]}`"
        elif known is not None and most is not None and longest + 1 > most:
            problem = f"reads {most} tokens, a canary has {longest} and a beginning"
        if problem:
            yield Problem(
                "G494",
                f"`models.{name}` cannot read the canaries: it {problem}",
                at=("data", role),
                remedies=("give the canaries that its training text held",),
            )
