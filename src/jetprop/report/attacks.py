"""Attacks on a network's image: what was added, and what network and oracle then take it for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from jetprop.experiments.records import Record
from jetprop.manifolds import Cube
from jetprop.report.drawing import COLOURS, number, sheet, style
from jetprop.report.pictures import DARK, DIM, DIVERGING, GRAY, bare, draw_edges, extent, window

__all__ = ["attack_figure", "attacks_of"]

KINDS = {"maximum": "optimal", "sensitivity": "sensitivity", "invariance": "invariance"}
"""Kinds of attack, as headings."""

MARGIN = 3.0
"""Around the cubes, pixels."""


def attacks_of(record: Record) -> list[tuple[str, Figure]]:
    """One figure for each network that the record has attacks on, under `data["attacks"]`.

    Raises:
        ValueError: an attack lacks what is needed to draw it.
    """
    by_network: dict[str, list[Mapping[str, Any]]] = {}
    for case in record.data.get("attacks") or ():
        missing = {"network", "kind", "pose", "direction", "before", "after", "oracle"} - case.keys()
        if missing:
            raise ValueError(f"an attack of a record lacks {', '.join(sorted(missing))}")
        by_network.setdefault(case["network"], []).append(case)
    epsilon = float(record.data.get("epsilon", 0.0))
    return [(name, attack_figure(cases, epsilon)) for name, cases in by_network.items()]


def attack_figure(cases: Sequence[Mapping[str, Any]], epsilon: float, cube: Cube | None = None) -> Figure:
    """One image and several attacks on it: to the left before, then for each what is added and the attacked image.

    White and dashed is the oracle's cube, the nearest one, and in colour the network's.

    Args:
        cases: of one network and one image, each with "kind", "pose", "direction" `[rows, columns]`, and outputs `[9]`
            "before" and "after" of the network and "oracle" after.
        epsilon: the length of the step.
        cube: camera, raster and body; by default the paper's.

    Raises:
        ValueError: there are none, or they are of several images.
    """
    poses = {case["pose"] for case in cases}
    if len(poses) != 1:
        raise ValueError(f"a figure shows the attacks on one image, got those on images {sorted(poses)}")
    cube = cube or Cube()
    image, target = cube.sample(1, start=poses.pop(), order=0, dtype=torch.float64)
    clean, truth = image.value[0], target.value[0]
    before = torch.tensor(cases[0]["before"], dtype=torch.float64)
    corners = cube.raster.pixel(cube.wireframe(truth[None]).points)[0]
    seen = [torch.tensor(case[key], dtype=torch.float64)[None] for case in cases for key in ("after", "oracle")]
    middle, half = extent(corners, [cube.raster.pixel(cube.wireframe(one).points)[0] for one in seen])
    half += MARGIN
    with style():
        figure = sheet(1.85 * (1 + len(cases)), 4.4)
        grid = figure.subplots(2, 1 + len(cases), squeeze=False)
        _image(grid[0, 0], cube, clean, truth, before)
        grid[0, 0].set_title("before", fontsize=9)
        for column, case in enumerate(cases, 1):
            direction = torch.tensor(case["direction"], dtype=torch.float64)
            limit = epsilon * float(direction.abs().max()) or 1.0
            grid[0, column].imshow(
                (epsilon * direction).numpy(), cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="none"
            )
            bare(grid[0, column])
            grid[0, column].set_title(f"{KINDS[case['kind']]}: added, ±{number(limit, 2)}", fontsize=9)
            after = torch.tensor(case["after"], dtype=torch.float64)
            answer = torch.tensor(case["oracle"], dtype=torch.float64)
            _image(grid[1, column], cube, clean + epsilon * direction, answer, after)
            moved = [_moved(cube, one, other) for one, other in ((after, before), (answer, truth))]
            grid[1, column].set_title(f"network {moved[0]}, oracle {moved[1]}", fontsize=8)
        _key(grid[1, 0])
        for axes in grid.flat:
            window(axes, middle, half)
    return figure


def _image(axes: Axes, cube: Cube, pixels: Tensor, oracle: Tensor, network: Tensor) -> None:
    axes.imshow(pixels.numpy(), cmap=GRAY, vmin=0, vmax=DIM, interpolation="none")
    bare(axes)
    draw_edges(axes, cube, network[None], color=COLOURS[0], linewidth=1.4)
    draw_edges(axes, cube, oracle[None], color="white", linestyle=(0, (3, 3)), linewidth=1.1)


def _moved(cube: Cube, after: Tensor, before: Tensor) -> str:
    """How far vertices moved, in per cent of the side, mean over those that the outputs hold."""
    distance = (after - before).reshape(-1, 3).norm(dim=1).mean() / cube.side
    return f"{number(100 * float(distance), 2)} %"


def _key(axes: Axes) -> None:
    bare(axes)
    axes.set_facecolor(DARK)
    handles = [
        Line2D([], [], color=COLOURS[0], linewidth=1.4, label="the network's cube"),
        Line2D([], [], color="white", linestyle=(0, (3, 3)), linewidth=1.1, label="the oracle's"),
    ]
    axes.legend(handles=handles, loc="center", fontsize=8.5, labelcolor="white", handlelength=1.8)
    axes.set_title("vertices move by, of the side:", fontsize=8)
