"""The words and numbers of the page: what the template prints, computed here, escaped there."""

from __future__ import annotations

from typing import Any

from bequeath.evidence.comparison import Arm, Comparison, Confusion, Pair, Reference, Spread
from bequeath.evidence.record import RunRecord
from bequeath.evidence.report.inputs import Inputs
from bequeath.evidence.report.words import (
    change,
    clean,
    count,
    flat,
    interval,
    is_share,
    milliseconds,
    p_value,
    show_seconds,
    show_size,
    times,
    value,
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


def _arm_card(inputs: Inputs, arm: Arm) -> dict[str, Any]:
    comparison = inputs.comparison
    primary = comparison.primary
    spread = arm.metrics[primary]
    facts = _model_facts(arm.model)
    facts.append(("training", show_seconds(arm.cost.train_s)))
    for reference in comparison.references:
        facts += _against(arm, spread, reference, primary)
    pair = inputs.versus_baseline(arm.arm)
    tag = "asked for" if arm.arm == inputs.headline else "baseline" if arm.baseline else ""
    return {
        "name": clean(arm.arm),
        "tag": tag,
        "tone": f"s{inputs.look(arm.arm)}",
        "value": value(spread.mean, primary, unit=False),
        "unit": ("% " if is_share(primary) else "") + primary,
        "spread": _spread_words(spread, primary),
        "versus": None if pair is None else _versus_words(pair),
        "verdict": None if pair is None else pair.verdict,
        "facts": facts,
    }


def _reference_card(inputs: Inputs, reference: Reference) -> dict[str, Any]:
    primary = inputs.comparison.primary
    spread = reference.metrics.get(primary)
    return {
        "name": clean(reference.role),
        "tag": "as it came",
        "tone": "ink",
        "value": value(spread.mean if spread else None, primary, unit=False),
        "unit": ("% " if is_share(primary) else "") + primary,
        "spread": _spread_words(spread, primary) if spread else "not measured",
        "versus": None,
        "verdict": None,
        "facts": _model_facts(reference.model),
    }


def _model_facts(model: Any) -> list[tuple[str, str]]:
    return [
        ("parameters", count(model.parameters)),
        ("size on disk", show_size(model.bytes)),
        ("one answer", milliseconds(model.latency_ms)),
    ]


def _against(arm: Arm, spread: Spread, reference: Reference, primary: str) -> list[tuple[str, str]]:
    role = clean(reference.role, 24)
    facts = []
    theirs = reference.metrics.get(primary)
    if theirs is not None:
        facts.append((f"{primary} − {role}", change(spread.mean - theirs.mean, primary, True)))
    if reference.model.parameters:
        share = arm.model.parameters / reference.model.parameters
        facts.append((f"size / {role}", times(share)))
    if reference.model.latency_ms > 0 and arm.model.latency_ms > 0:
        facts.append(
            (f"answer time / {role}", times(arm.model.latency_ms / reference.model.latency_ms))
        )
    return facts


def _spread_words(spread: Spread, primary: str) -> str:
    seeds = "1 seed" if spread.n_seeds == 1 else f"{spread.n_seeds} seeds"
    if spread.interval is None:
        return seeds
    shown = interval(spread.interval.low, spread.interval.high, primary)
    return f"{100 * spread.interval.level:.0f} % interval {shown}, {seeds}"


def _versus_words(pair: Pair) -> str:
    text = f"{change(pair.difference, pair.metric, True)} against {clean(pair.versus)}"
    if pair.interval is not None:
        text += f" ({interval(pair.interval.low, pair.interval.high, pair.metric, signed=True)})"
    return f"{text}: {pair.verdict}"


def metric_table(inputs: Inputs) -> dict[str, Any]:
    """Arms and references x metrics; a cell is (text, number to sort by)."""
    arms = inputs.arms()
    names = list(dict.fromkeys(name for arm in arms for name in arm.metrics))
    rows = []
    holders: list[Arm | Reference] = [*arms, *inputs.comparison.references]
    for holder in holders:
        label = holder.arm if isinstance(holder, Arm) else f"{holder.role} (as it came)"
        cells = []
        for name in names:
            spread = holder.metrics.get(name)
            sd = "" if spread is None or spread.sd is None else f" ± {_sd(spread.sd, name)}"
            shown = "–" if spread is None else value(spread.mean, name) + sd
            cells.append((shown, "" if spread is None else f"{spread.mean:.6g}"))
        rows.append({"name": clean(label), "cells": cells})
    heads = [name + (" ↓" if _direction(arms, name) == "lower" else " ↑") for name in names]
    return {"heads": heads, "rows": rows}


def _direction(arms: list[Arm], name: str) -> str:
    return next(arm.metrics[name].direction for arm in arms if name in arm.metrics)


def _sd(number: float, metric: str) -> str:
    return f"{100 * number:.1f}" if is_share(metric) else f"{number:.2g}"


def pair_tables(inputs: Inputs) -> list[dict[str, Any]]:
    """The pairwise comparisons, one table a list of the comparison."""
    comparison = inputs.comparison
    groups = [
        ("Against the baseline", comparison.versus_baseline),
        ("Against the models as they came", comparison.versus_reference),
        ("The other arms among each other", comparison.pairs),
        ("Other metrics against the baseline (descriptive, uncorrected)", comparison.other_metrics),
    ]
    return [
        {
            "title": title,
            "rows": [_pair_row(pair) for pair in pairs[:60]],
            "total": len(pairs),
            "several": len({pair.metric for pair in pairs}) > 1
            or pairs[0].metric != comparison.primary,
        }
        for title, pairs in groups
        if pairs
    ]


def _pair_row(pair: Pair) -> dict[str, Any]:
    metric = pair.metric
    between = pair.interval
    least = pair.least_detectable
    flip = p_value(pair.p_sign_flip)
    if pair.p_sign_flip is not None and pair.p_sign_flip_least is not None:
        flip += f" (least {pair.p_sign_flip_least:.3g})"
    return {
        "arm": clean(pair.arm),
        "versus": clean(pair.versus),
        "metric": metric,
        "difference": change(pair.difference, metric),
        "sort": f"{pair.difference:.6g}",
        "interval": interval(between.low, between.high, metric, signed=True) if between else "–",
        "p": p_value(pair.p),
        "holm": p_value(pair.p_holm),
        "flip": flip,
        "equivalent": "–"
        if pair.equivalent is None or not pair.margin
        else "yes"
        if pair.equivalent
        else "no",
        "least": "–" if least is None else change(abs(least), metric).lstrip("+"),
        "time": "–" if pair.time_ratio is None else f"{pair.time_ratio:.2f} ×",
        "verdict": pair.verdict,
        "why": pair.why,
    }


def run_rows(inputs: Inputs) -> list[dict[str, Any]]:
    primary = inputs.comparison.primary
    rows = []
    for name in inputs.order:
        for (arm, seed), record in sorted(inputs.records.items(), key=lambda item: item[0][1]):
            if arm == name:
                rows.append(_run_row(record, seed, primary))
    return rows


def _run_row(record: RunRecord, seed: int, primary: str) -> dict[str, Any]:
    metric = record.metrics.get(primary)
    train = record.train
    return {
        "arm": clean(record.run.arm),
        "seed": seed,
        "method": clean(record.run.method),
        "value": value(metric.value if metric else None, primary),
        "steps": "–" if train is None else f"{train.steps:,}",
        "stopped": "–" if train is None else train.stopped,
        "wall": show_seconds(record.cost.wall_s),
        "model": record.model.hash[:12],
        "config": flat(record.run.config),
    }


def cost_rows(inputs: Inputs) -> list[dict[str, str]]:
    rows = []
    for arm in inputs.arms():
        cost, model = arm.cost, arm.model
        cached = [
            r.cost.cache for (a, _), r in inputs.records.items() if a == arm.arm and r.cost.cache
        ]
        device = cost.peak_device_bytes
        rows.append(
            {
                "name": clean(arm.arm),
                "train": show_seconds(cost.train_s),
                "wall": show_seconds(cost.wall_s),
                "cpu": show_seconds(cost.cpu_s),
                "memory": show_size(cost.peak_rss_bytes),
                "device": "–" if device is None else show_size(device),
                "latency": milliseconds(model.latency_ms),
                "batch": f"{milliseconds(model.latency_batch_ms)} for {model.batch}",
                "cache": "no teacher cache" if not cached else
                f"{show_seconds(cost.cache_saved_s)} saved, {cost.cache_hits} of {len(cached)} "
                f"runs found it, {show_size(max(c.bytes for c in cached))}",
            }
        )  # fmt: skip
    return rows


def cache_sentence(inputs: Inputs) -> str:
    saved = sum(arm.cost.cache_saved_s for arm in inputs.comparison.arms)
    if saved <= 0:
        return ""
    spent = sum(r.cost.wall_s for r in inputs.records.values())
    return (
        f"The cache of the teacher's answers saved {show_seconds(saved)} in all; "
        f"the runs took {show_seconds(spent)}."
    )


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


__all__ = [
    "cache_sentence", "cards", "confusions", "cost_rows", "flip_lists", "metric_table",
    "pair_tables", "run_rows", "warnings",
]  # fmt: skip
