"""Smooth images of polygons, with derivatives along any motion of their vertices.

The renderer knows polygons only: where their vertices are and how they move, which vertices make a face, and how
bright each face is. It does not know what is in front: hidden faces get intensity 0, and the others may not overlap
(so it draws any convex body, and more). An edge between two visible faces is treated once, with the difference of
their intensities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from jetprop.jets.basis import Basis
from jetprop.jets.jet import Jet
from jetprop.manifolds.boundary import Edges, coefficients, edges_between, features, quadrature_nodes, values
from jetprop.manifolds.pairs import pairs_of
from jetprop.manifolds.raster import Raster

__all__ = ["Mesh", "render_polygons"]

TAIL = {torch.float32: 6.0, torch.float64: 8.5}
"""Beyond so many kernel widths from a polygon all features are below rounding, and pixels are left at zero."""

TOLERANCE = {torch.float32: 1e-8, torch.float64: 1e-13}
"""Quadrature error of the image value that one edge may contribute."""

SHORT = {torch.float32: 1.0, torch.float64: 0.0}
"""Visible edges shorter than so many kernel widths, seen nearly end-on, lose digits in proportion to 1/length²: with
float32 pixels their pictures are computed in float64. The paper's cubes have none (their shortest is 5.3)."""

CHUNK_BYTES = {"cpu": 8 << 20, "cuda": 512 << 20}
"""Features that are held at once: what stays in a CPU's cache, or fills a GPU (and any other accelerator)."""


@dataclass(frozen=True)
class Mesh:
    """Which vertices make a face.

    Args:
        faces: for each face its vertices' numbers, in order around it.

    Raises:
        ValueError: a face has fewer than three vertices, or one twice.
    """

    faces: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        for face in self.faces:
            if len(face) < 3 or len(set(face)) < len(face) or min(face) < 0:
                raise ValueError(f"a face is a loop of at least three different vertex numbers ≥ 0, got {face}")

    @property
    def vertex_count(self) -> int:
        """One more than the highest vertex number."""
        return 1 + max(max(face) for face in self.faces)

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Each edge once, from its lower to its higher vertex."""
        found = {(min(a, b), max(a, b)) for face in self.faces for a, b in _sides(face)}
        return tuple(sorted(found))

    @cached_property
    def incidence(self) -> Tensor:
        """+1 where a face runs along an edge, -1 where against it, `[faces, edges]`, float64."""
        table = torch.zeros(len(self.faces), len(self.edges), dtype=torch.float64)
        for row, face in enumerate(self.faces):
            for a, b in _sides(face):
                table[row, self.edges.index((min(a, b), max(a, b)))] = 1 if a < b else -1
        return table


def render_polygons(
    vertices: Jet,
    mesh: Mesh,
    intensities: Tensor,
    raster: Raster | None = None,
    dtype: torch.dtype = torch.float32,
) -> Jet:
    """Render polygons, with derivatives.

    Args:
        vertices: a jet of order ≤ 2 with rows `[R, n, V, 2]`: (u, v) on the image plane and its derivatives.
        mesh: the faces.
        intensities: brightness of each face, `[n, faces]`; 0 hides it. Visible faces do not overlap.
        raster: the pixel grid and the kernel, by default the paper's.
        dtype: float32 or float64. Geometry is float64 in either case; float32 pixels are right to about 1e-5 of the
            largest pixel of their row.

    Returns:
        A jet over the same basis with rows `[R, n, H, W]`. It carries no autograd graph: its rows are the derivatives.

    Raises:
        ValueError: shapes do not fit, the basis is of order 3 or more, or an input requires a gradient.

    Source:
        avrutskiy2023, (49) to (53); second derivatives in closed form instead of the finite differences of (38).
    """
    raster = raster or Raster()
    _check(vertices, mesh, intensities, dtype)
    with torch.no_grad():
        rows = vertices.rows.to(torch.float64) / raster.sigma
        scaled = intensities.to(rows) * raster.scale
        return Jet(_render(rows, vertices.basis, mesh, scaled, raster, dtype), vertices.basis)


def _render(rows: Tensor, basis: Basis, mesh: Mesh, intensities: Tensor, raster: Raster, dtype: torch.dtype) -> Tensor:
    n, device = rows.shape[1], rows.device
    out = torch.zeros(len(rows), n, raster.rows * raster.columns, dtype=dtype, device=device)
    weights = _edge_weights(rows[0], mesh, intensities)
    unit, (u0, v0) = raster.step / raster.sigma, (c / raster.sigma for c in raster.corner)
    corner = rows.new_tensor([u0, v0])
    low = ((rows[0].amin(1) - TAIL[dtype] - corner) / unit).ceil()
    high = ((rows[0].amax(1) + TAIL[dtype] - corner) / unit).floor()

    #  One transfer to the host for the whole call: the window, how many edges show, the longest and the short ones.
    extent = (high - low + 1).clamp_min(1).amax(0)
    length = edges_between(rows[0], *_all_edges(mesh, weights), weights).length.where(weights != 0, torch.nan)
    shortest, longest = length.nan_to_num(torch.inf).amin(1), length.nan_to_num(0).max()
    showing = (weights != 0).sum(1).max().to(extent)
    width, height, showing, longest, *short = torch.cat([extent, torch.stack([showing, longest]), shortest]).tolist()
    width, height, showing = min(int(width), raster.columns), min(int(height), raster.rows), max(int(showing), 1)
    nodes = quadrature_nodes(longest, TOLERANCE[dtype])

    columns = low[:, :1].clamp(0, raster.columns - width) + torch.arange(width, device=device)
    lines = low[:, 1:].clamp(0, raster.rows - height) + torch.arange(height, device=device)
    u, v = u0 + unit * columns, v0 + unit * lines
    target = (lines[:, :, None] * raster.columns + columns[:, None]).flatten(1).long()

    per_sample = (5 * showing + rows.shape[2]) * width * height * dtype.itemsize
    chunk = max(1, CHUNK_BYTES.get(device.type, CHUNK_BYTES["cuda"]) // per_sample)
    for some in (slice(k, k + chunk) for k in range(0, n, chunk)):
        positions, working = rows[0, some], torch.float64 if min(short[some]) < SHORT[dtype] else dtype
        edges = _showing_edges(positions, mesh, weights[some], showing)
        image = values(positions, edges, u[some], v[some], nodes, dtype).flatten(1)
        out[0, some].scatter_(1, target[some], image)
        if basis.order:
            seen = features(positions, edges, u[some], v[some], basis.order, working).flatten(2)
            taken = coefficients(rows[1:, some], edges, basis).to(working).transpose(0, 1)
            derivatives = (taken @ seen).to(dtype).transpose(0, 1)
            out[1:, some].scatter_(2, target[some].expand(derivatives.shape), derivatives)
    return out.unflatten(2, (raster.rows, raster.columns))


def _edge_weights(positions: Tensor, mesh: Mesh, intensities: Tensor) -> Tensor:
    """Intensity on the left of each edge less that on its right, `[n, edges]`, whichever way round the faces appear."""
    incidence = mesh.incidence.to(positions)
    start, end = (positions[:, list(side)] for side in zip(*mesh.edges, strict=True))
    cross = start[..., 0] * end[..., 1] - start[..., 1] * end[..., 0]
    orientation = (cross @ incidence.mT).sign()
    return (intensities * orientation) @ incidence


def _all_edges(mesh: Mesh, weights: Tensor) -> tuple[Tensor, Tensor]:
    ends = torch.tensor(mesh.edges, device=weights.device)
    return ends[:, 0].expand(weights.shape), ends[:, 1].expand(weights.shape)


def _showing_edges(positions: Tensor, mesh: Mesh, weights: Tensor, showing: int) -> Edges:
    """The edges across which the intensity changes, padded with others, of weight 0, where a sample has fewer."""
    chosen = (weights == 0).to(torch.uint8).argsort(dim=1, stable=True)[:, :showing]
    start, end = _all_edges(mesh, weights)
    return edges_between(positions, start.gather(1, chosen), end.gather(1, chosen), weights.gather(1, chosen))


def _sides(face: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(face, [*face[1:], face[0]], strict=True))


def _check(vertices: Jet, mesh: Mesh, intensities: Tensor, dtype: torch.dtype) -> None:
    pairs_of(vertices.basis)
    rows = vertices.rows
    if dtype not in TAIL:
        raise ValueError(f"images are rendered in torch.float32 or torch.float64, got dtype={dtype}")
    if rows.dim() != 4 or rows.shape[-1] != 2 or rows.shape[2] < mesh.vertex_count:
        raise ValueError(
            f"vertices need rows [R, n, V, 2] with V ≥ {mesh.vertex_count}, the mesh's vertices; got {list(rows.shape)}"
        )
    if intensities.shape != (rows.shape[1], len(mesh.faces)):
        raise ValueError(
            f"intensities are one number for each sample and face, [{rows.shape[1]}, {len(mesh.faces)}]; "
            f"got {list(intensities.shape)}"
        )
    if not bool(intensities.isfinite().all()):
        raise ValueError("intensities must be finite; they hold inf or nan")
    if rows.requires_grad or intensities.requires_grad:
        raise ValueError(
            "rendering carries no autograd graph, but an input requires a gradient; ask for the derivatives as rows of "
            "the jet (give the vertices a basis), or pass detached tensors"
        )
