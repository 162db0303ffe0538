"""The words and numbers of the page beside its tables and pictures; escaped by the template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bequeath.evidence.comparison import Arm, Comparison, Confusion, Pair, Reference, Spread
from bequeath.evidence.doctor import Finding
from bequeath.evidence.inputs import Inputs
from bequeath.evidence.measure import Measure, change, interval, suffix, value
from bequeath.evidence.record import Model
from bequeath.evidence.report.words import (
    clean,
    count,
    milliseconds,
    show_seconds,
    show_size,
    times,
)

MOST_CARDS = 11
MOST_CELLS = 20  # classes in a confusion matrix that is drawn cell by cell
MOST_MISTAKES = 20


def cards(inputs: Inputs) -> list[dict[str, Any]]:
    """One card an arm, the headline first, and one a reference."""
    arms = inputs.arms()
    shown = [a for k, a in enumerate(arms) if k < MOST_CARDS or a.baseline]
    made = [_arm_card(inputs, arm) for arm in shown]
    return made + [_reference_card(inputs, r) for r in inputs.comparison.references]


def diagnosis(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """What is not well, the worst first; sentences as pieces, those in backticks marked as code."""
    return [
        {"level": f.level, "check": f.check, "says": _pieces(f.says), "do": _pieces(f.do)}
        for f in found
        if f.level != "fine"
    ]


def _pieces(text: str) -> list[tuple[bool, str]]:
    text = clean(text, 1000)
    parts = (text[:1].upper() + text[1:]).split("`")
    return [(k % 2 == 1, part) for k, part in enumerate(parts) if part]


def _arm_card(inputs: Inputs, arm: Arm) -> dict[str, Any]:
    comparison = inputs.comparison
    facts = _model_facts(arm.model)
    if comparison.measure is None:
        facts.append(("peak memory", show_size(arm.cost.peak_rss_bytes)))
    elif arm.cost.train_s is not None:
        facts.append(("training" if arm.trained else "method", show_seconds(arm.cost.train_s)))
    else:
        facts.append(("whole run", show_seconds(arm.cost.wall_s)))
    if (reference := _best(comparison.references, comparison.measure)) is not None:
        facts += _against(arm, reference, comparison.measure)
    pair = inputs.versus_baseline(arm.arm)
    tag = "asked for" if arm.arm == inputs.headline else "baseline" if arm.baseline else ""
    measured = _big(arm.metrics, comparison.measure)
    if comparison.measure is None:
        took = show_seconds(arm.cost.wall_s)
        measured = {"value": took, "unit": "in all", "spread": _seeds(len(arm.seeds))}
    return {
        "name": clean(arm.arm),
        "tag": tag,
        "tone": f"s{inputs.look(arm.arm)}",
        **measured,
        "versus": None if pair is None else _versus_words(pair, comparison.measures[pair.metric]),
        "verdict": None if pair is None else pair.verdict,
        "facts": facts,
    }


def _reference_card(inputs: Inputs, reference: Reference) -> dict[str, Any]:
    return {
        "name": clean(reference.role),
        "tag": "as it came",
        "tone": "ink",
        **_big(reference.metrics, inputs.comparison.measure),
        "versus": None,
        "verdict": None,
        "facts": _model_facts(reference.model),
    }


def _big(metrics: dict[str, Spread], measure: Measure | None) -> dict[str, str]:
    """The large figure of a card, what stands behind it and what lies under it."""
    spread = metrics.get(measure.name) if measure else None
    if measure is None or spread is None:
        return {"value": "–", "unit": "", "spread": "not measured"}
    unit = f"{suffix(measure)} {clean(measure.label)}".strip()
    shown = value(spread.mean, measure, unit=False)
    return {"value": shown, "unit": unit, "spread": _spread_words(spread, measure)}


def _model_facts(model: Model | None) -> list[tuple[str, str]]:
    if model is None:
        return []
    facts = [("parameters", count(model.parameters)), ("size on disk", show_size(model.bytes))]
    return facts + ([("one answer", milliseconds(model.latency_ms))] if model.latency_ms else [])


def _best(references: Sequence[Reference], measure: Measure | None) -> Reference | None:
    """The one to be beside: of several models as they came, the best."""
    known = [r for r in references if measure is not None and measure.name in r.metrics]
    if measure is None or not known:
        return references[0] if len(references) == 1 else None
    sign = 1 if measure.direction == "higher" else -1
    return max(known, key=lambda r: sign * r.metrics[measure.name].mean)


def _against(arm: Arm, reference: Reference, measure: Measure | None) -> list[tuple[str, str]]:
    role = clean(reference.role, 24)
    facts = []
    mine = arm.metrics.get(measure.name) if measure else None
    theirs = reference.metrics.get(measure.name) if measure else None
    if measure is not None and mine is not None and theirs is not None:
        shown = change(mine.mean - theirs.mean, measure, True)
        facts.append((f"{clean(measure.label, 40)} − {role}", shown))
    if arm.model is None or reference.model is None:
        return facts
    if reference.model.parameters:
        share = arm.model.parameters / reference.model.parameters
        if share != 1:
            facts.append((f"size / {role}", times(share)))
    if reference.model.latency_ms and arm.model.latency_ms:
        ratio = times(arm.model.latency_ms / reference.model.latency_ms)
        facts.append((f"answer time / {role}", ratio))
    return facts


def _spread_words(spread: Spread, of: Measure) -> str:
    seeds = _seeds(spread.n_seeds)
    if spread.interval is None:
        return seeds
    shown = interval(spread.interval.low, spread.interval.high, of)
    return f"{100 * spread.interval.level:.0f} % interval {shown}, {seeds}"


def _seeds(number: int) -> str:
    return f"{number} seed" + ("" if number == 1 else "s")


def _versus_words(pair: Pair, of: Measure) -> str:
    text = f"{change(pair.difference, of, True)} against {clean(pair.versus)}"
    if pair.interval is not None:
        text += f" ({interval(pair.interval.low, pair.interval.high, of, signed=True)})"
    return f"{text}: {pair.verdict}"


def confusions(inputs: Inputs) -> list[dict[str, Any]]:
    """A matrix (up to 20 classes) or the most frequent mistakes, for each arm."""
    names = [clean(name, 60) for name in inputs.comparison.classes]
    by_arm = {c.arm: c for c in inputs.comparison.confusion}
    return [_confusion(by_arm[arm], names) for arm in inputs.order if arm in by_arm]


def _confusion(confusion: Confusion, names: list[str]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "arm": clean(confusion.arm), "seeds": confusion.n_seeds, "names": names, "rows": None,
        "top": [
            (names[m.label], names[m.pred], f"{m.count / confusion.n_seeds:.1f}".removesuffix(".0"))
            for m in confusion.top[:MOST_MISTAKES]
        ],
    }  # fmt: skip
    counts = confusion.counts
    if counts is not None and len(names) <= MOST_CELLS:
        made["rows"] = _heat(counts, names, confusion.n_seeds)
    return made


def _heat(counts: list[list[int]], names: list[str], seeds: int) -> list[Any]:
    """Rows of (text, shade, right answer): right answers by their share of the row, mistakes by
    their share of the row against the largest such share."""
    shares = [[cell / max(1, sum(row)) for cell in row] for row in counts]
    worst = max((s for k, row in enumerate(shares) for j, s in enumerate(row) if j != k), default=0)
    return [
        (
            names[k],
            [
                (
                    f"{cell / seeds:.1f}".removesuffix(".0"),
                    f"{shares[k][j] if j == k else shares[k][j] / (worst or 1):.3f}",
                    j == k,
                )
                for j, cell in enumerate(row)
            ],
        )
        for k, row in enumerate(counts)
    ]


def flip_lists(inputs: Inputs) -> list[dict[str, Any]]:
    """Positions in the test data of the samples that changed, the headline arm only."""
    return [
        {
            "title": f"{clean(f.arm)} against {clean(f.versus)}",
            "mended": [f"{s.idx} ({s.frequency:.0%})" for s in f.mended_samples],
            "broken": [f"{s.idx} ({s.frequency:.0%})" for s in f.broken_samples],
        }
        for f in inputs.comparison.flips
        if f.arm == inputs.headline
    ]


def warnings(comparison: Comparison) -> list[str]:
    return [
        f"{clean(m.arm)}, seed {m.seed}: missing. {clean(m.reason)}" for m in comparison.missing
    ]


__all__ = ["cards", "confusions", "flip_lists", "warnings"]
