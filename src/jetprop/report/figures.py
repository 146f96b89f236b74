"""Plots: lines, points, and a run beside the paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from jetprop.experiments.records import Record
from jetprop.report.drawing import COLOURS, MARKERS, WIDTH, number, sheet, style
from jetprop.report.tables import grid

__all__ = ["Plot", "Series", "comparison", "lines", "panels", "points"]

MANY = 25
"""Lines of more points than this are drawn without markers."""


@dataclass(frozen=True)
class Series:
    """One line of a plot.

    Args:
        name: in the legend.
        x: numbers, or names, which are then spaced evenly.
        y: one for each x; None and numbers that are not finite (on a logarithmic axis: not positive) leave a gap.
        dashed: for published or otherwise foreign values.
        colour: place in the palette; None means the place of the series in the plot.
    """

    name: str
    x: Sequence[float | str]
    y: Sequence[float | None]
    dashed: bool = False
    colour: int | None = None

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"series {self.name!r} has {len(self.x)} x and {len(self.y)} y; both need the same number")


@dataclass(frozen=True)
class Plot:
    """What a line plot shows; records keep it as a dictionary of the same names under `data["plots"]`.

    Args:
        title: a heading.
        x: label of the horizontal axis, with its unit.
        y: label of the vertical axis, with its unit.
        series: the lines.
        log: which axes are logarithmic: "", "x", "y" or "xy".
        caption: what is to be seen, and where it comes from.
    """

    title: str
    x: str
    y: str
    series: Sequence[Series] = field(default_factory=tuple)
    log: str = ""
    caption: str = ""

    def __post_init__(self) -> None:
        if self.log not in ("", "x", "y", "xy"):
            raise ValueError(f'log is "", "x", "y" or "xy", got {self.log!r}')

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Plot:
        """From the dictionary of a record.

        Raises:
            ValueError: a name is missing or unknown, or a series does not fit.
        """
        try:
            series = [Series(**one) for one in values.get("series", ())]
            return cls(**{**values, "series": series})
        except TypeError as error:
            raise ValueError(
                f"a plot of a record must be a dictionary of the fields of Plot and Series: {error}"
            ) from error


def lines(plot: Plot) -> Figure:
    """A line plot.

    Raises:
        ValueError: x holds names and is to be logarithmic.
    """
    with style():
        columns = _columns(plot)
        figure = sheet(height=3.1 + 0.17 * -(-len(plot.series) // columns))
        _draw(figure.add_subplot(), plot)
        if len(plot.series) > 1 or any(one.name for one in plot.series):
            figure.legend(loc="outside upper left", ncols=columns, fontsize=9, handlelength=2.4)
    return figure


def panels(plots: Sequence[Plot]) -> Figure:
    """Several line plots side by side, each with its title and legend.

    Raises:
        ValueError: there are none, or as `lines`.
    """
    if not plots:
        raise ValueError("panels need at least one plot")
    with style():
        legend = max(-(-len(plot.series) // _columns(plot)) for plot in plots)
        figure = sheet(WIDTH * min(len(plots), 2), (3.5 + 0.17 * legend) * -(-len(plots) // 2))
        places = figure.subfigures(-(-len(plots) // 2), min(len(plots), 2), squeeze=False)
        for place, plot in zip(places.flat, plots, strict=False):
            axes = place.add_subplot()
            _draw(axes, plot)
            axes.set_title(plot.title, loc="left", fontweight="bold")
            place.legend(loc="outside upper left", ncols=_columns(plot), fontsize=9, handlelength=2.4)
    return figure


def _columns(plot: Plot) -> int:
    """Of the legend."""
    longest = max((len(one.name) for one in plot.series), default=0)
    return 1 if longest > 26 else 2 if longest > 20 or len(plot.series) > 3 else 3


def _draw(axes: Axes, plot: Plot) -> None:
    named = any(isinstance(x, str) for one in plot.series for x in one.x)
    if named and "x" in plot.log:
        raise ValueError(f"the x of {plot.title!r} are names, which have no logarithm")
    order = list(dict.fromkeys(str(x) for one in plot.series for x in one.x)) if named else []
    for place, one in enumerate(plot.series):
        turn = place if one.colour is None else one.colour
        x = [float(order.index(str(value))) if named else float(value) for value in one.x]
        y = [_drawable(value, "y" in plot.log) for value in one.y]
        axes.plot(
            x,
            y,
            color=COLOURS[turn % len(COLOURS)],
            linestyle="--" if one.dashed else "-",
            marker=MARKERS[turn % len(MARKERS)] if len(x) <= MANY else None,
            markerfacecolor="none" if one.dashed else None,
            label=one.name,
        )
    axes.set(xlabel=plot.x, ylabel=plot.y)
    numbers = [] if named else [float(x) for one in plot.series for x in one.x]
    if named:
        axes.set_xticks(range(len(order)), order)
    elif numbers and "x" not in plot.log and 0 <= min(numbers) < max(numbers) / 3:
        axes.set_xlim(left=0)
    for name in "xy":
        if name in plot.log:
            _logarithmic(axes, name)


def points(names: Sequence[str], values: Mapping[str, Sequence[float | None]], label: str) -> Figure:
    """One line of points for each name: filled for the first kind of value, hollow for the others; logarithmic.

    Args:
        names: of the lines, from top to bottom, each in its own colour.
        values: what is measured, e.g. "test" and "training", to one number for each name.
        label: of the horizontal axis, with its unit.
    """
    if not values:
        raise ValueError("points need at least one kind of value")
    with style():
        figure = sheet(WIDTH, 1.1 + 0.45 * len(names))
        axes = figure.add_subplot()
        height = [len(names) - 1 - k for k in range(len(names))]
        for turn, y in enumerate(height):
            found = [_drawable(kind[turn], True) for kind in values.values()]
            known = [x for x in found if math.isfinite(x)]
            colour = COLOURS[turn % len(COLOURS)]
            if not known:
                axes.annotate("not measured", (0.02, y), xycoords=("axes fraction", "data"), va="center")
                continue
            axes.plot([min(known), max(known)], [y, y], color=colour, linewidth=1)
            for kind, x in enumerate(found):
                face = colour if kind == 0 else "none"
                axes.plot(
                    x, y, MARKERS[turn % len(MARKERS)], color=colour, markerfacecolor=face, markersize=8, clip_on=False
                )
            if math.isfinite(found[0]):
                axes.annotate(
                    number(found[0]), (found[0], y), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=9
                )
        axes.set_yticks(height, list(names))
        axes.set(xlabel=label, ylim=(-0.5, len(names) - 0.3))
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.08)
        _logarithmic(axes, "x")
    return figure


def comparison(record: Record) -> Figure | None:
    """A run beside the paper, one line for each row of its table over the columns; None if there is nothing to compare.

    Figures must share a unit, two columns or more must hold both values somewhere, and the rows must be few enough to
    be told apart.
    """
    found = grid(record)
    both = {c for (_, c), f in found.figures.items() if f.ours is not None and f.published is not None}
    if found.unit is None or len(both) < 2 or len(found.rows) > len(COLOURS) // 2:
        return None
    series, shown = [], []
    for turn, row in enumerate(found.rows):
        figures = [found.figures.get((row, column)) for column in found.columns]
        for name, values in (
            (f"{row}, this run", [None if f is None else f.ours for f in figures]),
            (f"{row}, paper", [None if f is None else f.published for f in figures]),
        ):
            if any(value is not None for value in values):
                series.append(Series(name, found.columns, values, name.endswith("paper"), turn))
                shown += [value for value in values if value is not None and math.isfinite(value)]
    log = "y" if min(shown) > 0 and max(shown) > 8 * min(shown) else ""
    return lines(Plot("", "", found.unit or "value", series, log))


def _drawable(value: float | None, logarithmic: bool) -> float:
    if value is None or not math.isfinite(value) or (logarithmic and value <= 0):
        return math.nan
    return float(value)


def _logarithmic(axes: Axes, name: str) -> None:
    """A logarithmic axis with plain numbers, at 1, 2, 5 of each decade if these are neither many nor few."""
    axis = axes.xaxis if name == "x" else axes.yaxis
    (axes.set_xscale if name == "x" else axes.set_yscale)("log")
    low, high = sorted(axis.get_view_interval())
    decades = math.log10(high / low) if low > 0 else 0
    room = 2 if name == "x" else 3  # decades, in which 1, 2, 5 of each find room
    if decades > room:
        subs = (1.0, 3.0) if decades < room + 1.5 else (1.0,)
    else:
        subs = (1.0, 2.0, 5.0) if decades > 1 else (1.0, 2.0, 3.0, 4.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
