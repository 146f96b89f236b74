"""Figures of a record as rows and columns, ours beside the published value; timings likewise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from jetprop.experiments.records import Figure, Record
from jetprop.report.drawing import number

__all__ = ["Grid", "bench_markdown", "bench_table", "cell", "claims", "grid", "markdown", "table", "verdict"]

MISSING = "–"
"""Where the table has no figure."""

BENCHMARK_COLUMNS = ("L", "rows", "contestant", "time / floor", "ms a step", "saved MB", "peak MB")


@dataclass(frozen=True)
class Grid:
    """Figures arranged as a table.

    Args:
        rows: names of the rows, in the order in which they first came.
        columns: names of the columns, likewise.
        figures: by row and column; not every place need be taken.
        unit: that of all figures, "" if they have none; None if they differ.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    figures: dict[tuple[str, str], Figure]
    unit: str | None

    def text(self, row: str, column: str) -> str:
        """What stands in one place, see `cell`; with its unit where units differ."""
        figure = self.figures.get((row, column))
        if figure is None:
            return MISSING
        return cell(figure) if self.unit is not None else cell(figure, figure.unit)

    @property
    def published(self) -> bool:
        """Whether there is anything to compare with."""
        return any(figure.published is not None for figure in self.figures.values())

    @property
    def legend(self) -> str:
        """One line that says how to read the cells."""
        unit = f"in {self.unit}" if self.unit else ""
        reading = "this run | paper's value | this run ÷ paper" if self.published else ""
        return "; ".join(part for part in (unit, reading) if part)


def grid(record: Record) -> Grid:
    """Arrange the figures of a record.

    Raises:
        ValueError: two figures claim one place.
    """
    places: dict[tuple[str, str], Figure] = {}
    for figure in record.figures:
        place = (str(figure.row), str(figure.column))
        if place in places:
            raise ValueError(f"two figures of {record.experiment!r} stand at row {place[0]!r}, column {place[1]!r}")
        places[place] = figure
    units = {figure.unit for figure in record.figures}
    return Grid(
        tuple(dict.fromkeys(row for row, _ in places)),
        tuple(dict.fromkeys(column for _, column in places)),
        places,
        units.pop() if len(units) == 1 else "" if not units else None,
    )


def cell(figure: Figure, unit: str = "") -> str:
    """One figure: ours, then the paper's, then their quotient, as far as they are there.

    Example:
        >>> from jetprop.experiments.records import Figure
        >>> from jetprop.report import cell
        >>> cell(Figure("test", "1.5", 0.168, 0.12)), cell(Figure("test", "12", None, 0.072))
        ('0.168 | paper 0.12 | ×1.40', 'not run | paper 0.072')
    """
    ours, published = figure.ours, figure.published
    suffix = f" {unit}" if unit else ""
    if ours is None and published is None:
        return "not run"
    parts = ["not run" if ours is None else number(ours) + suffix]
    if published is not None:
        parts.append(f"paper {published:g}{suffix}")
    if ours is not None and published is not None and published != 0 and math.isfinite(ours / published):
        parts.append(f"×{number(ours / published)}")
    return " | ".join(parts)


def table(record: Record) -> Table:
    """The figures of a record for the terminal.

    Raises:
        ValueError: two figures claim one place.
    """
    found = grid(record)
    result = Table(
        title=Text(f"{record.experiment} ({record.scale})"),
        caption=Text(found.legend or ("" if found.rows else "this run has no figures")),
        box=box.SIMPLE_HEAD,
        show_header=bool(found.rows),
    )
    result.add_column("")
    for column in found.columns:
        result.add_column(Text(column), justify="right")
    for row in found.rows:
        # One line for ours, one for the paper's, so that four columns fit into a terminal.
        result.add_row(Text(row), *(Text(found.text(row, column).replace(" | ", "\n")) for column in found.columns))
    return result


def claims(record: Record) -> list[str]:
    """What a record says of the paper's claims, a line each.

    Example:
        >>> from jetprop.experiments import Record
        >>> from jetprop.report import claims
        >>> data = {"claims": [{"claim": "errors fall", "holds": True, "found": "3 to 1 %"}]}
        >>> claims(Record("table", "cpu", "jetprop reproduce table", {}, data=data))
        ['shows: errors fall (3 to 1 %)']
    """
    return [f"{verdict(one['holds'])}: {one['claim']} ({one['found']})" for one in record.data.get("claims") or ()]


def verdict(holds: bool | None) -> str:
    """Whether a claim of the paper showed, in words."""
    return "not run" if holds is None else "shows" if holds else "does not show"


def markdown(record: Record) -> str:
    """The figures of a record as a Markdown table, with a line above it that says how to read it.

    Raises:
        ValueError: two figures claim one place.
    """
    found = grid(record)
    if not found.rows:
        return "This run has no figures.\n"
    lines = _markdown(("", *found.columns), [(row, *(found.text(row, c) for c in found.columns)) for row in found.rows])
    return (f"{_escaped(found.legend)}\n\n" if found.legend else "") + lines


def bench_table(results: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Table:
    """Timings of the engine for the terminal.

    Args:
        results: what `jetprop.benchmarks.bench_engine` returned, a list of such, or what `jetprop bench --out` wrote.

    Raises:
        ValueError: it is none of these.
    """
    cases = _cases(results)
    result = Table(title="the engine", caption=Text(_conditions(cases)), box=box.SIMPLE_HEAD, pad_edge=False)
    for column in BENCHMARK_COLUMNS:
        result.add_column(
            column, justify="left" if column == "contestant" else "right", no_wrap=column == "time / floor"
        )
    for case in cases:
        lines = _contestants(case)
        for place, line in enumerate(lines):
            result.add_row(*map(Text, line), end_section=place == len(lines) - 1)
    return result


def bench_markdown(results: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """The same as a Markdown table."""
    cases = _cases(results)
    lines = [line for case in cases for line in _contestants(case)]
    return f"{_escaped(_conditions(cases))}\n\n{_markdown(BENCHMARK_COLUMNS, lines)}"


def _cases(results: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if isinstance(results, Mapping):
        cases: list[Mapping[str, Any]] = list(results["cases"]) if "cases" in results else [results]
    else:
        cases = list(results)
    for place, case in enumerate(cases):
        absent = [key for key in ("case", "timings") if key not in case]
        if absent:
            raise ValueError(f"benchmark {place} has no {' and no '.join(absent)}; expected what bench_engine returns")
    return cases


def _contestants(case: Mapping[str, Any]) -> list[tuple[str, ...]]:
    saved, peak = (case.get(key) or {} for key in ("saved_megabytes", "peak_megabytes"))
    lines = []
    for name, timing in case["timings"].items():
        ratio, spread, seconds = (timing.get(key) for key in ("ratio", "spread", "seconds"))
        lines.append(
            (
                str(case["case"].get("width", MISSING)),
                str(case.get("rows", MISSING)),
                str(name),
                MISSING if ratio is None else f"{ratio:.2f}" + ("" if spread is None else f" ± {spread:.2f}"),
                MISSING if seconds is None else number(1e3 * seconds),
                *(MISSING if memory.get(name) is None else number(float(memory[name])) for memory in (saved, peak)),
            )
        )
    return lines


def _conditions(cases: Sequence[Mapping[str, Any]]) -> str:
    """Batch, device and threads, where they are the same for all cases, and how to read the numbers."""
    parts = []
    for label, values in (
        ("batch {}", {case["case"].get("batch") for case in cases}),
        ("{}", {case.get("device") for case in cases}),
        ("{} threads", {case.get("threads") for case in cases}),
    ):
        found = sorted(str(value) for value in values if value is not None)
        if found:
            parts.append(label.format(" or ".join(found)))
    parts.append("time / floor: median ± half the distance of the quartiles, turn by turn")
    parts.append("saved: kept for backward, input included; peak: the most a step holds beside parameters and input")
    return "; ".join(parts)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---" if name in ("", "contestant") else "---:" for name in head], *rows]
    return "".join("| " + " | ".join(map(_escaped, line)) + " |\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
