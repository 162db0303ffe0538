"""What a protocol left for its readers: the tables and curves of the records, over the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from bequeath.evidence.inputs import Inputs
from bequeath.evidence.measure import Measure, unit_of, value
from bequeath.evidence.record import POINTS, SHARE, Curve, Table
from bequeath.evidence.report import lines
from bequeath.evidence.report.pictures import Picture
from bequeath.evidence.report.words import clean

MOST_ROWS = 60
MOST_COLUMNS = 40
MOST_LINES = 7
MOST_STEPS = 160

Value = float | str | None


@dataclass(frozen=True)
class Shade:
    """A cell of a matrix: text, shade 0..1 as CSS reads it, and whether it lies below zero."""

    text: str
    share: str = "0"
    below: bool = False


@dataclass(frozen=True)
class Left:
    """One table of one arm, as text."""

    arm: str
    heads: list[tuple[str, bool]]  # whether the column is text
    named: bool
    rows: list[tuple[str, list[Shade]]]
    shaded: bool
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Group:
    title: str
    note: str
    items: list[Left]


def left_tables(inputs: Inputs) -> list[Group]:
    """The tables of the records by name, each with the arms that left one."""
    names = dict.fromkeys(name for arm in inputs.order for r in inputs.runs_of(arm)
                          for name in r.tables)  # fmt: skip
    groups = []
    for name in names:
        found = {
            arm: tables
            for arm in inputs.order
            if (tables := [r.tables[name] for r in inputs.runs_of(arm) if name in r.tables])
        }
        means = {arm: _mean(tables) for arm, tables in found.items()}
        reach = _reach([cells for cells, _ in means.values()])
        first = next(iter(found.values()))[0]
        items = [_left(arm, found[arm][0], *means[arm], reach) for arm in found]
        title = _title(first.title, name)
        groups.append(Group(title, clean(first.note, 1000), items))
    return groups


def _title(title: str, name: str) -> str:
    words = clean(title) or clean(name).replace("_", " ")
    return words[:1].upper() + words[1:]


def _mean(tables: Sequence[Table]) -> tuple[list[list[Value]], str]:
    """The cells over the seeds, and how they came about."""
    first = tables[0]
    if len(tables) == 1:
        return [list(row) for row in first.rows], ""
    same = all(
        (t.columns, t.row_names, len(t.rows)) == (first.columns, first.row_names, len(first.rows))
        for t in tables
    )
    if not same:
        rows: list[list[Value]] = [list(row) for row in first.rows]
        return rows, f"The first seed's; the tables of the {len(tables)} seeds differ in shape."
    cells = [
        [_over_seeds([t.rows[i][j] for t in tables]) for j in range(len(first.columns))]
        for i in range(len(first.rows))
    ]
    return cells, f"Mean over {len(tables)} seeds."


def _over_seeds(values: Sequence[Value]) -> Value:
    numbers = [v for v in values if isinstance(v, int | float)]
    if len(numbers) == len(values):
        return sum(numbers) / len(numbers)
    if all(v == values[0] for v in values):
        return values[0]
    return "differs" if any(isinstance(v, str) for v in values) else None


def _reach(tables: Sequence[list[list[Value]]]) -> tuple[float, float]:
    numbers = [c for rows in tables for row in rows for c in row if isinstance(c, int | float)]
    return (min(numbers), max(numbers)) if numbers else (0.0, 0.0)


def _left(
    arm: str, table: Table, cells: list[list[Value]], how: str, reach: tuple[float, float]
) -> Left:
    shaded = table.kind == "matrix"
    of = Measure(name="", label="", unit=unit_of("", table.unit))
    shown = [
        [_cell(cell, of, reach if shaded else None) for cell in row[:MOST_COLUMNS]]
        for row in cells[:MOST_ROWS]
    ]
    names = [clean(name, 80) for name in table.row_names] or [""] * len(cells)
    notes = [how] if how else []
    if shaded and of.unit:
        notes.append("In per cent." if of.unit == SHARE else f"In {of.unit}.")
    if len(cells) > MOST_ROWS or len(table.columns) > MOST_COLUMNS:
        notes.append(
            f"The first {len(shown)} of {len(cells):,} rows and {min(len(table.columns), 40)} of "
            f"{len(table.columns)} columns; report.json has all."
        )
    heads = [
        (clean(column, 80), any(isinstance(row[j], str) for row in cells))
        for j, column in enumerate(table.columns[:MOST_COLUMNS])
    ]
    named = bool(table.row_names)
    return Left(clean(arm), heads, named, list(zip(names, shown)), shaded, notes)


def _cell(cell: Value, of: Measure, reach: tuple[float, float] | None) -> Shade:
    if cell is None:
        return Shade("·" if reach else "–")
    if isinstance(cell, str):
        return Shade(clean(cell))
    text = value(cell, of, unit=reach is None)
    if reach is None:
        return Shade(text)
    low, high = reach
    if low < 0 < high:  # two colours that meet at zero
        return Shade(text, f"{abs(cell) / max(high, -low):.3f}", cell < 0)
    return Shade(text, f"{(cell - low) / (high - low):.3f}" if high > low else "0.5")


def left_curves(inputs: Inputs) -> list[Picture]:
    """A picture for each curve: its arms together, or each alone where it has further lines."""
    names = dict.fromkeys(name for arm in inputs.order for r in inputs.runs_of(arm)
                          for name in r.curves)  # fmt: skip
    made: list[Picture] = []
    for name in names:
        found = {
            arm: curves
            for arm in inputs.order
            if (curves := [r.curves[name] for r in inputs.runs_of(arm) if name in r.curves])
        }
        if any(curve.series for curves in found.values() for curve in curves):
            groups = [{arm: curves} for arm, curves in list(found.items())[:MOST_LINES]]
        else:
            groups = [dict(list(found.items())[:MOST_LINES])]
        for group in groups:
            made.append(_curve(inputs, name, group, f"left{len(made)}", len(groups) > 1))
    return made


def _curve(
    inputs: Inputs, name: str, group: dict[str, list[Curve]], figure: str, alone: bool
) -> Picture:
    first = next(iter(group.values()))[0]
    unit = unit_of("", first.unit)
    scale = 100.0 if unit == POINTS else 1.0
    drawn = []
    for arm, curves in group.items():
        seeds = [_points(c.x, c.y, scale, c.x_log) for c in curves]
        drawn.append(lines.Line(clean(arm), _over(seeds), inputs.look(arm), seeds))
        for k, series in enumerate(curves[0].series):
            bound = [
                _points(c.x, c.series[series], scale, c.x_log) for c in curves if series in c.series
            ]
            look = (inputs.look(arm) + 1 + k) % 8
            drawn.append(lines.Line(clean(series, 40), _over(bound), look, dashed=True))
    title = _title(first.title, name)
    label = clean(first.y_label, 80) + (f", {unit}" if unit not in ("", SHARE) else "")
    drawing = lines.lines(
        figure, drawn, title=title, x_label=clean(first.x_label, 80), y_label=label,
        percent=unit == SHARE, x_log=first.x_log, y_log=first.y_log,
    )  # fmt: skip
    most = max(len(curves) for curves in group.values())
    caption = f"Mean over {most} seeds; thin lines are single seeds." if most > 1 else "One seed."
    if first.note:
        caption = f"{clean(first.note, 1000).rstrip('.')}. {caption}"
    if alone:
        title = f"{title}, {clean(next(iter(group)))}"
    return Picture(title, Markup(drawing), caption)


def _points(
    x: Sequence[float], y: Sequence[float | None], scale: float, log: bool
) -> list[lines.Dot]:
    """(x, y) in the order of x, gaps left out, at most `MOST_STEPS` of them with both ends."""
    dots = sorted((a, b * scale) for a, b in zip(x, y) if b is not None)
    if len(dots) <= MOST_STEPS:
        return dots
    shares = [k / (MOST_STEPS - 1) for k in range(MOST_STEPS)]
    last = len(dots) - 1
    places = [(last + 1) ** s - 1 if log else last * s for s in shares]
    return [dots[k] for k in sorted({min(last, round(place)) for place in places})]


def _over(seeds: Sequence[list[lines.Dot]]) -> list[lines.Dot]:
    """The mean over the seeds where all have the same x; else the first seed's line."""
    places = [x for x, _ in seeds[0]]
    if any([x for x, _ in dots] != places for dots in seeds):
        return seeds[0]
    return [(x, sum(dots[k][1] for dots in seeds) / len(seeds)) for k, x in enumerate(places)]


__all__ = ["Group", "Left", "left_curves", "left_tables"]
