"""Which line plots belong on the page of an experiment."""

from __future__ import annotations

import re
from collections.abc import Callable

from jetprop.experiments.records import Record
from jetprop.report.figures import Plot, Series

__all__ = ["PLOTS", "plots_of"]

COLUMN = re.compile(r"(\d+) images, (\w+, \S+ s)")
TIMED = re.compile(r"when-it-pays \w+ time (.+) (\d+ images|fresh images) \S+ s .* seed \d+")


def plots_of(record: Record) -> list[Plot]:
    """Plots that the record describes itself, under `data["plots"]`, and those that `PLOTS` makes for its experiment.

    Raises:
        ValueError: a description does not have the form of `Plot`.
    """
    described = [Plot.of(one) for one in record.data.get("plots") or ()]
    return described + (PLOTS[record.experiment](record) if record.experiment in PLOTS else [])


def when_it_pays(record: Record) -> list[Plot]:
    """Error against the number of training images, and against training time.

    Columns are called "256 images, muon, 120 s", runs "when-it-pays cpu time first 32768 images 600 s … seed 0", see
    `jetprop.experiments.when_it_pays`.
    """
    plots = []
    by_images: dict[str, dict[str, dict[int, float | None]]] = {}
    for figure in record.figures:
        found = COLUMN.fullmatch(figure.column)
        if found:
            by_images.setdefault(found[2], {}).setdefault(figure.row, {})[int(found[1])] = figure.ours
    for condition, methods in by_images.items():
        if len({count for errors in methods.values() for count in errors}) < 2:
            continue
        series = [Series(name, sorted(errors), [errors[n] for n in sorted(errors)]) for name, errors in methods.items()]
        caption = f"Every network trained with {condition} of the processor's time; both axes are logarithmic."
        plots.append(
            Plot("Error against the number of images", "training images", "test error e, %", series, "xy", caption)
        )
    over_time = []
    for name, points in (record.data.get("curves") or {}).items():
        found = TIMED.fullmatch(name)
        if found and points:
            over_time.append(Series(f"{found[1]}, {found[2]}", [t for t, _ in points], [e for _, e in points]))
    if over_time:
        caption = "Test error during training, logarithmic."
        plots.append(
            Plot("Error against training time", "training time, s", "test error e, %", over_time, "y", caption)
        )
    return plots


PLOTS: dict[str, Callable[[Record], list[Plot]]] = {"when-it-pays": when_it_pays}
"""By experiment: plots made from its figures and data."""
