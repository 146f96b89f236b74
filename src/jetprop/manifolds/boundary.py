"""Images of polygons and their derivatives as integrals over edges, in closed form.

All lengths here are in units of the kernel's width, so that K(r) = exp(-r²/2)/2π. A picture that is constant inside
polygons has, after smoothing, the value Σ_e w_e ∫_e Φ(u' - u) φ(v' - v) dv' (Green's theorem), φ and Φ the normal
density and distribution, w_e the step of intensity from the right to the left of the directed edge e.

Derivatives along motions V_i of the edge points p (affine along an edge), with x the arc length from the midpoint of
the edge, T its direction, N = T turned by +90°, and V_ij the second derivative of p:

    ∂_i  I = -Σ_e w_e ∫ V_iN K dx                                                            (51), (53)
    ∂_ij I =  Σ_e w_e { ∫ (-V_ijN + V_iT V_jN' + V_jT V_iN' - h V_iN V_jN) K dx - [½ (V_iN V_jT + V_iT V_jN) K] }

where ' is d/dx, h the distance of the pixel from the edge's line along N, and […] the difference between the two ends.
The second line follows from the first by differentiating the edge and the kernel; the part of the kernel's gradient
along T is integrated by parts, and the end terms may be made symmetric because V_i × V_j cancels around a closed loop.

V is affine in x, so with s the pixel's coordinate along T (from the midpoint) and L the length only three integrals
occur. K = φ(h) φ(x - s), and

    J0 = ∫ φ(x - s) dx      = Φ(s + L/2) - Φ(s - L/2)
    J1 = ∫ x φ(x - s) dx    = s J0 + φ(s + L/2) - φ(s - L/2)
    J2 = ∫ x² φ(x - s) dx   = s J1 + J0 - (L/2) (φ(s + L/2) + φ(s - L/2)).

Hence every derivative of an image is a linear combination of the same few images, its *features*: φ(h) J0, φ(h) J1,
h φ(h) J0, h φ(h) J1, h φ(h) J2 for each edge and a Gaussian for each vertex; the coefficients depend on the motion,
never on the pixel. `coefficients` and `features` make the two factors; their product is the image.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jetprop.jets.basis import Basis
from jetprop.manifolds.pairs import pairs_of

__all__ = ["Edges", "coefficients", "edges_between", "features", "gauss_legendre", "quadrature_nodes", "values"]

SHORTEST = 1e-9
"""Edges seen end-on get this length (in kernel widths), which keeps their direction finite; they enclose nothing."""

MOST_NODES = 512


class Edges(NamedTuple):
    """Directed edges of n pictures on the image plane, in kernel widths, float64.

    Args:
        start: index of the first vertex, `[n, E]`.
        end: index of the last vertex, `[n, E]`.
        weight: intensity on the left less that on the right, `[n, E]`.
        middle: midpoint, `[n, E, 2]`.
        tangent: unit vector from start to end, `[n, E, 2]`.
        length: `[n, E]`.
    """

    start: Tensor
    end: Tensor
    weight: Tensor
    middle: Tensor
    tangent: Tensor
    length: Tensor


def edges_between(vertices: Tensor, start: Tensor, end: Tensor, weight: Tensor) -> Edges:
    """The geometry of edges between given vertices, `[n, V, 2]`."""
    p, q = _at(vertices, start), _at(vertices, end)
    along = q - p
    length = along.norm(dim=-1).clamp_min(SHORTEST)
    return Edges(start, end, weight, (p + q) / 2, along / length[..., None], length)


def coefficients(velocities: Tensor, edges: Edges, basis: Basis) -> Tensor:
    """What each derivative of the image takes of each feature.

    Args:
        velocities: rows 1, 2, … of the jet of vertices, `[R - 1, n, V, 2]`, in kernel widths.
        edges: the edges of these pictures.
        basis: which derivative each row is, up to order 2.

    Returns:
        Tensor `[R - 1, n, F]`, features in the order of `features`.
    """
    pairs = pairs_of(basis)
    n, count = edges.weight.shape
    parts = 5 if pairs.second else 2
    out = velocities.new_zeros(len(velocities), n, parts * count + (velocities.shape[2] if pairs.second else 0))
    by_edge = out[..., : parts * count].unflatten(-1, (parts, count))

    normal = _turned(edges.tangent)
    at_start, at_end = _at(velocities, edges.start), _at(velocities, edges.end)
    middle, slope = (at_start + at_end) / 2, (at_end - at_start) / edges.length[..., None]
    #  The normal velocity is a + b x, the tangential one c + d x.
    a, b = (middle * normal).sum(-1), (slope * normal).sum(-1)
    by_edge[..., 0, :] = -edges.weight * a
    by_edge[..., 1, :] = -edges.weight * b
    if not pairs.second:
        return out

    first, second = slice(None, pairs.first), slice(pairs.first, None)
    (ai, aj), (bi, bj) = pairs.take(a[first]), pairs.take(b[first])
    ci, cj = pairs.take((middle * edges.tangent).sum(-1)[first])
    di, dj = pairs.take((slope * edges.tangent).sum(-1)[first])
    quadratic = torch.stack(
        [ci * bj + cj * bi, di * bj + dj * bi, -ai * aj, -(ai * bj + aj * bi), -bi * bj],
        dim=-2,
    )
    by_edge[second] += pairs.sum(quadratic * edges.weight[:, None])

    #  The end terms of all edges that meet in a vertex add up to one quadratic form of that vertex's velocity, with
    #  the traceless matrix Σ ±w ½ (N Tᵀ + T Nᵀ) = [[m, k], [k, -m]].
    tu, tv = edges.tangent.unbind(-1)
    m = _gathered(-tu * tv * edges.weight, edges, velocities.shape[2])
    k = _gathered((tu * tu - tv * tv) / 2 * edges.weight, edges, velocities.shape[2])
    (ui, vi), (uj, vj) = (side.unbind(-1) for side in pairs.take(velocities[first]))
    out[second, :, parts * count :] = pairs.sum(m * (ui * uj - vi * vj) + k * (ui * vj + vi * uj))
    return out


def features(vertices: Tensor, edges: Edges, u: Tensor, v: Tensor, order: int, dtype: torch.dtype) -> Tensor:
    """The images of which all derivatives are linear combinations.

    Args:
        vertices: `[n, V, 2]`, in kernel widths, float64.
        edges: the edges between them.
        u: the columns' coordinates, `[n, W]`, in kernel widths, float64.
        v: the rows' coordinates, `[n, H]`.
        order: 1 or 2.
        dtype: floating dtype in which the pixels are computed.

    Returns:
        Tensor `[n, F, H, W]`: E times φJ0, E times φJ1; at order 2 also E times hφJ0, hφJ1, hφJ2, and V times the
        vertices' Gaussians.
    """
    n, count = edges.weight.shape
    parts = 5 if order == 2 else 2
    total = parts * count + (vertices.shape[1] if order == 2 else 0)
    out = torch.empty(n, total, v.shape[1], u.shape[1], dtype=dtype, device=vertices.device)
    by_edge = out[:, : parts * count].unflatten(1, (parts, count))
    j0, j1 = by_edge[:, 0], by_edge[:, 1]

    #  Coordinates are affine in u and v: their two parts are formed in float64 and added per pixel in `dtype`.
    u_, v_ = (u[:, None] - edges.middle[..., :1]), (v[:, None] - edges.middle[..., 1:])
    tu, tv = edges.tangent[..., :1], edges.tangent[..., 1:]
    s = _outer_sum((u_ * tu).to(dtype), (v_ * tv).to(dtype))
    h = _outer_sum((-u_ * tv).to(dtype), (v_ * tu).to(dtype))
    half = (edges.length / 2).to(dtype)[..., None, None]

    density = (h * h).mul_(-0.5).exp_().mul_(0.5 / math.sqrt(2 * math.pi))
    torch.sub(_erf(s + half), _erf(s - half), out=j0)
    j0 *= density
    gaussian_u = _density(u[:, None] - vertices[..., :1]).to(dtype)
    gaussian_v = _density(v[:, None] - vertices[..., 1:]).to(dtype)
    at_start = _outer_product(_at(gaussian_u, edges.start), _at(gaussian_v, edges.start))
    at_end = _outer_product(_at(gaussian_u, edges.end), _at(gaussian_v, edges.end))
    torch.mul(s, j0, out=j1)
    j1 += at_start
    j1 -= at_end
    if order == 1:
        return out

    torch.mul(h, j0, out=by_edge[:, 2])
    torch.mul(h, j1, out=by_edge[:, 3])
    j2 = s.mul_(j1).add_(j0).sub_(at_start.add_(at_end).mul_(half))
    torch.mul(h, j2, out=by_edge[:, 4])
    torch.mul(gaussian_v[..., :, None], gaussian_u[..., None, :], out=out[:, parts * count :])
    return out


def values(vertices: Tensor, edges: Edges, u: Tensor, v: Tensor, nodes: int, dtype: torch.dtype) -> Tensor:
    """The images themselves, Σ_e w_e ∫_e Φ(u' - u) φ(v' - v) dv', by Gauss–Legendre quadrature along each edge.

    The integrand is a product of a function of u and one of v, so summing over nodes is one matrix product and no
    pixel costs a transcendental function.

    Args:
        vertices: `[n, V, 2]`, in kernel widths, float64.
        edges: the edges between them.
        u: the columns' coordinates, `[n, W]`.
        v: the rows' coordinates, `[n, H]`.
        nodes: how many an edge; `quadrature_nodes` says how many are needed.
        dtype: floating dtype of the result.

    Returns:
        Tensor `[n, H, W]`.
    """
    x, weights = (t.to(vertices) for t in gauss_legendre(nodes))
    step = edges.tangent * (edges.length / 2)[..., None]
    points = (edges.middle[:, :, None] + x[:, None] * step[:, :, None]).flatten(1, 2)
    weighted = ((edges.weight * step[..., 1])[..., None] * weights).flatten(1)
    distribution = _erf((points[..., :1] - u[:, None]).to(dtype)).mul_(0.5).add_(0.5)
    density = _density((points[..., 1:] - v[:, None]).to(dtype)) * weighted.to(dtype)[..., None]
    return density.mT @ distribution


def quadrature_nodes(longest: float, tolerance: float) -> int:
    """How many Gauss–Legendre nodes make `values` exact to `tolerance` for edges up to a given length.

    On the Bernstein ellipse of parameter ρ around an edge of half-length λ the integrand is bounded by
    M = λ exp(λ² b² / 2) / √2π, b = (ρ - 1/ρ)/2, because |φ(a + ib)| and |Φ(a + ib)| grow no faster than exp(b²/2) in
    their shares of the displacement; the error is at most 64/15 · M ρ^(-2m) / (1 - ρ^(-2)) with m nodes.

    Args:
        longest: the longest edge, in kernel widths.
        tolerance: largest error of one edge of weight 1.

    Raises:
        ValueError: more than 512 nodes would be needed.

    Source:
        L. N. Trefethen, Is Gauss quadrature better than Clenshaw–Curtis?, SIAM Review 50 (2008), theorem 4.5.
    """
    half = max(longest / 2, SHORTEST)
    for nodes in range(4, MOST_NODES + 1, 4):
        if min(_log_error(nodes, half, 1 + 0.05 * 1.25**k) for k in range(32)) < math.log(tolerance):
            return nodes
    raise ValueError(
        f"an edge is {longest:.3g} kernel widths long on the image plane, too long to integrate to {tolerance:g}; "
        f"move the body away from the camera, or use a wider kernel"
    )


def _log_error(nodes: int, half: float, rho: float) -> float:
    b = (rho - 1 / rho) / 2
    bound = math.log(half / math.sqrt(2 * math.pi)) + (half * b) ** 2 / 2
    return math.log(64 / 15) + bound - 2 * nodes * math.log(rho) - math.log(1 - rho**-2)


@cache
def gauss_legendre(nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [-1, 1], float64."""
    x, weights = np.polynomial.legendre.leggauss(nodes)
    return torch.from_numpy(x), torch.from_numpy(weights)


def _at(values: Tensor, index: Tensor) -> Tensor:
    """`values[…, n, V, k]` at the vertices `index[n, E]`: `[…, n, E, k]`."""
    index = index[..., None].expand(*values.shape[:-3], *index.shape, values.shape[-1])
    return values.gather(-2, index)


def _gathered(ends: Tensor, edges: Edges, vertices: int) -> Tensor:
    """Sum over the edges at each vertex, + where they start and - where they end: `[n, E]` → `[n, V]`."""
    number = torch.arange(vertices, device=ends.device)[:, None]
    sign = (edges.start[:, None] == number).to(ends) - (edges.end[:, None] == number).to(ends)
    return (sign @ ends[..., None])[..., 0]


def _turned(tangent: Tensor) -> Tensor:
    return torch.stack([-tangent[..., 1], tangent[..., 0]], dim=-1)


def _density(x: Tensor) -> Tensor:
    return (x * x).mul_(-0.5).exp_().mul_(1 / math.sqrt(2 * math.pi))


def _erf(x: Tensor) -> Tensor:
    """erf(x/√2) = 2Φ(x) - 1, in place."""
    return x.mul_(math.sqrt(0.5)).erf_()


def _outer_sum(u: Tensor, v: Tensor) -> Tensor:
    return v[..., :, None] + u[..., None, :]


def _outer_product(u: Tensor, v: Tensor) -> Tensor:
    return v[..., :, None] * u[..., None, :]
