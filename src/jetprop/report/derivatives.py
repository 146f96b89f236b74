"""Pictures of an image and of its derivatives along the degrees of freedom of a manifold."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from jetprop.manifolds import Cube, Poses
from jetprop.report.pictures import Picture, picture

__all__ = ["derivative_pictures"]

EMPTY = 1e-3
"""Pixels darker than this are empty."""


def derivative_pictures(cube: Cube, poses: Poses, labels: Sequence[tuple[int, ...]]) -> tuple[Picture, list[Picture]]:
    """The first of some cubes, and derivatives of its image, cut to the square part that is not empty.

    Args:
        cube: camera, raster and body.
        poses: where it is; only the first is shown.
        labels: which derivatives, as numbers of degrees of freedom: (3,) is the first one along x, (3, 3) the second.

    Returns:
        The image, and one signed picture for each label, called after its degrees of freedom.
    """
    jet, _ = cube.render(poses, max((len(label) for label in labels), default=0))
    part = _inside(jet.value[0])
    derivatives = [picture(_name(cube, label), jet.d(*label)[0][part], True, _unit(cube, label)) for label in labels]
    return picture("the image", jet.value[0][part]), derivatives


def _name(cube: Cube, label: tuple[int, ...]) -> str:
    names = [cube.degrees_of_freedom[i] for i in label]
    return f"{names[0]}, twice" if len(names) == 2 and names[0] == names[1] else ", ".join(names)


def _unit(cube: Cube, label: tuple[int, ...]) -> str:
    units = ["radian" if cube.degrees_of_freedom[i].startswith("rotation") else "length" for i in label]
    if len(units) == 2 and units[0] == units[1]:
        return f"per {units[0]}²"
    return f"per {' and '.join(sorted(units, reverse=True))}"


def _inside(image: torch.Tensor) -> tuple[slice, slice]:
    """The square part of an image that is not empty, with a margin of two pixels."""
    rows, columns = ((image.abs().amax(axis) > EMPTY).nonzero().flatten() for axis in (1, 0))
    size = min(int(max(rows[-1] - rows[0], columns[-1] - columns[0])) + 5, *image.shape)
    starts = (
        min(max(int(found[0] + found[-1] + 1 - size) // 2, 0), n - size)
        for found, n in zip((rows, columns), image.shape, strict=True)
    )
    first, second = starts
    return slice(first, first + size), slice(second, second + size)
