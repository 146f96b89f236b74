"""A view as markup: images with cubes drawn over them, error bars, tables. Strings only, no page."""

from __future__ import annotations

import base64
import math
from html import escape
from typing import NamedTuple

import torch
from torch import Tensor

from jetprop.explore.state import OUTPUTS
from jetprop.explore.view import View
from jetprop.manifolds import Cube
from jetprop.report.drawing import COLOURS, GRID, INK, number
from jetprop.report.pictures import Picture

__all__ = ["Window", "bars", "comparison", "gradient_tiles", "image_tiles", "legend", "scene", "whole", "window_about"]

NETWORK, ORACLE, TRUE = COLOURS[0], COLOURS[2], "#9aa4af"
"""Colours of the network's cube, of the oracle's, and of the one that was rendered."""

DARKEST, BRIGHTEST = -0.25, 1.25
"""Intensities drawn as black and white: noise goes beyond 0 and 1, and coloured lines must show on either."""

MARGIN = 3.0
"""Around a cube that is shown large, pixels."""


class Window(NamedTuple):
    """The square part of an image that is shown: its left upper corner and its size, in pixels."""

    left: float
    top: float
    size: float


def whole(cube: Cube) -> Window:
    """All of the image."""
    return Window(0.0, 0.0, float(max(cube.raster.rows, cube.raster.columns)))


def window_about(view: View, cube: Cube) -> Window:
    """A close-up of the cube that was rendered."""
    corners = cube.raster.pixel(cube.wireframe(view.truth[None]).points)[0] + 0.5
    low, high = corners.amin(0), corners.amax(0)
    size = float((high - low).max()) + 2 * MARGIN
    left, top = ((low + high) / 2 - size / 2).tolist()
    return Window(left, top, size)


def scene(view: View, cube: Cube, window: Window) -> str:
    """The image given, and over it the true cube, the oracle's and the network's, as SVG."""
    lines = [
        _wire(cube, view.truth, "true"),
        _wire(cube, view.oracle, "oracle"),
        _wire(cube, view.answer.outputs, "network"),
    ]
    rows, columns = view.given.shape
    box = " ".join(f"{value:.3f}" for value in (window.left, window.top, window.size, window.size))
    return (
        f'<svg viewBox="{box}" role="img" aria-label="The image given to the network, with three cubes drawn over it">'
        f'<image href="{_address(_gray("", view.given))}" width="{columns}" height="{rows}" '
        f'preserveAspectRatio="none"/>{"".join(lines)}</svg>'
    )


def _wire(cube: Cube, outputs: Tensor, kind: str) -> str:
    """The edges that are seen of the cube that outputs describe; nothing for outputs that describe none."""
    try:
        frame = cube.wireframe(outputs[None])
    except ValueError:  # behind the camera
        return ""
    corners = cube.raster.pixel(frame.points)[0] + 0.5  # pixel [0, 0] covers the square from 0 to 1
    if not bool(corners.isfinite().all()):
        return ""
    seen = corners[frame.edges[frame.visible[0]]].tolist()
    path = "".join(f"M{x0:.3f} {y0:.3f}L{x1:.3f} {y1:.3f}" for (x0, y0), (x1, y1) in seen)
    return f'<path class="halo" d="{path}"/><path class="{kind}" d="{path}"/>'


def legend(view: View) -> str:
    """What the lines mean."""
    names = (("true", "cube rendered"), ("oracle", "oracle"), ("network", f"network ({view.answer.name})"))
    return "".join(
        f'<span class="key"><svg viewBox="0 0 28 8"><path class="{kind}" d="M1 4H27"/></svg>{escape(name)}</span>'
        for kind, name in names
    )


# ---- small pictures -------------------------------------------------------------------------------------------------


def image_tiles(view: View) -> str:
    """The clean image, what was added to it, the oracle's image, and what that leaves unexplained."""
    added, left = view.given - view.clean, view.given - view.nearest
    limit = _round_up(max(float(added.abs().max()), float(left.abs().max()), 0.01))
    return _tiles(
        [
            _gray("clean image", view.clean),
            _signed("noise + attack", added, limit),
            _gray("oracle’s image", view.nearest),
            _signed("given − oracle’s", left, limit),
        ]
    )


def gradient_tiles(view: View, output: int, own_scales: bool = False) -> str:
    """Gradients of one output: the oracle's, the network's and their difference.

    Args:
        view: what to show.
        output: which of the nine, for the names.
        own_scales: one scale of colours for each picture instead of one for all.
    """
    network, oracle = view.answer.gradient, view.gradient
    shown = {f"oracle, ∇O of {OUTPUTS[output]}": oracle, f"network, ∇N of {OUTPUTS[output]}": network}
    shown["∇N − ∇O"] = network - oracle
    sizes = [float(part.abs().max()) for part in shown.values()]
    limits = sizes if own_scales else [max(sizes)] * len(sizes)
    return _tiles([_signed(name, part, limit) for (name, part), limit in zip(shown.items(), limits, strict=True)])


def _tiles(pictures: list[Picture]) -> str:
    return "".join(
        f'<figure><img src="{_address(one)}" alt="{escape(one.name)}"><figcaption>{escape(one.name)}'
        f"<small>{escape(one.range if one.signed else f'−{-DARKEST:g} to {BRIGHTEST:g}')}</small></figcaption></figure>"
        for one in pictures
    )


def _gray(name: str, image: Tensor) -> Picture:
    shown = (image - DARKEST) / (BRIGHTEST - DARKEST)
    return Picture(name, shown.to(torch.float32), signed=False, limit=1.0)


def _signed(name: str, image: Tensor, limit: float) -> Picture:
    return Picture(name, image.to(torch.float32), signed=True, limit=limit or 1.0)


def _address(picture: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.png()).decode()


# ---- figures --------------------------------------------------------------------------------------------------------


def bars(view: View) -> str:
    """(N − C)/σ and (O − C)/σ of each output, in percent, as bars from the middle; they differ by the error."""
    moved = 100 * view.moved
    answered = 100 * view.answer.difference + moved
    limit = _round_up(max(float(moved.abs().max()), float(answered.abs().max()), 0.5))
    left, middle, half, pitch = 18.0, 200.0, 160.0, 20.0
    bottom = pitch * len(OUTPUTS) + 4
    columns = (("network", 440, NETWORK), ("oracle", 498, ORACLE))
    parts = [
        f'<text x="{x}" y="{bottom + 14}" class="number" style="fill: {colour}">{name}</text>'
        for name, x, colour in columns
    ]
    parts += [
        f'<line x1="{x}" y1="0" x2="{x}" y2="{bottom}" stroke="{INK if x == middle else GRID}" stroke-width="0.8"/>'
        f'<text x="{x}" y="{bottom + 14}" text-anchor="middle">{f"{limit * k / 2:g} %".replace("-", "−")}</text>'
        for k, x in ((k, middle + half * k / 2) for k in (-2, -1, 0, 1, 2))
    ]
    for place, (name, ours, right) in enumerate(zip(OUTPUTS, answered.tolist(), moved.tolist(), strict=True)):
        top = pitch * place + 3
        parts.append(f'<text x="{left}" y="{top + 11.5}" text-anchor="end">{name}</text>')
        for offset, value, colour in ((0, ours, NETWORK), (7.5, right, ORACLE)):
            length = half * max(-1.0, min(1.0, value / limit))
            parts.append(
                f'<rect x="{middle + min(length, 0):.2f}" y="{top + offset}" width="{abs(length):.2f}" height="6.5" '
                f'fill="{colour}"><title>{name}: {_percent(value)}</title></rect>'
            )
        parts += [
            f'<text x="{x}" y="{top + 11.5}" class="number" style="fill: {colour}">{_percent(value)}</text>'
            for value, (_, x, colour) in zip((ours, right), columns, strict=True)
        ]
    words = "For each output, how far the network's and the oracle's answer lie from the cube that was rendered"
    return f'<svg viewBox="0 0 500 {bottom + 20}" role="img" aria-label="{words}">{"".join(parts)}</svg>'


def comparison(view: View) -> str:
    """All networks on this image: error and vulnerabilities, and how far the right answer itself has moved."""
    rows = [
        f'<tr class="{"chosen" if place == view.chosen else ""}"><th scope="row">{escape(one.name)}</th>'
        f"<td>{_number(100 * one.error)} %</td>"
        + "".join(f"<td>{_number(one.vulnerability[kind])}</td>" for kind in ("maximum", "sensitivity", "invariance"))
        + "</tr>"
        for place, one in enumerate(view.answers)
    ]
    own = float(view.moved.abs().mean())
    return (
        '<table><thead><tr><th scope="col">on this image</th><th scope="col">error <i>e</i></th>'
        '<th scope="col"><i>v</i><sub>max</sub></th><th scope="col"><i>v</i><sub>sen</sub></th>'
        f'<th scope="col"><i>v</i><sub>inv</sub></th></tr></thead><tbody>{"".join(rows)}'
        f'<tr class="own"><th scope="row">the oracle, from the cube rendered</th><td>{_number(100 * own)} %</td>'
        "<td></td><td></td><td></td></tr></tbody></table>"
    )


def _percent(value: float) -> str:
    return f"{_number(value)} %".replace("-", "−")


def _number(value: float) -> str:
    """Two digits after the point for small numbers, none for large ones; what is below a hundredth is 0."""
    if not math.isfinite(value):
        return "—"
    size = abs(value)
    return "0" if size < 0.005 else number(value, 2 if size < 0.1 else 3 if size < 1000 else 4)


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, …, so that scales do not tremble; 1 for zero."""
    if not value > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if value <= step * power * (1 + 1e-9))
