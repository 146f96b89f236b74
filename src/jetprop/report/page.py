"""One self-contained HTML file for a record: no requests to anywhere, light and dark, for screen, phone and print."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from jetprop.experiments.records import Record
from jetprop.experiments.registry import EXPERIMENTS
from jetprop.manifolds import Cube
from jetprop.report.attacks import attacks_of
from jetprop.report.curves import plots_of
from jetprop.report.demo import EXAMPLE, story
from jetprop.report.drawing import COLOURS, markup, number, write_whole
from jetprop.report.figures import comparison, lines, points
from jetprop.report.gallery import groups_of
from jetprop.report.pictures import Picture, labelled_cube, predicted_cubes
from jetprop.report.tables import grid, verdict

__all__ = ["write_demo", "write_experiment"]

MACHINE_PATH = re.compile(r"(?<![\w.:/])(?:~?(?:/[\w.@+-]+){2,}/?|[A-Za-z]:\\(?:[\w.@+ -]+\\?)+)")


def write_demo(record: Record, path: Path, cube: Cube | None = None) -> Path:
    """The page of the demonstration.

    Args:
        record: with `data` as `jetprop.report.demo.story` lists it. What a run did not get to may be None or absent,
            and is shown as missing.
        path: of the HTML file; written whole or not at all.
        cube: whose images were trained on; by default the paper's.

    Returns:
        The path.

    Raises:
        ValueError: the record holds no networks, or its data do not fit together.
        OSError: the file cannot be written.
    """
    cube = cube or Cube()
    told = story(record, cube)
    context = {
        "story": told,
        "example": EXAMPLE,
        "curves": _svg(lines(told.curves), told.curves.caption) if told.curves else None,
        "errors": _svg(
            points([n.name for n in told.networks], told.errors, "error e, %"),
            "Final error of each network on the test images and on the training images; the numbers are in the table.",
        ),
        "labelled": None,
        "experiments": [one for one in EXPERIMENTS.values() if one.name != record.experiment],
        "pixels": (cube.raster.rows, cube.raster.columns),
        "side": cube.side,
    }
    if told.cases:
        context["labelled"] = _svg(
            labelled_cube(told.cases[0].truth, cube),
            "Image of a cube with its visible edges dashed and its first three vertices numbered.",
        )
    context["cubes"] = [
        (case, _svg(predicted_cubes(case.truth, case.outputs, cube), case.description)) for case in told.cases
    ]
    return _write("demo.html.j2", record, path, context)


def write_experiment(record: Record, path: Path) -> Path:
    """The page of any reproduced table or figure: ours beside the published values, plots, images, how it was done.

    Args:
        record: `data["plots"]`, if there, is a list of dictionaries of the fields of `figures.Plot` and
            `figures.Series`; `data["images"]` a list of groups `{"title", "caption", "pictures": [{"name", "pixels",
            "signed", "unit"}, …]}`, all but title, name and pixels optional; `data["claims"]` a list of `{"claim",
            "holds", "found"}`; `data["attacks"]` as `jetprop.report.attacks.attacks_of` lists it. Pictures that can be
            rendered anew are not kept in records, see `jetprop.report.gallery.GALLERIES`.
        path: of the HTML file; written whole or not at all.

    Returns:
        The path.

    Raises:
        ValueError: two figures claim one place, or a plot or picture of the record does not have the form above.
        OSError: the file cannot be written.
    """
    beside = comparison(record)
    known = EXPERIMENTS.get(record.experiment)
    context = {
        "heading": known.title if known else record.experiment,
        "grid": grid(record),
        "comparison": beside
        and _svg(beside, "The figures of the table as lines: this run solid and filled, the paper dashed and hollow."),
        "plots": [(plot, _svg(lines(plot), f"{plot.title}: {plot.y} against {plot.x}.")) for plot in plots_of(record)],
        "groups": groups_of(record),
        "claims": [(one["claim"], verdict(one["holds"]), one["found"]) for one in record.data.get("claims") or ()],
        "attacks": [
            (name, _svg(figure, f"{name}: an image before, what is added to it, and cubes after."))
            for name, figure in attacks_of(record)
        ],
    }
    return _write("experiment.html.j2", record, path, context)


def _write(template: str, record: Record, path: Path, context: Mapping[str, Any]) -> Path:
    page = _templates().get_template(template)
    text = page.render(record=record, facts=_facts(record), **context)
    return write_whole(path, text.encode())


def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("jetprop.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "number": lambda value, digits=3: "–" if value is None else number(value, digits),
        "shown": shown,
        "portable": portable,
        "data_uri": data_uri,
        "duration": duration,
        "thousands": lambda value: f"{value:,}".replace(",", "\u202f"),
        "whole": lambda value: "–" if value is None else f"{value:.0f}",
    }
    found.globals["colours"] = COLOURS
    return found


def _svg(figure: Any, description: str) -> Markup:  # noqa: ANN401
    return Markup(markup(figure, description))


@dataclass(frozen=True)
class _Facts:
    """A table of facts: names to the left, and values, for one or for several cases."""

    title: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]


def _facts(record: Record) -> list[_Facts]:
    """Settings, times and environment."""
    return [
        *_settings(record.settings),
        _Facts("Time taken", [], [(name, [duration(seconds)]) for name, seconds in record.seconds.items()]),
        _Facts("Versions and machine", [], [(name, [shown(value)]) for name, value in _flat(record.environment)]),
    ]


def _settings(settings: Mapping[str, Any]) -> list[_Facts]:
    """One list; if there are settings for each of several cases, what they have in common, then what differs."""
    cases = {name: dict(_flat(value)) for name, value in settings.items() if isinstance(value, Mapping)}
    keys = list(dict.fromkeys(key for case in cases.values() for key in case))
    shared = sum(all(key in case for case in cases.values()) for key in keys)
    if len(cases) < max(2, len(settings)) or 2 * shared < len(keys):  # not cases, but sections of one
        return [_Facts("Settings", [], [(name, [shown(value)]) for name, value in _flat(settings)])]
    differ = [key for key in keys if len({json.dumps(c.get(key), default=str) for c in cases.values()}) > 1]
    first = next(iter(cases.values()))
    return [
        _Facts("Settings in common", [], [(key, [shown(first[key])]) for key in keys if key not in differ]),
        _Facts(
            "Settings that differ", differ, [(name, [shown(c.get(k)) for k in differ]) for name, c in cases.items()]
        ),
    ]


def _flat(values: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in values.items():
        full = f"{above}{name}"
        found += _flat(value, f"{full}.") if isinstance(value, Mapping) and value else [(full, value)]
    return found


def shown(value: Any) -> str:  # noqa: ANN401
    """A setting as a reader wants it: text as it is, everything else as JSON; no path of this machine."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return portable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


def portable(text: str) -> str:
    """A text without the folders of the machine that it was written on.

    Example:
        >>> from jetprop.report.page import portable
        >>> portable("jetprop demo --out /home/ada/results/demo.html"), portable("see https://arxiv.org/abs/2310.14045")
        ('jetprop demo --out demo.html', 'see https://arxiv.org/abs/2310.14045')
    """
    return MACHINE_PATH.sub(lambda found: re.split(r"[/\\]", found.group().rstrip("/\\"))[-1], text)


def data_uri(image: Picture) -> str:
    """A picture as the source of an `img`."""
    return f"data:image/png;base64,{b64encode(image.png()).decode()}"


def duration(seconds: float | None) -> str:
    """Seconds in words.

    Example:
        >>> from jetprop.report.page import duration
        >>> duration(4.04), duration(93.0), duration(7260.0)
        ('4.0 s', '1 min 33 s', '2 h 1 min')
    """
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
