"""The pictures of the report: plain numbers in, one inline SVG out.

Shares and their differences are 0..1; with `percent` they are drawn as per cent and points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bequeath.evidence.report import svg
from bequeath.evidence.report.svg import BAD, BAND, GOOD, INK, LINE, MARKERS, MUTED, PAPER, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Point:
    """One arm in the plane of cost and quality; `low`, `high`: the interval of its quality."""

    label: str
    cost: float
    quality: float
    low: float | None = None
    high: float | None = None
    look: int = 0
    reference: bool = False


@dataclass(frozen=True)
class Row:
    """One difference with its interval; `seeds`: the difference of each seed."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    seeds: tuple[float, ...] = ()
    verdict: str = ""


@dataclass(frozen=True)
class Flip:
    """Samples (shares of the test set, or counts) that one arm got right and the other wrong."""

    label: str
    mended: float
    broken: float


def colour(look: int) -> str:
    return SERIES[look % len(SERIES)]


def short(text: str, length: int = 18) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def pareto(
    name: str,
    points: Sequence[Point],
    *,
    cost: str,
    quality: str,
    percent: bool,
    higher: bool,
    log: bool,
) -> str:
    """Quality against cost; the line is the front that no other arm beats on both."""
    best = _front(points, higher)
    alt = f"{quality} against {cost}. " + "; ".join(
        f"{p.label}: {_number(p.quality, percent)} at {p.cost:.3g}" for p in points
    )

    def plot(figure: Figure) -> None:
        axes = figure.add_subplot()
        svg.quiet(axes, "y")
        if log:
            axes.set_xscale("log")
        axes.step(
            [p.cost for p in best],
            [p.quality for p in best],
            where="post",
            color=LINE,
            linewidth=2.2,
            zorder=1,
        )
        for p in points:
            if p.low is not None and p.high is not None:
                axes.plot([p.cost] * 2, [p.low, p.high], color=colour(p.look), alpha=0.55, zorder=2)
            axes.plot(
                p.cost,
                p.quality,
                marker=MARKERS[p.look % len(MARKERS)],
                markersize=8.5,
                color=PAPER if p.reference else colour(p.look),
                markeredgecolor=INK if p.reference else PAPER,
                markeredgewidth=1.4 if p.reference else 1.0,
                zorder=3,
            )
        axes.margins(x=0.32, y=0.14)
        axes.set_xlabel(cost)
        axes.set_title(quality, loc="left", fontsize=svg.TEXT, color=MUTED, pad=10)
        if percent:
            axes.yaxis.set_major_formatter(percent_tick)
        _cost_ticks(axes, log)
        named = [p for p in points if len(points) <= 10 or p.reference or p in best]
        _label_points(axes, named)

    return svg.draw(name, 330, alt, plot)


def _front(points: Sequence[Point], higher: bool) -> list[Point]:
    sign = 1 if higher else -1
    front: list[Point] = []
    for p in sorted(points, key=lambda p: (p.cost, -sign * p.quality)):
        if not front or sign * p.quality > sign * front[-1].quality:
            front.append(p)
    return front


def _label_points(axes: Axes, points: Sequence[Point]) -> None:
    """Names beside their marks, pushed apart where they would lie on each other."""
    axes.figure.canvas.draw()  # the layout is known after this
    to_axes = axes.transAxes.inverted()
    places = [to_axes.transform(axes.transData.transform((p.cost, p.quality))) for p in points]
    for right in (True, False):
        side = [k for k, place in enumerate(places) if (place[0] <= 0.6) == right]
        heights = svg.spread([float(places[k][1]) for k in side], 0.062, 0.02, 0.98)
        for k, height in zip(side, heights):
            axes.annotate(
                short(points[k].label, 20),
                (points[k].cost, points[k].quality),
                xytext=(float(places[k][0]) + (0.035 if right else -0.035), height),
                textcoords="axes fraction",
                ha="left" if right else "right",
                va="center",
                color=INK,
                fontsize=svg.SMALL + 0.5,
                arrowprops={"arrowstyle": "-", "color": LINE, "linewidth": 0.8, "shrinkB": 4},
                zorder=1,
            )


def forest(
    name: str, rows: Sequence[Row], *, versus: str, margin: float, percent: bool, unit: str = ""
) -> str:
    """Differences from the baseline with their intervals; the band is the equivalence margin."""
    scale = 100.0 if percent else 1.0
    alt = f"Difference from {versus}. " + "; ".join(
        f"{r.label}: {_signed(r.value, percent)}"
        + ("" if r.low is None else f" ({_signed(r.low, percent)} to {_signed(r.high, percent)})")
        for r in rows
    )

    def plot(figure: Figure) -> None:
        axes = figure.add_subplot()
        svg.quiet(axes, "x")
        axes.axvspan(-margin * scale, margin * scale, color=BAND, linewidth=0, zorder=0)
        axes.axvline(0, color=MUTED, linewidth=1.0, zorder=1)
        tones = {"better": GOOD, "worse": BAD}
        for y, row in enumerate(rows):
            tone = tones.get(row.verdict, MUTED)
            if row.low is not None and row.high is not None:
                span = [row.low * scale, row.high * scale]
                axes.plot(span, [y, y], color=tone, linewidth=2.4, zorder=2)
            if len(row.seeds) > 1:
                axes.plot(
                    [s * scale for s in row.seeds], [y + 0.22] * len(row.seeds), "|",
                    color=MUTED, markersize=6, markeredgewidth=1.1, zorder=2,
                )  # fmt: skip
            axes.plot(
                row.value * scale, y, "o", markersize=8.5, color=tone,
                markeredgecolor=PAPER, zorder=3,
            )  # fmt: skip
            text = _signed(row.value, percent)
            axes.annotate(
                text, (1.01, y), xycoords=("axes fraction", "data"), va="center", color=INK
            )
        axes.set_yticks(range(len(rows)), [short(r.label) for r in rows], color=INK)
        axes.tick_params(axis="y", labelsize=svg.TEXT)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.margins(x=0.08)
        behind = "points" if percent else unit
        axes.set_xlabel(f"difference from {short(versus, 30)}" + (f", {behind}" if behind else ""))

    return svg.draw(name, 92 + 40 * len(rows), alt, plot)


Series = Mapping[str, Sequence[tuple[float, float]]]


def curves(
    name: str,
    arm: str,
    seeds: Sequence[Series],
    shares: Sequence[Series],
    looks: Mapping[str, int],
) -> str:
    """Each loss term over the steps (above) and its share of the gradient norm (below).

    seeds, shares: for each seed, term -> [(step, value), ...]; thin lines, one a seed.
    looks: the colour of each term, the same in all figures of a page.
    """
    terms = sorted({term for seed in seeds for term in seed})
    have_shares = any(points for seed in shares for points in seed.values())
    alt = f"Loss terms of {arm} over {len(seeds)} seed(s): " + ", ".join(terms)

    def plot(figure: Figure) -> None:
        from matplotlib.lines import Line2D

        panels = figure.subplots(2 if have_shares else 1, 1, sharex=True, squeeze=False)[:, 0]
        for axes, series, title in zip(
            panels, (seeds, shares), ("loss term, log scale", "share of the gradient norm")
        ):
            svg.quiet(axes, "y")
            axes.set_title(title, loc="left", fontsize=svg.SMALL, color=MUTED)
            _lines(axes, series, looks)
        positive = all(v > 0 for seed in seeds for points in seed.values() for _, v in points)
        if positive and terms:
            panels[0].set_yscale("log")
            log_ticks(panels[0].yaxis)
        else:
            panels[0].set_title("loss term", loc="left", fontsize=svg.SMALL, color=MUTED)
        if have_shares:
            panels[1].set_ylim(-0.02, 1.04)
            panels[1].yaxis.set_major_formatter(percent_tick)
            panels[1].set_yticks([0, 0.5, 1])
        panels[-1].set_xlabel("optimizer step")
        figure.legend(
            handles=[
                Line2D([], [], color=colour(looks[term]), linewidth=2.4, label=short(term, 16))
                for term in terms
            ],
            loc="outside upper left",
            frameon=False,
            ncols=4,
            handlelength=1.2,
            columnspacing=1.2,
            borderaxespad=0.0,
            labelcolor=INK,
        )

    return svg.draw(name, 350 if have_shares else 220, alt, plot)


def _lines(axes: Axes, series: Sequence[Series], looks: Mapping[str, int]) -> None:
    width = 1.7 if len(series) == 1 else 0.9
    for seed in series:
        for term, points in seed.items():
            x, y = zip(*points)
            axes.plot(x, y, color=colour(looks[term]), linewidth=width, alpha=0.85)


def flips(name: str, rows: Sequence[Flip], *, versus: str, unit: str) -> str:
    """Mended to the right, broken to the left, the net at the end of the row."""
    alt = f"Samples mended and broken against {versus}. " + "; ".join(
        f"{r.label}: {r.mended:.3g} mended, {r.broken:.3g} broken" for r in rows
    )

    def plot(figure: Figure) -> None:
        axes = figure.add_subplot()
        svg.quiet(axes, "x")
        y = range(len(rows))
        axes.barh(y, [r.mended for r in rows], height=0.62, color=GOOD, zorder=2)
        axes.barh(y, [-r.broken for r in rows], height=0.62, color=BAD, zorder=2)
        axes.axvline(0, color=MUTED, linewidth=1.0, zorder=3)
        for k, row in enumerate(rows):
            axes.annotate(_few(row.mended), (row.mended, k), xytext=(4, 0), va="center",
                          textcoords="offset points", fontsize=svg.SMALL, color=INK)  # fmt: skip
            axes.annotate(_few(row.broken), (-row.broken, k), xytext=(-4, 0), va="center",
                          ha="right", textcoords="offset points", fontsize=svg.SMALL,
                          color=INK)  # fmt: skip
        axes.set_yticks(y, [short(r.label) for r in rows], color=INK)
        axes.tick_params(axis="y", labelsize=svg.TEXT)
        axes.set_ylim(len(rows) - 0.45, -0.55)
        axes.margins(x=0.16)
        axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
        axes.set_xlabel(f"← broken · {unit} · mended →")

    return svg.draw(name, 74 + 27 * max(1, len(rows)), alt, plot)


def class_change(name: str, rows: Sequence[Row], *, versus: str) -> str:
    """Change of each class's own accuracy, in points; a grey bar is the range over the seeds."""
    alt = f"Change of each class's accuracy against {versus}. " + "; ".join(
        f"{r.label}: {_signed(r.value, True)} points" for r in rows
    )

    def plot(figure: Figure) -> None:
        axes = figure.add_subplot()
        svg.quiet(axes, "x")
        axes.axvline(0, color=MUTED, linewidth=1.0, zorder=1)
        for y, row in enumerate(rows):
            tone = GOOD if row.value > 0 else BAD if row.value < 0 else MUTED
            if row.low is not None and row.high is not None:
                span = [100 * row.low, 100 * row.high]
                axes.plot(span, [y, y], color=LINE, linewidth=5, solid_capstyle="round", zorder=1)
            axes.plot([0, 100 * row.value], [y, y], color=tone, linewidth=2.0, zorder=2)
            axes.plot(100 * row.value, y, "o", color=tone, markersize=7.5, markeredgecolor=PAPER,
                      zorder=3)  # fmt: skip
            axes.annotate(_signed(row.value, True), (1.01, y), va="center", color=INK,
                          xycoords=("axes fraction", "data"), fontsize=svg.SMALL)  # fmt: skip
        axes.set_yticks(range(len(rows)), [short(r.label) for r in rows], color=INK)
        axes.tick_params(axis="y", labelsize=svg.TEXT)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.margins(x=0.08)
        axes.set_xlabel("change of the class's accuracy, points")

    return svg.draw(name, 74 + 25 * max(1, len(rows)), alt, plot)


def _few(value: float) -> str:
    """A mean of counts: `0`, `4`, `9.7`."""
    return f"{value:.1f}".removesuffix(".0")


def _number(value: float, percent: bool) -> str:
    return f"{100 * value:.1f} %" if percent else f"{value:.4g}"


def _signed(value: float | None, percent: bool) -> str:
    if value is None:
        return ""
    text = f"{100 * value:+.1f}" if percent else f"{value:+.3g}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def percent_tick(value: float, _: float = 0) -> str:
    return f"{100 * value:.4g} %"


def plain_tick(value: float, _: float = 0) -> str:
    """0.25 -> `0.25`; 50_000 -> `50 k`; 2e6 -> `2 M`. Never mathtext."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= limit:
            return f"{value / limit:.4g}{unit}"
    return f"{value:.4g}"


def log_ticks(axis: Axis) -> None:
    """Ticks at 1, 2, 5 of each decade while the range is short, at decades when it is long."""
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = axis.get_view_interval()
    subs = (1.0, 2.0, 5.0) if high < 200 * low else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=7))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(plain_tick)


def _cost_ticks(axes: Axes, log: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    if log:
        log_ticks(axes.xaxis)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(plain_tick)


__all__ = [
    "Flip", "Point", "Row", "class_change", "colour", "curves", "flips", "forest", "log_ticks",
    "pareto", "percent_tick", "plain_tick", "short",
]  # fmt: skip
