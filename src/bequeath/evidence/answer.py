"""The answer in one sentence: what won, how sure that is, what it cost. No torch."""

from __future__ import annotations

from bequeath.evidence.comparison import Comparison, Interval, Pair

# Shares of one that people speak of in points (0.018 is 1.8 points).
POINTS = frozenset({"accuracy", "top5_accuracy", "balanced_accuracy", "macro_f1"})
_MOST_NAMED = 3


def sentence(comparison: Comparison) -> str:
    """One sentence; every arm against the baseline, then the leading arm beside the others."""
    pairs = comparison.versus_baseline
    if not pairs:
        return _alone(comparison)
    asked = [p for p in pairs if not _is_baseline(comparison, p.arm)] or pairs
    if len(asked) > _MOST_NAMED:
        clauses = [_counted(asked)]
    else:
        clauses = [f"{_versus(p)}{_price(p)}" for p in asked]
    clauses += _among(comparison, [p.arm for p in asked])
    clauses += _beside_teacher(comparison, asked[0].arm)
    return "; ".join(c for c in clauses if c) + "."


def amount(value: float, metric: str) -> str:
    """A difference with its unit: `1.8 points of accuracy`, `0.042 in nll`."""
    if metric in POINTS:
        digits = number(abs(value), metric)
        return f"{digits} point{'' if digits == '1.0' else 's'} of {metric.replace('_', ' ')}"
    return f"{number(abs(value), metric)} in {metric}"


def number(value: float, metric: str) -> str:
    """The bare number of an amount, sign kept, points as points."""
    if metric not in POINTS:
        return f"{value:.3g}"
    points = value * 100
    digits = 1 if abs(points) >= 0.1 or points == 0 else 2
    return f"{points:.{digits}f}".replace("-0.00", "0.00")


def _versus(pair: Pair) -> str:
    sure = _sure(pair)
    gain = amount(pair.gain, pair.metric)
    if pair.verdict == "better":
        return f"{pair.arm} beats {pair.versus} by {gain} ({sure})"
    if pair.verdict == "worse":
        return f"{pair.arm} loses to {pair.versus} by {gain} ({sure})"
    if pair.verdict == "equivalent":
        within = amount(pair.margin, pair.metric)
        return f"{pair.arm} is as good as {pair.versus} within {within} ({sure})"
    least = ""
    if pair.least_detectable:
        least = f"; {number(pair.least_detectable, pair.metric)} would have been seen"
    way = "ahead" if pair.gain > 0 else "behind"
    said = f"{gain} {way}" if pair.gain else "no difference"
    return f"{pair.arm} and {pair.versus} are not distinguishable ({said}, {sure}{least})"


def _sure(pair: Pair) -> str:
    n = len(pair.seeds)
    counted = f"{n} seed{'' if n == 1 else 's'}"
    if pair.interval is None:
        return f"no interval, {counted}"
    low, high = _turned(pair.interval, pair)
    bounds = f"95 % CI {number(low, pair.metric)} to {number(high, pair.metric)}"
    lower = "" if pair.direction == "higher" else ", gain = lower"
    if n == 1:
        return f"{bounds} over test samples only, 1 seed{lower}"
    return f"{bounds}, {counted}, paired{lower}"


def _turned(interval: Interval, pair: Pair) -> tuple[float, float]:
    if pair.direction == "higher":
        return interval.low, interval.high
    return -interval.high + 0.0, -interval.low + 0.0


def _price(pair: Pair) -> str:
    ratio = pair.time_ratio
    if ratio is None:
        return ""
    # "kd and ce are not distinguishable" has two subjects; the price is the first one's
    who = f", and {pair.arm}" if pair.verdict == "not distinguishable" else " and"
    if ratio >= 2:
        return f"{who} takes {ratio:.1f} times as long to train"
    percent = round((ratio - 1) * 100)
    if abs(percent) < 3:
        return f"{who} costs the same time"
    return f"{who} costs {abs(percent)} % {'more' if percent > 0 else 'less'} time"


def _counted(pairs: list[Pair]) -> str:
    better = [p for p in pairs if p.verdict == "better"]
    worse = [p for p in pairs if p.verdict == "worse"]
    base, n, metric = pairs[0].versus, len(pairs), pairs[0].metric.replace("_", " ")
    parts = [f"{len(better)} of {n} arms beat {base} in {metric}{_named(better)}"]
    if worse:
        parts.append(f"{len(worse)} lose to it{_named(worse)}")
    rest = n - len(better) - len(worse)
    if rest:
        parts.append(f"{rest} cannot be told from it")
    return "; ".join(parts)


def _named(pairs: list[Pair]) -> str:
    if not pairs:
        return ""
    shown = [f"{p.arm}: {amount(p.gain, p.metric)}, {_sure(p)}" for p in pairs[:_MOST_NAMED]]
    more = f", and {len(pairs) - _MOST_NAMED} more" if len(pairs) > _MOST_NAMED else ""
    return f" ({'; '.join(shown)}{more})"


def _among(comparison: Comparison, asked: list[str]) -> list[str]:
    """The arms asked for beside each other; many arms are left to the table."""
    if len(asked) > _MOST_NAMED:
        return []
    said = []
    for pair in comparison.pairs:
        if pair.arm not in asked or pair.versus not in asked:
            continue
        if pair.verdict in ("better", "worse"):
            ahead, behind = pair.arm, pair.versus
            if pair.verdict == "worse":
                ahead, behind = behind, ahead
            said.append(f"{ahead} is ahead of {behind} by {amount(pair.gain, pair.metric)}")
        elif pair.verdict == "equivalent":
            within = amount(pair.margin, pair.metric)
            said.append(f"{pair.arm} and {pair.versus} are equivalent within {within}")
        else:
            said.append(f"{pair.arm} and {pair.versus} are not distinguishable")
    return said


def _beside_teacher(comparison: Comparison, arm: str) -> list[str]:
    pair = next(
        (p for p in comparison.versus_reference if p.arm == arm and p.versus == "teacher"), None
    )
    teacher = next((r for r in comparison.references if r.role == "teacher"), None)
    if pair is None or teacher is None:
        return []
    mine = next(a for a in comparison.arms if a.arm == arm)
    size = ""
    if teacher.model.parameters:
        share = 100 * mine.model.parameters / teacher.model.parameters
        size = f" with {share:.2g} % of its parameters" if share < 99.5 else ""
    way = "ahead of" if pair.gain > 0 else "behind"
    where = f"{amount(pair.gain, pair.metric)} {way}" if pair.gain else "level with"
    return [f"{arm} is {where} the teacher{size}"]


def _alone(comparison: Comparison) -> str:
    """No baseline: each arm's own figure."""
    said = []
    for arm in comparison.arms[:_MOST_NAMED]:
        spread = arm.metrics[comparison.primary]
        scale = " %" if comparison.primary in POINTS else ""
        text = f"{arm.arm} reaches {number(spread.mean, comparison.primary)}{scale}"
        text += f" {comparison.primary.replace('_', ' ')}"
        n = f"{spread.n_seeds} seed{'' if spread.n_seeds == 1 else 's'}"
        if spread.interval is not None:
            low = number(spread.interval.low, comparison.primary)
            high = number(spread.interval.high, comparison.primary)
            text += f" (95 % CI {low} to {high}, {n})"
        else:
            text += f" ({n})"
        said.append(text)
    said += _beside_teacher(comparison, comparison.arms[0].arm)
    return "; ".join(said) + "; there is no baseline to compare with."


def _is_baseline(comparison: Comparison, arm: str) -> bool:
    return next(a.baseline for a in comparison.arms if a.arm == arm)
