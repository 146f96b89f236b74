import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import owens_t

from jetprop.jets.basis import Basis
from jetprop.jets.jet import Jet
from jetprop.manifolds import Mesh, Raster, render_polygons
from jetprop.manifolds.boundary import edges_between, features, gauss_legendre, quadrature_nodes


def by_owens_t(polygon, raster):
    """∬ K over one polygon at every pixel, from Owen's T of each edge seen from the pixel: `[H, W]`."""
    u = raster.corner[0] + raster.step * np.arange(raster.columns)
    v = raster.corner[1] + raster.step * np.arange(raster.rows)
    w = np.stack(np.meshgrid(u, v), -1)
    total = np.zeros(w.shape[:2])
    for p, q in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        p, q = (p - w) / raster.sigma, (q - w) / raster.sigma
        tangent = (q - p) / np.linalg.norm(q - p, axis=-1, keepdims=True)
        h = p[..., 0] * tangent[..., 1] - p[..., 1] * tangent[..., 0]
        a, b = (p * tangent).sum(-1), (q * tangent).sum(-1)
        sign, h = np.sign(h), np.abs(h) + 1e-300
        angle = (np.arctan2(b, h) - np.arctan2(a, h)) / (2 * math.pi)
        total += sign * (angle - owens_t(h, b / h) + owens_t(h, a / h))
    return total


def image_of(polygon, raster, dtype=torch.float64):
    corners = torch.as_tensor(polygon, dtype=torch.float64)[None, None]
    mesh = Mesh((tuple(range(len(polygon))),))
    return render_polygons(Jet(corners, Basis.full(0, 0)), mesh, torch.ones(1, 1), raster, dtype).value[0]


@given(
    st.lists(st.floats(0, 2 * math.pi), min_size=3, max_size=6, unique=True),
    st.floats(0.1, 0.8),
    st.tuples(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6)),
    st.booleans(),
)
def test_the_image_is_exact(angles, radius, centre, backwards):
    turns = np.sort(angles)[:: -1 if backwards else 1]
    if np.diff(np.sort(angles)).min() < 0.02:
        return
    polygon = np.array(centre) + radius * np.stack([np.cos(turns), np.sin(turns)], -1)
    raster = Raster()
    expected = by_owens_t(polygon, raster) * (-1 if backwards else 1)
    np.testing.assert_allclose(image_of(polygon, raster), expected, atol=1e-10, rtol=0)


def test_the_image_of_another_grid():
    raster = Raster(rows=7, columns=12, step=0.1, corner=(-0.3, 0.05), sigma=0.08)
    polygon = np.array([[-0.2, 0.1], [0.6, 0.2], [0.4, 0.7]])
    np.testing.assert_allclose(image_of(polygon, raster), by_owens_t(polygon, raster), atol=1e-10, rtol=0)


def test_a_polygon_outside_the_image_leaves_it_black():
    assert image_of([[3.0, 3.0], [3.2, 3.0], [3.0, 3.2]], Raster()).abs().max() == 0


@pytest.mark.parametrize("longest", [0.01, 1.0, 16.0, 60.0])
@pytest.mark.parametrize("tolerance", [1e-8, 1e-13])
def test_the_node_count_keeps_its_promise(longest, tolerance):
    """For the worst position of an edge, against a quadrature that is far finer."""

    def integral(nodes, theta, offset, shift):
        x, w = gauss_legendre(nodes)
        along = x * longest / 2
        distribution = torch.special.ndtr(along * math.cos(theta) + offset)
        density = torch.exp(-((along * math.sin(theta) + shift) ** 2) / 2) / math.sqrt(2 * math.pi)
        return (w * distribution * density).sum() * longest / 2 * math.sin(theta)

    nodes = quadrature_nodes(longest, tolerance)
    for theta in np.linspace(0.1, 3, 12):
        for offset in (-2.0, 0.0, 1.0):
            for shift in (-3.0, 0.5):
                error = integral(nodes, theta, offset, shift) - integral(400, theta, offset, shift)
                assert abs(error) < tolerance + 1e-15


def test_too_long_an_edge_is_refused():
    with pytest.raises(ValueError, match="kernel widths long .* move the body away"):
        quadrature_nodes(1e4, 1e-8)


def test_features_are_the_integrals_they_stand_for():
    vertices = torch.tensor([[[0.3, -0.2], [2.9, 1.4]]], dtype=torch.float64)
    index = torch.zeros(1, 1, dtype=torch.long)
    edges = edges_between(vertices, index, index + 1, torch.ones(1, 1, dtype=torch.float64))
    u, v = torch.linspace(-4, 6, 9).double()[None], torch.linspace(-5, 5, 8).double()[None]
    got = features(vertices, edges, u, v, 2, torch.float64)[0]

    x, w = gauss_legendre(60)
    x, w = x * edges.length / 2, w * edges.length[0] / 2
    points = edges.middle[0] + x.T * edges.tangent[0]
    pixel = torch.stack(torch.meshgrid(u[0], v[0], indexing="xy"), -1)
    gap = pixel[..., None, :] - points
    kernel = torch.exp(-(gap**2).sum(-1) / 2) / (2 * math.pi)
    normal = torch.tensor([-edges.tangent[0, 0, 1], edges.tangent[0, 0, 0]])
    h = (pixel - edges.middle[0, 0]) @ normal
    j = [(kernel * x[0] ** k * w).sum(-1) for k in range(3)]
    ends = torch.exp(-((pixel[..., None, :] - vertices[0]) ** 2).sum(-1) / 2) / (2 * math.pi)
    expected = torch.stack([j[0], j[1], h * j[0], h * j[1], h * j[2], ends[..., 0], ends[..., 1]])
    torch.testing.assert_close(got, expected, atol=1e-14, rtol=0)
