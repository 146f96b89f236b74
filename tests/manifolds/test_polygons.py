from typing import Any

import pytest
import torch

from jetprop.jets.basis import Basis
from jetprop.jets.jet import Jet
from jetprop.manifolds import Cube, Mesh, Raster, polygons, render_polygons

QUADS = Mesh(((0, 1, 4, 3), (1, 2, 5, 4)))
GRID = torch.tensor([[-0.5, -0.4], [0.0, -0.5], [0.6, -0.3], [-0.4, 0.5], [0.1, 0.4], [0.5, 0.6]], dtype=torch.float64)


def flat(n=1, order=0, seed=0):
    basis = Basis.full(2, order)
    rows = torch.randn(len(basis), n, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 0.1
    rows[0] += GRID
    return Jet(rows, basis)


def brightness(*values):
    return torch.tensor([values], dtype=torch.float64)


def test_edges_shared_by_faces_are_merged():
    assert len(QUADS.edges) == 7
    assert QUADS.incidence.sum(0).abs().tolist().count(0) == 1
    both = render_polygons(flat(order=2), QUADS, brightness(1, 0.3), dtype=torch.float64).rows
    one = render_polygons(flat(order=2), QUADS, brightness(1, 0), dtype=torch.float64).rows
    other = render_polygons(flat(order=2), QUADS, brightness(0, 0.3), dtype=torch.float64).rows
    torch.testing.assert_close(both, one + other, atol=1e-9, rtol=0)


def test_the_image_does_not_depend_on_which_way_round_faces_run():
    reverse = Mesh(tuple(face[::-1] for face in QUADS.faces))
    a = render_polygons(flat(order=2), QUADS, brightness(1, 0.3), dtype=torch.float64).rows
    b = render_polygons(flat(order=2), reverse, brightness(1, 0.3), dtype=torch.float64).rows
    torch.testing.assert_close(a, b)


def test_triangles_of_a_face_render_like_the_face():
    split = Mesh(((0, 1, 4), (0, 4, 3), (1, 2, 5), (1, 5, 4)))
    a = render_polygons(flat(order=2), QUADS, brightness(1, 0.3), dtype=torch.float64).rows
    b = render_polygons(flat(order=2), split, brightness(1, 1, 0.3, 0.3), dtype=torch.float64).rows
    torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


def test_rows_are_derivatives_of_polygons_that_bend():
    """Vertices on arbitrary quadratic curves, against central differences of the rendered first derivatives."""
    jet, step = flat(order=2, seed=3), 1e-5

    def at(t0, t1):
        i, j, ii, ij, jj = jet.rows[1:]
        value = jet.rows[0] + t0 * i + t1 * j + t0**2 / 2 * ii + t0 * t1 * ij + t1**2 / 2 * jj
        rows = torch.stack([value, i + t0 * ii + t1 * ij, j + t0 * ij + t1 * jj])
        return render_polygons(Jet(rows, Basis.full(2, 1)), QUADS, brightness(1, 0.3), dtype=torch.float64).rows

    got = render_polygons(jet, QUADS, brightness(1, 0.3), dtype=torch.float64)
    by_0 = (at(step, 0) - at(-step, 0)) / (2 * step)
    by_1 = (at(0, step) - at(0, -step)) / (2 * step)
    for label, difference in {
        (0,): by_0[0], (1,): by_1[0], (0, 0): by_0[1], (0, 1): by_0[2], (1, 1): by_1[2]
    }.items():  # fmt: skip
        row = got.d(*label)
        assert (row - difference).abs().max() < 1e-6 * row.abs().max(), label
    torch.testing.assert_close(by_0[2], by_1[1], atol=1e-4, rtol=1e-6)


def test_a_linear_motion_of_the_whole_picture_shifts_it():
    basis = Basis.directional(2, 2)
    rows = torch.zeros(5, 1, 6, 2, dtype=torch.float64)
    rows[0], rows[1, ..., 0], rows[2, ..., 1] = GRID, 1, 1
    raster = Raster(step=0.01, corner=(-0.2, 0.2), sigma=0.06)
    got = render_polygons(Jet(rows, basis), QUADS, brightness(1, 0.5), raster, torch.float64)
    picture = got.value[0]
    slope = -(picture[:, 2:] - picture[:, :-2]) / 0.02  # moving right is the picture at u - t
    assert (got.d(0)[0, :, 1:-1] - slope).abs().max() < 0.01 * slope.abs().max()
    curvature = (picture[2:] - 2 * picture[1:-1] + picture[:-2]) / 0.01**2
    assert (got.d(1, 1)[0, 1:-1] - curvature).abs().max() < 0.01 * curvature.abs().max()


def test_the_printed_kernel_only_scales():
    printed = Cube(raster=Raster(kernel="printed")).sample(2, dtype=torch.float64)[0].rows
    normal = Cube().sample(2, dtype=torch.float64)[0].rows
    torch.testing.assert_close(printed, normal * 0.03 * (2 * torch.pi) ** 0.5)


def test_windows_and_chunks_leave_the_image_alone(monkeypatch):
    expected = Cube().sample(7, dtype=torch.float64)[0].rows
    monkeypatch.setitem(polygons.CHUNK_BYTES, "cpu", 1)
    torch.testing.assert_close(Cube().sample(7, dtype=torch.float64)[0].rows, expected, atol=1e-10, rtol=0)
    monkeypatch.undo()
    monkeypatch.setitem(polygons.TAIL, torch.float64, 100.0)
    torch.testing.assert_close(Cube().sample(7, dtype=torch.float64)[0].rows, expected, atol=1e-10, rtol=0)


def test_bad_input_is_refused():
    jet, light = flat(2), torch.ones(2, 2)
    with pytest.raises(ValueError, match="torch.float32 or torch.float64, got dtype=torch.int64"):
        render_polygons(jet, QUADS, light, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"V ≥ 6, the mesh's vertices; got \[1, 2, 5, 2\]"):
        render_polygons(Jet(jet.rows[:, :, :5], jet.basis), QUADS, light)
    with pytest.raises(ValueError, match=r"\[2, 2\]; got \[2, 3\]"):
        render_polygons(jet, QUADS, torch.ones(2, 3))
    with pytest.raises(ValueError, match="intensities must be finite"):
        render_polygons(jet, QUADS, light * torch.nan)
    with pytest.raises(ValueError, match="carries no autograd graph"):
        render_polygons(jet, QUADS, light.requires_grad_())
    with pytest.raises(ValueError, match="order 3"):
        render_polygons(flat(2, order=3), QUADS, torch.ones(2, 2))
    with pytest.raises(ValueError, match="three different vertex numbers"):
        Mesh(((0, 1, 1),))
    nowhere = (0.0, float("nan"))
    wrong: list[dict[str, Any]] = [
        dict(sigma=0.0),
        dict(step=-1.0),
        dict(rows=0),
        dict(corner=nowhere),
        dict(kernel="x"),
    ]
    for bad in wrong:
        with pytest.raises(ValueError, match="got"):
            Raster(**bad)
