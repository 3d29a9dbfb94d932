"""One look for every chart: size, fonts, colours that colour-blind readers tell apart, axes with units, and rendering to SVG and PNG.

Charts use matplotlib's object interface; its settings are changed only while a chart is drawn or rendered, and restored after.
A figure is as wide as a phone shows without shrinking its text beyond reading (:data:`WIDTH_IN`).
"""

from __future__ import annotations

import contextlib
import functools
import html
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import matplotlib
import matplotlib.ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from hpcsim.results.quantities import quantity, scale

__all__ = [
    "BAR_IN",
    "COMPONENTS",
    "GRID",
    "INK",
    "PALETTE",
    "SEQUENTIAL",
    "WIDTH_IN",
    "Chart",
    "colour",
    "drawn",
    "legend",
    "note",
    "sheet",
    "time_axis",
    "time_unit",
    "value_axis",
    "width_in",
    "wrap",
]

P = ParamSpec("P")
R = TypeVar("R")

WIDTH_IN = 5.6
_UPRIGHT_IN = 2.3
BAR_IN = 0.36
INK = "#1f2933"
FAINT = "#52606d"
GRID = "#d9dee4"
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6D31", "#8A8F98")
"""Okabe and Ito's colours, in the order of use; yellow and black, which read badly as fills, are replaced by brown and grey."""
SEQUENTIAL = ("#bfe3cf", "#7fcdbb", "#41b6c4", "#2c7fb8", "#253494")
COMPONENTS = {
    "compute": "#0072B2",
    "idle": "#8A8F98",
    "network": "#E69F00",
    "storage": "#009E73",
    "cooling": "#56B4E9",
    "busy": "#0072B2",
    "down": "#D55E00",
    "free": "#d3d9df",
}
"""Parts that have the same colour in every chart."""

_STYLE: dict[str, Any] = {
    "font.family": ["sans-serif"],
    "font.size": 10.5,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.grid": False,
    "axes.axisbelow": True,
    "axes.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "axes.formatter.use_mathtext": False,
    "axes.formatter.use_locale": False,
    "figure.facecolor": "white",
    "figure.dpi": 100,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "hatch.linewidth": 0.8,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "legend.handlelength": 1.2,
    "lines.linewidth": 1.6,
    "patch.linewidth": 0.0,
    "path.simplify": True,
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 9.5,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 9.5,
}


@contextlib.contextmanager
def _look(**more: Any) -> Iterator[None]:
    settings: Any = {**_STYLE, **more}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks; the reader's has it
        yield


def drawn(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that draws, so that it draws in hpcsim's look."""

    @functools.wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with _look():
            return function(*args, **kwargs)

    return inside


@dataclass(frozen=True, eq=False)
class Chart:
    """One picture with one message.

    Attributes
    ----------
    name : str
        File name without its ending.
    title : str
        The message, as it stands above the picture.
    text : str
        What the picture shows, for a caption and for those who cannot see it.
    figure : matplotlib.figure.Figure
    """

    name: str
    title: str
    text: str
    figure: Figure

    def svg(self) -> str:
        """Return the picture as SVG text, equal for equal data."""
        return self._svg

    @functools.cached_property
    def _svg(self) -> str:
        buffer = io.StringIO()
        with _look(**{"svg.hashsalt": f"hpcsim {self.name}"}):
            metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
            self.figure.savefig(buffer, format="svg", metadata=metadata, dpi=150)
        return _short(buffer.getvalue())

    def inline_svg(self) -> str:
        """Return the picture as an ``<svg>`` element to stand in a page beside others."""
        text = self.svg()
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href=", "href=")
        text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{self.name}-", text)
        text = re.sub(
            r'<svg\b[^>]*?viewBox="([^"]*)"[^>]*>', rf'<svg role="img" aria-label="{html.escape(self.title)}" viewBox="\1">', text, count=1
        )
        return text.strip()

    def png(self, *, dpi: int = 150) -> bytes:
        """Return the picture as PNG."""
        buffer = io.BytesIO()
        with _look():
            FigureCanvasAgg(self.figure)
            self.figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
        return buffer.getvalue()


def sheet(title: str, *, height: float = 3.3, rows: int = 1, ratios: Sequence[float] | None = None) -> tuple[Figure, list[Axes]]:
    """Return a figure with its title and ``rows`` axes one above the other that share the horizontal axis."""
    text = re.sub(r"(?<=\d) (?=\S{1,5}(?:[\s,;.)]|$))", "\u00a0", title)
    text = wrap(text, WIDTH_IN - 0.2, size=12, bold=True)
    figure = Figure(figsize=(WIDTH_IN, height + 0.2 * text.count("\n")), layout="constrained")
    figure.suptitle(text, x=0.012, ha="left", color=INK)
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=list(ratios) if ratios else None)
    return figure, [axes[i, 0] for i in range(rows)]


@functools.lru_cache(maxsize=8192)
def width_in(text: str, *, size: float = 9.5, bold: bool = False) -> float:
    """Return the width of a line of text [in] at ``size`` points."""
    font = FontProperties(family="sans-serif", size=size, weight="bold" if bold else "normal")
    with _look():
        return float(text_to_path.get_text_width_height_descent(text, font, False)[0]) / 72


def wrap(text: str, inches: float, *, size: float = 9.5, bold: bool = False) -> str:
    """Return ``text`` in lines of at most ``inches``, broken at blanks and hyphens where that will do."""
    lines, line = [], ""
    for word in re.findall(r"[^ \t\n-]+-?|-+| +", re.sub(r"\s*[\t\r\n]\s*", " ", str(text).strip())):
        if width_in(line + word.rstrip(" "), size=size, bold=bold) > inches and line.strip(" "):
            lines.append(line.strip(" "))
            line = ""
        line += word if line or word.strip(" ") else ""
        while width_in(line, size=size, bold=bold) > inches and len(line.strip(" ")) > 1:
            fits = next((n for n in range(len(line) - 1, 1, -1) if width_in(line[:n], size=size, bold=bold) <= inches), 1)
            lines.append(line[:fits])
            line = line[fits:]
    return "\n".join([*lines, line.strip(" ")]).strip("\n") or " "


def note(axes: Axes, text: str) -> None:
    """Write a sentence in place of a picture, such as that there is nothing to show."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, wrap(text, 4.0, size=10.5), ha="center", va="center", color=FAINT, transform=axes.transAxes)


def colour(name: str, index: int) -> str:
    """Return the colour of a part: its own where it has one, else the ``index``-th of the palette."""
    return COMPONENTS.get(name, PALETTE[index % len(PALETTE)])


def legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str], *, title: str | None = None) -> None:
    """Put a legend below everything, where it hides nothing, in as few rows as its words allow."""
    columns = max(1, len(labels))
    while columns > 1:
        rows = -(-len(labels) // columns)
        widths = [max(width_in(label) for label in labels[i : i + rows]) for i in range(0, len(labels), rows)]  # filled from above
        if sum(widths) + 0.47 * len(widths) <= WIDTH_IN - 0.3:
            break
        columns -= 1
    figure.legend(
        handles,
        [wrap(label, WIDTH_IN - 0.8) for label in labels],
        loc="outside lower center",
        ncol=-(-len(labels) // -(-len(labels) // columns)) if labels else 1,
        columnspacing=1.4,
        title=title,
        title_fontsize=9.5,
    )


def time_unit(span_s: float) -> tuple[float, str]:
    """Return seconds per unit, and the unit, in which a span of time reads well.

    >>> time_unit(30 * 86400)
    (86400.0, 'days')
    """
    for seconds, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if span_s >= 3 * seconds:
            return seconds, unit
    return (1.0, "s") if span_s <= 0 else (1e-9, "ns")


def time_axis(axes: Axes, span_s: float, *, what: str = "time since start") -> float:
    """Label the horizontal axis as time and return the seconds per unit by which the data are to be divided."""
    seconds, unit = time_unit(span_s)
    axes.set_xlabel(f"{what} ({unit})")
    decimal: list[float] = [1, 2, 2.5, 5, 10]
    steps = {"h": [1, 2, 3, 6, 10], "min": [1, 1.5, 3, 6, 10]}.get(unit, decimal) if span_s >= 10 * seconds else decimal
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(nbins=8, steps=steps))
    axes.set_xlim(0, max(span_s / seconds, 1e-12))
    return seconds


def value_axis(axis: Any, name: str, largest: float, *, what: str | None = None) -> float:
    """Label a matplotlib axis with the quantity ``name`` and return the divisor of its data."""
    divisor, unit = scale(name, largest)
    text = quantity(name).label if what is None else what
    text = f"{text} ({unit})" if unit else text
    axis.set_label_text(wrap(text, _UPRIGHT_IN, size=10.5) if axis.axis_name == "y" else text)
    axis.set_major_locator(matplotlib.ticker.MaxNLocator(nbins=6, min_n_ticks=3, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(matplotlib.ticker.FuncFormatter(_tick))
    return divisor


def _tick(value: float, _position: int) -> str:
    plain = value == 0 or 1e-4 <= abs(value) < 1e7
    text = f"{value:,.7f}".rstrip("0").rstrip(".") if plain else f"{value:.3g}"
    return text.replace("-", "−")


def _short(svg: str) -> str:
    """Return SVG with coordinates rounded to tenths of a point: a third of the size, the same picture."""

    def rounded(match: re.Match[str]) -> str:
        return re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}".rstrip("0").rstrip("."), match[0])

    svg = re.sub(r'\b(?:d|points|x|y|width|height|transform)="[^"]*"', rounded, svg)
    return re.sub(r"[ \t]+\n", "\n", svg)
