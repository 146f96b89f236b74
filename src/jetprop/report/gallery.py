"""Which pictures belong to an experiment: groups on its page, and one sheet of them as a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, HPacker, TextArea

from jetprop.experiments.records import Record
from jetprop.manifolds import Cube
from jetprop.objectives import ImageDirections
from jetprop.objectives.directions import CLASSES
from jetprop.report.curves import plots_of
from jetprop.report.derivatives import derivative_pictures
from jetprop.report.drawing import INK, save, style
from jetprop.report.figures import panels
from jetprop.report.pictures import DIVERGING, GRAY, Picture, picture

__all__ = ["GALLERIES", "Group", "gallery_sheet", "groups_of", "write_gallery"]

FIG3 = ((3,), (5,), (0,), (2,))
FIG8 = ((3, 3), (5, 5), (0, 4), (2, 2))
"""Degrees of freedom of the derivatives that figures 3 and 8 show, (a) to (d)."""

COLUMNS = 5
TILE, GAP, MARGIN = 1.23, 0.16, 0.22
"""Of a sheet, inches; at 200 dpi a tile is six times the 41 pixels of an image."""

HEAD, NAME, RANGE = 0.42, 0.17, 0.19
"""Heights of a group's heading and of a line above and below a tile, inches."""


@dataclass(frozen=True)
class Group:
    """Pictures under one heading.

    Args:
        title: the heading.
        pictures: in their order.
        caption: what is to be seen.
    """

    title: str
    pictures: Sequence[Picture]
    caption: str = ""


def groups_of(record: Record) -> list[Group]:
    """Pictures that the record holds, under `data["images"]`, and those that `GALLERIES` renders for its experiment.

    Raises:
        ValueError: a description of the record does not have the form that `write_experiment` lists.
    """
    held = [_group(group) for group in record.data.get("images") or ()]
    return held + (GALLERIES[record.experiment](record) if record.experiment in GALLERIES else [])


def images_of_the_cube(record: Record) -> list[Group]:
    """Figures 1, 3 and 8 of avrutskiy2023, rendered from numbers of poses: `data["shown"]` and `data["derived"]`."""
    cube, shown, derived = Cube(), record.data.get("shown") or (), record.data.get("derived")
    groups = []
    if shown:
        images = [picture(f"image {k}", cube.sample(1, start=int(k), order=0)[0].value[0]) for k in shown]
        caption = "Training images, chosen to show the range of positions: near and far, at the edges, turned."
        groups.append(Group("Fig. 1: images of the cube, 41 by 41 pixels", images, caption))
    if derived is not None:
        image, pictures = derivative_pictures(cube, cube.poses(1, start=int(derived)), FIG3 + FIG8)
        image = replace(image, name=f"image {int(derived)}")
        lettered = [
            replace(one, name=f"({letter}) {one.name}") for letter, one in zip("abcd" * 2, pictures, strict=True)
        ]
        caption = f"Image {int(derived)}, cut to the part that is not empty, and how each of its pixels changes"
        groups += [
            Group(
                "Fig. 3: first derivatives along motions of the cube",
                [image, *lettered[:4]],
                f"{caption} as the cube moves.",
            ),
            Group(
                "Fig. 8: second derivatives along pairs of motions",
                [image, *lettered[4:]],
                f"{caption} in second order.",
            ),
        ]
    return groups


def image_directions(record: Record) -> list[Group]:
    """Figure 4 of avrutskiy2023, drawn anew from `data["directions"]`: the seed, and which of each class."""
    wanted = record.data.get("directions")
    if not wanted:
        return []
    numbers = torch.tensor(wanted["shown"])
    count, groups = int(numbers.max()) + 1, []
    for letter, kind in zip("abc", CLASSES, strict=True):
        drawn = ImageDirections(kind, (41, 41), count, int(wanted["seed"]))(numbers)
        pictures = [picture(f"number {int(k)}", one, True) for k, one in zip(numbers, drawn, strict=True)]
        caption = "Random directions of the image space, each of norm 1."
        groups.append(Group(f"Fig. 4({letter}): D_{kind}", pictures, caption))
    return groups


def image_derivatives(record: Record) -> list[Group]:
    """Figure 3 or 8 of avrutskiy2023, one of `images_of_the_cube`."""
    number = record.experiment.removeprefix("avrutskiy2023 fig")
    return [group for group in images_of_the_cube(record) if group.title.startswith(f"Fig. {number}:")]


GALLERIES: dict[str, Callable[[Record], list[Group]]] = {
    "avrutskiy2023 fig1": images_of_the_cube,
    "avrutskiy2023 fig3": image_derivatives,
    "avrutskiy2023 fig4": image_directions,
    "avrutskiy2023 fig8": image_derivatives,
}
"""By experiment: pictures rendered anew from what its record says of them."""


def write_gallery(record: Record, path: Path) -> Path | None:
    """All pictures of a record on one sheet, see `groups_of`, or else its plots; nothing is written if it has neither.

    Args:
        record: whose pictures.
        path: of the file, `.png` (200 dpi, white), `.svg` or `.pdf`; written whole or not at all.

    Returns:
        The path, or None.

    Raises:
        ValueError: another ending, or a description that does not fit.
        OSError: the file cannot be written.
    """
    groups, plots = groups_of(record), plots_of(record)
    if groups:
        return save(gallery_sheet(groups), path)
    return save(panels(plots), path) if plots else None


def gallery_sheet(groups: Sequence[Group]) -> Figure:
    """Groups of pictures below each other, every picture with its name and, if signed, its range.

    Raises:
        ValueError: there are no pictures.
    """
    filled = [group for group in groups if group.pictures]
    if not filled:
        raise ValueError("a sheet needs at least one group with pictures")
    signed = any(one.signed for group in filled for one in group.pictures)
    width = 2 * MARGIN + COLUMNS * TILE + (COLUMNS - 1) * GAP
    height = 2 * MARGIN + sum(_height(group) for group in filled) + (0.5 if signed else 0.0)
    with style():
        figure = Figure(figsize=(width, height))
        top = height - MARGIN
        for group in filled:
            _draw(figure, group, top)
            top -= _height(group)
        if signed:
            _scale(figure, top)
    return figure


def _group(values: Mapping[str, Any]) -> Group:
    try:
        pictures = [picture(**one) for one in values["pictures"]]
        return Group(values["title"], pictures, values.get("caption", ""))
    except (KeyError, TypeError) as error:
        raise ValueError(
            'images of a record are groups {"title", "caption", "pictures": [{"name", "pixels", "signed", "unit"}]}; '
            f"this one does not fit: {error!r}"
        ) from error


def _lines(group: Group) -> int:
    """Of the longest name, when broken after its commas."""
    return max(one.name.count(", ") + 1 for one in group.pictures)


def _row(group: Group) -> float:
    below = RANGE if any(one.signed for one in group.pictures) else 0.0
    return _lines(group) * NAME + TILE + below + GAP / 2


def _height(group: Group) -> float:
    return HEAD + -(-len(group.pictures) // COLUMNS) * _row(group) + GAP


def _draw(figure: Figure, group: Group, top: float) -> None:
    width, height = figure.get_size_inches()
    label, colon, rest = group.title.partition(": ")
    heading = HPacker(
        children=[
            TextArea(label + colon, textprops={"fontsize": 11, "fontweight": "bold"}),
            TextArea(rest, textprops={"fontsize": 11}),
        ],
        pad=0,
        sep=0,
    )
    at = (MARGIN / width, (top - HEAD / 2) / height)
    figure.add_artist(
        AnnotationBbox(heading, at, xycoords="figure fraction", box_alignment=(0, 0.5), frameon=False, pad=0)
    )
    for place, one in enumerate(group.pictures):
        row, column = divmod(place, COLUMNS)
        left = MARGIN + column * (TILE + GAP)
        bottom = top - HEAD - row * _row(group) - _lines(group) * NAME - TILE
        axes = figure.add_axes((left / width, bottom / height, TILE / width, TILE / height))
        low, colours = (-one.limit, DIVERGING) if one.signed else (0.0, GRAY)
        axes.imshow(one.pixels.numpy(), cmap=colours, vmin=low, vmax=one.limit, interpolation="none", aspect="auto")
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set(visible=True, linewidth=0.5)
        axes.set_title(one.name.replace(", ", ",\n"), fontsize=7.5, pad=3, linespacing=1.1)
        if one.signed:
            axes.set_xlabel(one.range, fontsize=7, labelpad=3)


def _scale(figure: Figure, top: float) -> None:
    """What the colours of signed pictures mean."""
    width, height = figure.get_size_inches()
    length = 2 * TILE + GAP
    left = (width - length) / 2
    axes = figure.add_axes((left / width, (top - 0.2) / height, length / width, 0.12 / height))
    axes.imshow([[k / 128 for k in range(257)]], cmap=DIVERGING, aspect="auto")
    axes.set(yticks=[])
    axes.set_xticks([0, 128, 256], ["− range", "0", "+ range"], fontsize=7.5)
    axes.tick_params(length=2, pad=2, color=INK)
    axes.grid(visible=False)
