"""matplotlib figures as inline SVG that takes its colours and its font from the page.

A figure is drawn in sentinel colours (one hex value a role); in the text of the SVG each becomes
a CSS variable, so that one picture serves light, dark and print. Ids get the figure's name, so
that many figures can live in one page, and nothing in the text depends on when it was drawn.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Roles of colour -> a hex value that nothing else in the SVG uses.
INK = "#010203"
MUTED = "#010204"
LINE = "#010205"
PAPER = "#010206"
BAND = "#010207"
GOOD = "#010208"
BAD = "#010209"
SERIES = tuple(f"#0103{n:02d}" for n in range(8))
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    PAPER: "paper",
    BAND: "band",
    GOOD: "good",
    BAD: "bad",
    **{value: f"s{n}" for n, value in enumerate(SERIES)},
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")

WIDTH = 400.0  # px of the view box; the page scales it to its column
TEXT = 12.5
SMALL = 11.0

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.usetex": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": TEXT,
    "axes.labelsize": TEXT,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.6,
    "axes.unicode_minus": True,
    "path.simplify": True,
    "path.simplify_threshold": 0.3,
}


def draw(name: str, height: float, alt: str, plot: Callable[[Figure], None]) -> str:
    """One `<svg>` element, `WIDTH` x `height` units, whose text is real text.

    name: unique in the page, letters and digits; alt: what the picture shows, read aloud.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {**_STYLE, "svg.hashsalt": name}
    with matplotlib.rc_context(), warnings.catch_warnings():
        # A class name in a script that DejaVu lacks is drawn by the browser, not by matplotlib.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, layout="constrained")
        FigureCanvasSVG(figure)
        plot(figure)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    return _for_page(buffer.getvalue(), name, alt, height)


def _for_page(svg: str, name: str, alt: str, height: float) -> str:
    from markupsafe import escape

    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # matplotlib's own rule would set stroke joins for every element of the page it lands in
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    # Only inside tags: the text between them is the user's and stays as it is.
    body = re.sub(r"<[^>]+>", lambda tag: _retag(tag[0], name), body)
    body = re.sub(r"\s*\n\s*", "\n", body).strip()
    return (
        f'<svg class="plot" role="img" aria-label="{escape(alt)}" '
        f'viewBox="0 0 {WIDTH:g} {height:g}" xmlns="http://www.w3.org/2000/svg">\n'
        f"{body}\n</svg>"
    )


def _retag(tag: str, name: str) -> str:
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', tag)
    tag = re.sub(r"url\(#", f"url(#{name}-", tag)
    tag = re.sub(r"(?<![\w.])(-?\d+\.\d)\d+(?![\w.])", r"\1", tag)
    tag = re.sub(r"font: (?:[\w ]* )?([\d.]+)px [^;\"]*", r"font-size: \1px", tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    return re.sub(r"#01\w{4}", lambda value: f"var(--{_VARIABLES[value[0]]})", tag)


def quiet(axes: Axes, grid: str | None = None) -> None:
    """The house style of an axis: no frame, no tick marks, at most one set of grid lines."""
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(side == "bottom" and grid != "x")
    axes.tick_params(length=0, pad=5)
    if grid:
        axes.grid(axis=grid, zorder=0)  # type: ignore[arg-type]
        axes.set_axisbelow(True)


def spread(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """Positions as near as can be to `wanted` with at least `gap` between neighbours."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed = [min(max(wanted[i], low), high) for i in order]
    for k in range(1, len(placed)):
        placed[k] = max(placed[k], placed[k - 1] + gap)
    excess = placed[-1] - high if placed else 0.0
    if excess > 0:
        placed[-1] -= excess
        for k in range(len(placed) - 2, -1, -1):
            placed[k] = min(placed[k], placed[k + 1] - gap)
    result = [0.0] * len(wanted)
    for position, i in zip(placed, order):
        result[i] = position
    return result


__all__ = ["draw", "quiet", "spread"]
