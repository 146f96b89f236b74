"""The engine beside its rivals, as `jetprop.benchmarks.bench_rivals` measured them: a table and a plot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.table import Table
from rich.text import Text

from jetprop.report.drawing import COLOURS, INK, MARKERS, number, sheet, style
from jetprop.report.figures import _logarithmic
from jetprop.report.tables import MISSING, _markdown

__all__ = ["rivals_figure", "rivals_markdown", "rivals_table"]

COLUMNS = ("network", "order", "contestant", "time / floor", "ms a step", "peak MB", "off by")

DRAWN = ("whole step", "torch.func", "double backward", "jax jvp", "jax jet", "jenn")
"""Contestants of the plot, beside `kernels`, whose time is the unit, and the floor."""

Results = Mapping[str, Any] | Sequence[Mapping[str, Any]]


def rivals_table(results: Results) -> Table:
    """Times, memory and rightness for the terminal.

    Args:
        results: what `jetprop.benchmarks.bench_rivals` returned, or what `jetprop bench rivals --out` wrote.

    Raises:
        ValueError: it is neither.
    """
    cases = _cases(results)
    result = Table(title="the engine and its rivals", caption=Text(_legend(cases)), box=box.SIMPLE_HEAD, pad_edge=False)
    for column in COLUMNS:
        words = column in ("network", "contestant")
        result.add_column(column, justify="left" if words else "right", no_wrap=column != "contestant")
    for case in cases:
        lines = list(_lines(case))
        for place, line in enumerate(lines):
            result.add_row(*map(Text, line), end_section=place == len(lines) - 1)
    return result


def rivals_markdown(results: Results) -> str:
    """The same as a Markdown table."""
    cases = _cases(results)
    return f"{_legend(cases)}\n\n{_markdown(COLUMNS, [line for case in cases for line in _lines(case)])}"


def rivals_figure(results: Results) -> Figure:
    """Time of a step over that of a plain call of the engine, one panel for each order; crosses are wrong gradients.

    Raises:
        ValueError: as for `rivals_table`.
    """
    cases = _cases(results)
    orders = sorted({case["case"]["order"] for case in cases})
    models = list(dict.fromkeys(case["case"]["model"] for case in cases))
    with style():
        figure = sheet(1.6 + 2.3 * len(orders), 3.9)
        panels: Sequence[Axes] = figure.subplots(1, len(orders), sharey=True, squeeze=False)[0]
        for panel, order in zip(panels, orders, strict=True):
            chosen = [case for case in cases if case["case"]["order"] == order]
            panel.axhline(1, color=INK, linewidth=1)
            for case in chosen:
                _draw(panel, models.index(case["case"]["model"]), case)
            panel.set_xticks(range(len(models)), models, rotation=60, ha="right")
            panel.set(title=f"order {order}", xlim=(-0.6, len(models) - 0.4))
            panel.grid(visible=False, axis="x")
        panels[0].set_ylabel("time / time of a plain call")
        _logarithmic(panels[0], "y")
        names = {name for case in cases for name in case["timings"]}
        for turn, name in enumerate(DRAWN):
            if names & {name, f"{name}, own norms"}:
                panels[0].plot([], [], MARKERS[turn], color=COLOURS[turn], label=name)
        panels[0].plot([], [], "_", color=INK, markersize=9, label="floor")
        if any(not right for case in cases for right in case["right"].values()):
            panels[0].plot([], [], "x", color=INK, label="wrong gradient")
        figure.legend(loc="outside upper left", ncols=4, fontsize=9)
    return figure


def _draw(panel: Axes, x: int, case: Mapping[str, Any]) -> None:
    unit = case["timings"]["kernels"]["ratio"]
    panel.plot(x, 1 / unit, "_", color=INK, markersize=14)
    for turn, name in enumerate(DRAWN):
        at = x + 0.11 * (turn - (len(DRAWN) - 1) / 2)
        for entry in (name, f"{name}, own norms"):
            if entry in case["timings"]:
                marker = MARKERS[turn] if case["right"][entry] else "x"
                panel.plot(at, case["timings"][entry]["ratio"] / unit, marker, color=COLOURS[turn])


def _cases(results: Results) -> list[Mapping[str, Any]]:
    cases: list[Mapping[str, Any]] = list(results["cases"]) if isinstance(results, Mapping) else list(results)
    needed = ("case", "timings", "peak_megabytes", "gradient_deviation", "right", "notes")
    for place, case in enumerate(cases):
        absent = [key for key in needed if key not in case]
        if absent:
            raise ValueError(f"benchmark {place} has no {', '.join(absent)}; expected what bench_rivals returns")
    return cases


def _lines(case: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    head = (str(case["case"]["model"]), str(case["case"]["order"]))
    for name, timing in case["timings"].items():
        peak, off = case["peak_megabytes"].get(name), case["gradient_deviation"].get(name)
        once = timing["turns"] == 1
        yield (
            *head,
            name,
            number(timing["ratio"]) + (" once" if once else f" ± {number(timing['spread'], 2)}"),
            number(1e3 * timing["seconds"]),
            MISSING if peak is None else number(float(peak)),
            MISSING if off is None else f"{'' if case['right'][name] else 'WRONG '}{off:.0e}",
        )
    for name, note in case["notes"].items():
        if name not in case["timings"]:
            yield *head, name, note, *[MISSING] * 3


def _legend(cases: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for label, values in (
        ("batch {}", {case["case"].get("batch") for case in cases}),
        ("{}", {case["case"].get("dtype") for case in cases}),
        ("{}", {case.get("device") for case in cases}),
        ("{} threads", {case.get("threads") for case in cases}),
    ):
        known = sorted(str(value) for value in values if value is not None)
        if known:
            parts.append(label.format(" or ".join(known)))
    parts.append("time / floor: median ± half the distance of the quartiles, turn by turn")
    parts.append("peak: the most a step holds beside parameters and input, as planned by XLA for JAX")
    parts.append("off by: the gradient, relative to that in float64")
    return "; ".join(parts)
