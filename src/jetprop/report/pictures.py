"""Images, their derivatives, and cubes drawn over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke
from torch import Tensor

from jetprop.manifolds import Cube
from jetprop.report.drawing import COLOURS, MARKERS, number, sheet, style

__all__ = [
    "Picture",
    "bare",
    "draw_edges",
    "extent",
    "image_grid",
    "labelled_cube",
    "picture",
    "predicted_cubes",
    "window",
]

DIVERGING, GRAY = "RdBu_r", "gray"
DARK, DIM = "#0d1117", 1.8
"""Behind wireframes; and the intensity shown as white there, so that white lines can be seen on a white face."""

MARGIN = 2.5
"""Around a cube that is shown large, pixels."""


@dataclass(frozen=True)
class Picture:
    """An image to be shown: gray from 0 to 1, or signed, blue below zero and red above, symmetric about it.

    Args:
        name: of what it shows.
        pixels: `[rows, columns]`.
        signed: whether it is signed.
        limit: the value shown as full red, its negative as full blue; 1 for gray images.
        unit: of the values, e.g. "per radian".
    """

    name: str
    pixels: Tensor
    signed: bool
    limit: float
    unit: str = ""

    @property
    def range(self) -> str:
        """The range of the colours, in words."""
        shown = f"±{number(self.limit, 2)}" if self.signed else "0 to 1"
        return f"{shown} {self.unit}".strip()

    def png(self) -> bytes:
        """One pixel for each pixel; what shows it must not smooth it."""
        buffer = BytesIO()
        low = -self.limit if self.signed else 0.0
        colours = DIVERGING if self.signed else GRAY
        imsave(
            buffer,
            self.pixels.numpy(),
            vmin=low,
            vmax=self.limit,
            cmap=colours,
            format="png",
            metadata={"Software": None},  # type: ignore[dict-item]
        )
        return buffer.getvalue()


def picture(name: str, pixels: Tensor | Sequence[Sequence[float]], signed: bool = False, unit: str = "") -> Picture:
    """Prepare an image `[rows, columns]`; the range of a signed one is its largest absolute value.

    Raises:
        ValueError: it is no matrix, or not finite.
    """
    found = torch.as_tensor(pixels, dtype=torch.float32).detach().cpu()
    if found.dim() != 2 or found.numel() == 0 or not bool(found.isfinite().all()):
        raise ValueError(f"picture {name!r} must be a finite matrix [rows, columns], got shape {list(found.shape)}")
    limit = float(found.abs().max()) if signed else 1.0
    return Picture(name, found, signed, limit or 1.0, unit)


def image_grid(pictures: Sequence[Picture], columns: int = 4) -> Figure:
    """Pictures side by side, each with its name and range; to be saved as PNG.

    Raises:
        ValueError: there are none.
    """
    if not pictures or columns < 1:
        raise ValueError(
            f"an image grid needs pictures and columns ≥ 1, got {len(pictures)} pictures, {columns} columns"
        )
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    with style():
        figure = sheet(1.7 * columns, 2.1 * rows)
        for place, one in enumerate(pictures):
            axes = figure.add_subplot(rows, columns, place + 1)
            low = -one.limit if one.signed else 0.0
            colours = DIVERGING if one.signed else GRAY
            axes.imshow(one.pixels.numpy(), cmap=colours, vmin=low, vmax=one.limit, interpolation="nearest")
            axes.set_title(one.name, fontsize=9)
            axes.set_xlabel(one.range, fontsize=8)
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
    return figure


def labelled_cube(truth: Tensor, cube: Cube | None = None) -> Figure:
    """A cube's image with its edges, and its first three vertices numbered.

    Args:
        truth: the nine outputs that describe the cube, `[9]`.
        cube: camera, raster and body; by default the paper's.
    """
    cube = cube or Cube()
    outputs = truth.detach().cpu().to(torch.float64)[None]
    with style():
        figure = sheet(3.0, 3.0)
        axes = figure.add_subplot()
        _image(axes, cube, outputs)
        corners = draw_edges(axes, cube, outputs, color="white", linestyle=(0, (3, 2)), linewidth=1.0)
        middle = corners.mean(0)
        for place, corner in enumerate(corners[:3]):
            aside = 3.2 * (corner - middle) / (corner - middle).norm().clamp_min(1e-9)
            if float((corner - middle).norm()) < 2:  # the vertex that points to the camera lies over the middle
                aside = torch.tensor([0.0, -2.8])
            axes.plot(*corner.tolist(), "o", color=COLOURS[3], markersize=6, markeredgecolor=DARK)
            x, y = (corner + aside).tolist()
            label = axes.text(
                x, y, str(place + 1), color=COLOURS[3], ha="center", va="center", fontsize=13, weight="bold"
            )
            label.set_path_effects([Stroke(linewidth=3, foreground=DARK), Normal()])
    return figure


def predicted_cubes(truth: Tensor, outputs: Mapping[str, Tensor], cube: Cube | None = None) -> Figure:
    """One cube and what networks take it for: over its image, one vertex magnified, and from the side.

    The side view (z to the right, towards the camera; y up) shows the depth, of which the image says least. The truth
    is white and dashed, network number k has colour k and, in the magnified part, marker k.

    Args:
        truth: `[9]`.
        outputs: name of a network to its outputs, `[9]`; the order decides the colours. One that is not finite is
            left out.
        cube: camera, raster and body; by default the paper's.
    """
    cube = cube or Cube()
    right = truth.detach().cpu().to(torch.float64)[None]
    guesses = {
        k: g.detach().cpu().to(torch.float64)[None] for k, g in enumerate(outputs.values()) if g.isfinite().all()
    }
    with style():
        figure = sheet(2.25, 6.9)
        camera, near, side = (figure.add_subplot(3, 1, k + 1) for k in range(3))
        for axes in (camera, near):
            _image(axes, cube, right)
        corners = _wire(camera, near, cube, right, guesses)
        guessed = [cube.raster.pixel(cube.wireframe(outputs).points)[0] for outputs in guesses.values()]
        middle, half = extent(corners, guessed)
        half += MARGIN
        window(camera, middle, half)
        spot, reach = _most_different(cube, right, guesses)
        window(near, spot, reach)
        corner = (float(spot[0]) - reach, float(spot[1]) - reach)
        camera.add_patch(Rectangle(corner, 2 * reach, 2 * reach, fill=False, edgecolor="white", linewidth=0.9))
        camera.set_title("as the camera sees it", fontsize=9)
        near.set_title(f"one vertex, {number(half / reach, 2)} times larger", fontsize=9)
        _scale_bar(near, reach)
        _from_the_side(side, cube, right, guesses)
    return figure


def _image(axes: Axes, cube: Cube, outputs: Tensor) -> None:
    image, _ = cube.render(cube.nearest(outputs), 0)
    axes.imshow(image.value[0].numpy(), cmap=GRAY, vmin=0, vmax=DIM, interpolation="none")
    bare(axes)


def bare(axes: Axes) -> None:
    """No ticks, frame or grid; dark behind."""
    axes.set(xticks=[], yticks=[], facecolor=DARK)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)


def draw_edges(axes: Axes, cube: Cube, outputs: Tensor, **look: object) -> Tensor:
    """Draw the edges that are seen; returns all vertices in pixels, `[8, 2]`."""
    frame = cube.wireframe(outputs)
    corners = cube.raster.pixel(frame.points)[0]
    axes.add_collection(LineCollection(corners[frame.edges[frame.visible[0]]].tolist(), **look), autolim=False)  # type: ignore[arg-type]
    return corners


def _wire(camera: Axes, near: Axes, cube: Cube, truth: Tensor, guesses: Mapping[int, Tensor]) -> Tensor:
    for k, outputs in guesses.items():
        draw_edges(camera, cube, outputs, color=COLOURS[k % len(COLOURS)], linewidth=1.2)
        corners = draw_edges(near, cube, outputs, color=COLOURS[k % len(COLOURS)], linewidth=1.6)
        seen = corners[_seen_vertices(cube, outputs)]
        near.plot(
            *seen.T.numpy(),
            marker=MARKERS[k % len(MARKERS)],
            color=COLOURS[k % len(COLOURS)],
            linestyle="none",
            markersize=7,
            markeredgecolor=DARK,
            markeredgewidth=0.6,
        )
    corners = draw_edges(near, cube, truth, color="white", linestyle=(0, (4, 3)), linewidth=1.4)
    draw_edges(camera, cube, truth, color="white", linestyle=(0, (3, 3)), linewidth=1.0)
    seen = corners[_seen_vertices(cube, truth)]
    near.plot(*seen.T.numpy(), "o", markerfacecolor="none", color="white", markersize=11, markeredgewidth=1.2)
    return corners


def _seen_vertices(cube: Cube, outputs: Tensor) -> list[int]:
    frame = cube.wireframe(outputs)
    return sorted(set(frame.edges[frame.visible[0]].flatten().tolist()))


def _most_different(cube: Cube, truth: Tensor, guesses: Mapping[int, Tensor]) -> tuple[Tensor, float]:
    """The seen vertex that some network misses by most, and half the width of a window that shows all guesses at it."""
    right = cube.raster.pixel(cube.wireframe(truth).points)[0]
    seen = _seen_vertices(cube, truth)
    off = torch.zeros(len(seen), dtype=torch.float64)
    for outputs in guesses.values():
        guess = cube.raster.pixel(cube.wireframe(outputs).points)[0]
        off = torch.maximum(off, (guess - right)[seen].norm(dim=1))
    worst = int(off.argmax())
    return right[seen[worst]], min(max(1.5 * float(off[worst]), 0.25), 8.0)


def extent(truth: Tensor, guesses: Sequence[Tensor]) -> tuple[Tensor, float]:
    """Middle and half the width of what has to be seen: the truth, and guesses unless they are far away."""
    low, high = truth.amin(0), truth.amax(0)
    middle, half = (low + high) / 2, float((high - low).max()) / 2
    reach = max((float((guess - middle).abs().max()) for guess in guesses), default=0.0)
    return middle, max(half, min(reach, 2 * half))


def window(axes: Axes, middle: Tensor, half: float) -> None:
    """Show the square about a pixel."""
    x, y = middle.tolist()
    axes.set(xlim=(x - half, x + half), ylim=(y + half, y - half), aspect="equal")


def _scale_bar(axes: Axes, reach: float) -> None:
    length = next(size for size in (5, 2, 1, 0.5, 0.2, 0.1) if size <= 0.7 * reach or size == 0.1)
    left, bottom = axes.get_xlim()[0] + 0.12 * reach, axes.get_ylim()[0] - 0.14 * reach
    axes.plot([left, left + length], [bottom, bottom], color="white", linewidth=2.5, solid_capstyle="butt")
    words = "1 pixel" if length == 1 else f"{length:g} pixels" if length > 1 else f"{length:g} pixel"
    back = {"facecolor": DARK, "alpha": 0.75, "edgecolor": "none", "pad": 1.5}
    axes.text(left, bottom - 0.1 * reach, words, color="white", fontsize=8.5, va="bottom", bbox=back)


def _from_the_side(axes: Axes, cube: Cube, truth: Tensor, guesses: Mapping[int, Tensor]) -> None:
    edges = cube.wireframe(truth).edges
    for k, outputs in guesses.items():
        flat = cube.complete(outputs)[0][:, [2, 1]]
        axes.add_collection(LineCollection(flat[edges].tolist(), color=COLOURS[k % len(COLOURS)], linewidth=1.2))
    flat = cube.complete(truth)[0][:, [2, 1]]
    axes.add_collection(LineCollection(flat[edges].tolist(), color="white", linestyle=(0, (3, 3)), linewidth=1.0))
    middle, half = extent(flat, [cube.complete(outputs)[0][:, [2, 1]] for outputs in guesses.values()])
    (x, y), half = middle.tolist(), half + cube.side / 5
    axes.set(xlim=(x - half, x + half), ylim=(y - half, y + half), aspect="equal")
    bare(axes)
    axes.set_title("from the side", fontsize=9)
