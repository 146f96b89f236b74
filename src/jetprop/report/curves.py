"""Which line plots belong on the page of an experiment."""

from __future__ import annotations

from collections.abc import Callable

from jetprop.experiments.records import Record
from jetprop.report.figures import Plot, Series

__all__ = ["PLOTS", "plots_of"]


def plots_of(record: Record) -> list[Plot]:
    """Plots that the record describes itself, under `data["plots"]`, and those that `PLOTS` makes for its experiment.

    Raises:
        ValueError: a description does not have the form of `Plot`.
    """
    described = [Plot.of(one) for one in record.data.get("plots") or ()]
    return described + (PLOTS[record.experiment](record) if record.experiment in PLOTS else [])


def when_it_pays(record: Record) -> list[Plot]:
    """Error against the number of training images, and against training time.

    Columns are called "images: 256 images, muon, 150 s", curves "time, first, 32768 images, muon, 600 s", see
    `jetprop.experiments.when_it_pays.Case`.
    """
    plots = []
    by_images: dict[str, dict[int, float | None]] = {}
    conditions = set()
    for figure in record.figures:
        part, _, rest = figure.column.partition(": ")
        count = rest.split(" ")[0]
        if part == "images" and count.isdigit():
            by_images.setdefault(figure.row, {})[int(count)] = figure.ours
            conditions.add(rest.partition(", ")[2])
    if by_images:
        series = [Series(name, sorted(found), [found[n] for n in sorted(found)]) for name, found in by_images.items()]
        caption = f"Every network trained with {' or '.join(sorted(conditions))}; both axes are logarithmic."
        plots.append(
            Plot("Error against the number of images", "training images", "test error e, %", series, "xy", caption)
        )
    over_time = {
        label: points for label, points in (record.data.get("curves") or {}).items() if label.startswith("time,")
    }
    if over_time:
        series = [
            Series(", ".join(label.split(", ")[1:3]), [t for t, _ in points], [e for _, e in points])
            for label, points in over_time.items()
        ]
        caption = "Test error during training, logarithmic."
        plots.append(Plot("Error against training time", "training time, s", "test error e, %", series, "y", caption))
    return plots


PLOTS: dict[str, Callable[[Record], list[Plot]]] = {"when-it-pays": when_it_pays}
"""By experiment: plots made from its figures and data."""
