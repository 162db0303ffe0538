"""The answer in one sentence: what won, how sure that is, what it cost. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from bequeath.evidence.comparison import Arm, Comparison, Interval, Pair
from bequeath.evidence.measure import Measure, amount, figure, level
from bequeath.kernel.units import show_seconds, show_size

_MOST_NAMED = 3
_MUCH = 20.0  # a ratio of times beyond which the two times say more than the ratio


def sentence(comparison: Comparison) -> str:
    """One sentence; every arm against the baseline, then the leading arm beside the others."""
    measure = comparison.measure
    if measure is None:
        return _unmeasured(comparison)
    pairs = comparison.versus_baseline
    if not pairs:
        return _alone(comparison, measure)
    asked = [p for p in pairs if not _arm(comparison, p.arm).baseline] or pairs
    if len(asked) > _MOST_NAMED:
        clauses = [_counted(asked, measure)]
    else:
        clauses = [f"{_versus(p, measure)}{_price(p, comparison)}" for p in asked]
    clauses += _among(comparison, [p.arm for p in asked], measure)
    clauses += _beside(comparison, asked[0].arm, measure)
    return "; ".join(c for c in clauses if c) + "."


def _versus(pair: Pair, measure: Measure) -> str:
    sure = _sure(pair, measure)
    gain = amount(pair.gain, measure)
    if pair.verdict in ("better", "worse"):
        does = "beats" if pair.verdict == "better" else "loses to"
        return f"{pair.arm} {does} {pair.versus} by {gain}{small(pair, measure)} ({sure})"
    if pair.verdict == "equivalent":
        within = amount(pair.margin, measure)
        return f"{pair.arm} is as good as {pair.versus} within {within} ({sure})"
    least = ""
    if pair.least_detectable:
        least = f"; {figure(pair.least_detectable, measure)} would have been seen"
    way = "ahead" if pair.gain > 0 else "behind"
    said = f"{gain} {way}" if pair.gain else "no difference"
    return f"{pair.arm} and {pair.versus} are not distinguishable ({said}, {sure}{least})"


def small(pair: Pair, measure: Measure) -> str:
    """What is to be added to a difference that is there, and too small to matter."""
    return f", less than the margin of {amount(pair.margin, measure)}" if pair.equivalent else ""


def _sure(pair: Pair, measure: Measure) -> str:
    n = len(pair.seeds)
    counted = f"{n} seed{'' if n == 1 else 's'}"
    if pair.interval is None:
        return f"no interval, {counted}"
    # two one-sided tests at 5 % are decided by the 90 % interval: it lies within the margin
    decides = pair.interval90 if pair.verdict == "equivalent" else None
    low, high = _turned(decides or pair.interval, pair)
    bounds = f"{90 if decides else 95} % CI {figure(low, measure)} to {figure(high, measure)}"
    lower = "" if pair.direction == "higher" else ", gain = lower"
    if n == 1:
        return f"{bounds} over {measure.counts} only, 1 seed{lower}"
    return f"{bounds}, {counted}, paired{lower}"


def _turned(interval: Interval, pair: Pair) -> tuple[float, float]:
    if pair.direction == "higher":
        return interval.low, interval.high
    return -interval.high + 0.0, -interval.low + 0.0


def _price(pair: Pair, comparison: Comparison) -> str:
    ratio = pair.time_ratio
    if ratio is None:
        return ""
    # "kd and ce are not distinguishable" has two subjects; the price is the first one's
    who = f", and {pair.arm}" if pair.verdict == "not distinguishable" else " and"
    mine, theirs = _arm(comparison, pair.arm), _arm(comparison, pair.versus)
    if not 1 / _MUCH < ratio < _MUCH:
        return f"{who} takes {_took(mine)} where {pair.versus} takes {_took(theirs)}"
    if ratio >= 2:
        return f"{who} takes {ratio:.1f} times as long{' to train' if mine.trained else ''}"
    percent = round((ratio - 1) * 100)
    if abs(percent) < 3:
        return f"{who} costs the same time"
    return f"{who} costs {abs(percent)} % {'more' if percent > 0 else 'less'} time"


def _counted(pairs: list[Pair], measure: Measure) -> str:
    better = [p for p in pairs if p.verdict == "better"]
    worse = [p for p in pairs if p.verdict == "worse"]
    base, n = pairs[0].versus, len(pairs)
    parts = [f"{len(better)} of {n} arms beat {base} in {measure.label}{_named(better, measure)}"]
    if worse:
        parts.append(f"{len(worse)} lose to it{_named(worse, measure)}")
    rest = n - len(better) - len(worse)
    if rest:
        parts.append(f"{rest} cannot be told from it")
    return "; ".join(parts)


def _named(pairs: list[Pair], measure: Measure) -> str:
    if not pairs:
        return ""
    first, *others = pairs[:_MOST_NAMED]
    shown = [f"{first.arm}: {amount(first.gain, measure)}, {_sure(first, measure)}"]
    shown += [f"{p.arm}: {_short(p, measure)}" for p in others]
    more = f", and {len(pairs) - _MOST_NAMED} more" if len(pairs) > _MOST_NAMED else ""
    return f" ({'; '.join(shown)}{more})"


def _short(pair: Pair, measure: Measure) -> str:
    """The figure and its interval, where the words have been said just before."""
    if pair.interval is None:
        return figure(abs(pair.gain), measure)
    low, high = (figure(bound, measure) for bound in _turned(pair.interval, pair))
    return f"{figure(abs(pair.gain), measure)}, {low} to {high}"


def _among(comparison: Comparison, asked: list[str], measure: Measure) -> list[str]:
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
            said.append(f"{ahead} is ahead of {behind} by {amount(pair.gain, measure)}")
        elif pair.verdict == "equivalent":
            within = amount(pair.margin, measure)
            said.append(f"{pair.arm} and {pair.versus} are equivalent within {within}")
        else:
            said.append(f"{pair.arm} and {pair.versus} are not distinguishable")
    return said


def _beside(comparison: Comparison, arm: str, measure: Measure) -> list[str]:
    """The arm beside the best of the models as they came that were measured the same way."""
    pairs = [p for p in comparison.versus_reference if p.arm == arm]
    if not pairs:
        return []
    pair = min(pairs, key=lambda p: p.gain)
    theirs = next(r for r in comparison.references if r.role == pair.versus).model
    mine = _arm(comparison, arm).model
    size = ""
    if mine is not None and theirs is not None and theirs.parameters:
        share = 100 * mine.parameters / theirs.parameters
        size = f" with {share:.2g} % of its parameters" if share < 99.5 else ""
    way = "ahead of" if pair.gain > 0 else "behind"
    where = f"{amount(pair.gain, measure)} {way}" if pair.gain else "level with"
    if len(pairs) == 1:
        return [f"{arm} is {where} the {pair.versus}{size}"]
    return [f"{arm} is {where} {pair.versus}, the best of the models as they came{size}"]


def _alone(comparison: Comparison, measure: Measure) -> str:
    """No baseline to pair with: each arm's own figure."""
    said = []
    have = [arm for arm in comparison.arms if measure.name in arm.metrics]
    for arm in have[:_MOST_NAMED]:
        spread = arm.metrics[measure.name]
        if measure.direction == "higher":
            text = f"{arm.arm} reaches {level(spread.mean, measure)}"
            text += f"{' of' if measure.unit == 'points' else ''} {measure.label}"
        else:
            text = f"with {arm.arm}, {measure.label} is {level(spread.mean, measure)}"
        n = f"{spread.n_seeds} seed{'' if spread.n_seeds == 1 else 's'}"
        if spread.interval is not None:
            low, high = (figure(b, measure) for b in (spread.interval.low, spread.interval.high))
            text += f" (95 % CI {low} to {high}, {n})"
        else:
            text += f" ({n})"
        said.append(text)
    if len(have) > _MOST_NAMED:
        said.append(f"{len(have) - _MOST_NAMED} more arms are in the tables")
    said += _among(comparison, [arm.arm for arm in have], measure)
    said += _beside(comparison, have[0].arm, measure)
    return "; ".join(said) + "; there is no baseline to compare with."


def _unmeasured(comparison: Comparison) -> str:
    """No metric at all: what was made of what, in what time."""
    first, *others = comparison.arms
    given = comparison.models_given
    time = show_seconds(first.cost.wall_s)
    if first.model is None:
        said = f"{first.arm} ran for {time} and made no model"
    elif given:
        whole = show_size(first.model.bytes)
        inputs = [None if size is None else show_size(size) for size in given.values()]
        if first.want == "merge":
            into = "one" if set(inputs) == {whole} else f"one of {whole}"
            said = f"{first.arm} merged {_models(inputs)} into {into} in {time}"
        else:
            said = f"{first.arm} made a model of {whole} from {_models(inputs)} in {time}"
    else:
        said = f"{first.arm} made a model of {show_size(first.model.bytes)} in {time}"
    took = [f"{arm.arm} took {show_seconds(arm.cost.wall_s)}" for arm in others[:_MOST_NAMED]]
    if len(others) > _MOST_NAMED:
        took.append(f"{len(others) - _MOST_NAMED} more arms are in the tables")
    end = "nothing was measured: give data.test to know what it is worth"
    return "; ".join([said, *([", ".join(took)] if took else []), end]) + "."


def _models(sizes: Sequence[str | None]) -> str:
    """`2 models of 1.2 GB`; sizes that differ are all named, up to three."""
    n = f"{len(sizes)} model{'' if len(sizes) == 1 else 's'}"
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes) or len(known) > _MOST_NAMED < len(set(known)):
        return n
    return f"{n} of {' and '.join(dict.fromkeys(known))}"


def _took(arm: Arm) -> str:
    return "no time" if not arm.cost.train_s else show_seconds(arm.cost.train_s)


def _arm(comparison: Comparison, name: str) -> Arm:
    return next(a for a in comparison.arms if a.arm == name)


__all__ = ["sentence"]
