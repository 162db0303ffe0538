"""One picture of lines: any quantity over any other, arms in their colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bequeath.evidence.report import svg
from bequeath.evidence.report.figures import colour, log_ticks, percent_tick, plain_tick, short
from bequeath.evidence.report.svg import INK, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Dot = tuple[float, float]
_MARKED = 12  # a line of so few points shows them


@dataclass(frozen=True)
class Line:
    """dots: the line; seeds: the lines it is the mean of, drawn thin."""

    label: str
    dots: Sequence[Dot]
    look: int
    seeds: Sequence[Sequence[Dot]] = field(default_factory=list)
    dashed: bool = False


def lines(
    name: str,
    drawn: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    percent: bool,
    x_log: bool,
    y_log: bool,
) -> str:
    """Lines over a common axis; a logarithmic scale only where every number allows it."""
    ends = "; ".join(
        f"{line.label} from {line.dots[0][1]:.4g} to {line.dots[-1][1]:.4g}"
        for line in drawn
        if line.dots
    )
    alt = f"{title}: {y_label} over {x_label}. {ends}"

    def plot(figure: Figure) -> None:
        from matplotlib.lines import Line2D

        axes = figure.add_subplot()
        svg.quiet(axes, "y")
        for line in drawn:
            _draw(axes, line)
        axes.set_title(y_label, loc="left", fontsize=svg.TEXT, color=MUTED, pad=10)
        axes.set_xlabel(x_label)
        _scales(axes, drawn, percent, x_log, y_log)
        figure.legend(
            handles=[
                Line2D([], [], color=colour(line.look), linewidth=2.4, label=short(line.label, 18),
                       linestyle="--" if line.dashed else "-")
                for line in drawn
            ],
            loc="outside upper left", ncols=3, frameon=False, handlelength=1.4,
            columnspacing=1.2, borderaxespad=0.0, labelcolor=INK,
        )  # fmt: skip

    return svg.draw(name, 300 + 18 * (-(-len(drawn) // 3) - 1), alt, plot)


def _draw(axes: Axes, line: Line) -> None:
    tone = colour(line.look)
    if len(line.seeds) > 1:
        for seed in line.seeds:
            axes.plot(*_xy(seed), color=tone, alpha=0.4, linewidth=0.8, zorder=2)
    marker = "o" if len(line.dots) <= _MARKED and not line.dashed else ""
    axes.plot(
        *_xy(line.dots), color=tone, linewidth=2.0, marker=marker, markersize=5, zorder=3,
        linestyle="--" if line.dashed else "-",
    )  # fmt: skip


def _xy(dots: Sequence[Dot]) -> tuple[list[float], list[float]]:
    return [x for x, _ in dots], [y for _, y in dots]


def _scales(axes: Axes, drawn: Sequence[Line], percent: bool, x_log: bool, y_log: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    dots = [dot for line in drawn for part in (line.dots, *line.seeds) for dot in part]
    for axis, k, log in ((axes.xaxis, 0, x_log), (axes.yaxis, 1, y_log)):
        if log and dots and all(dot[k] > 0 for dot in dots):
            (axes.set_xscale if k == 0 else axes.set_yscale)("log")
            log_ticks(axis)
            continue
        whole = k == 0 and all(float(dot[0]).is_integer() for dot in dots)
        axis.set_major_locator(MaxNLocator(6, integer=whole, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(plain_tick)
    if percent:
        axes.yaxis.set_major_formatter(percent_tick)


__all__ = ["Dot", "Line", "lines"]
