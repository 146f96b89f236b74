"""What avrutskiy2023 says in passing about its images, held against ours."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull

from jetprop.manifolds import Cube, Poses

CUBE = Cube()
F64 = torch.float64


@pytest.fixture(scope="module")
def images():
    return CUBE.sample(200, dtype=F64)[0]


def test_outputs_vary_by_0_3():
    """(3): "standard deviations of each output component, all approximately equal to 0.3"."""
    assert ((CUBE.outputs(CUBE.poses(97020)).std(0) - 0.3).abs() < 0.005).all()


@pytest.mark.parametrize(("z", "width"), [(0.52, 11), (0.0, 10), (-0.52, 9)])
def test_visible_width(z, width):
    """Appendix A: "a visible width of 11 pixels at the closest position, 10 at the middle, and 9 at the farthest"."""
    outputs = CUBE.outputs(Poses(torch.eye(3)[None], torch.tensor([[0.0, 0.0, z]])))
    outline = ConvexHull(CUBE.raster.pixel(CUBE.wireframe(outputs).points[0]).numpy())
    assert math.floor(math.sqrt(outline.volume)) == width


def test_the_cube_stays_inside_the_image(images):
    frame = torch.ones(41, 41, dtype=torch.bool)
    frame[1:-1, 1:-1] = False
    assert images.value[:, frame].max() < 0.02


def test_three_faces_are_always_seen():
    """Section 2.3: the range of rotations "avoids the case where only one face is visible"."""
    assert CUBE.seen(CUBE.poses(97020)).all(0).tolist() == [True] * 3 + [False] * 3


def test_faces_have_their_intensities():
    image, _ = CUBE.render(Poses(torch.eye(3)[None], torch.zeros(1, 3)), 0, dtype=F64)
    vertices = CUBE.vertices(Poses(torch.eye(3)[None], torch.zeros(1, 3)))[0]
    for pair, intensity in (((0, 1), 1), ((1, 2), 2 / 3)):
        x, y, z = (vertices[list(pair)].sum(0) / 2).tolist()
        column, row = (round((5 * c / (z - 5) + 1) / 0.05) for c in (x, y))
        assert abs(image.value[0, row, column] - intensity) < 0.01
    assert image.value.max() < 1 + 1e-9
    at_rest = image.value[0]
    total = at_rest.sum() * 0.05**2  # (49) keeps the integral: Σ intensity × area of each face
    areas = []
    for face in ((0, 5, 1, 6), (3, 2, 6, 1), (1, 5, 7, 3)):
        corner = vertices[list(face)]
        areas.append(ConvexHull((5 * corner[:, :2] / (corner[:, 2:] - 5)).numpy()).volume)
    assert abs(total - np.dot(areas, [1, 2 / 3, 1 / 6])) < 1e-4


def test_the_size_of_rotational_second_derivatives(images):
    """Section 4.2: avg ‖∂²I/∂ν_i∂ν_j‖ ≃ 40 over rotations, which only the normalised kernel comes near."""
    norms = [images.d(i, j).flatten(1).norm(dim=1).mean() for i in range(3) for j in range(i, 3)]
    assert 30 < sum(norms) / 6 < 40


def test_noise_of_a_quarter_is_as_large_as_the_manifold(images):
    """Section 5: σ = 0.25 moves an image by about 10, the diameter of the manifold."""
    assert 0.25 * math.sqrt(1681) == pytest.approx(10.25)
    flat = images.value.flatten(1)
    assert 9 < torch.cdist(flat, flat).max() < 13


@pytest.mark.parametrize(
    ("freedom", "amount"), [(0, math.pi / 18), (1, math.pi / 18), (2, math.pi / 18), (3, 0.04), (4, 0.04), (5, 0.3)]
)
def test_how_far_derivatives_carry_an_image(images, freedom, amount):
    """Section 3.1: by ±10 % of the side along x and y, ±75 % along z, 10°. First order explains most, second more."""
    for step in (amount, -amount):
        nu = step * torch.eye(6, dtype=F64)[freedom]
        change = CUBE.render(CUBE.poses(200).moved(nu), 0, dtype=F64)[0].value - images.value
        first = change - step * images.d(freedom)
        second = first - step**2 / 2 * images.d(freedom, freedom)
        unexplained = [(r.flatten(1).norm(dim=1) / change.flatten(1).norm(dim=1)).square() for r in (first, second)]
        assert unexplained[0].mean() < 0.33 and unexplained[0].max() < 0.5
        assert unexplained[1].mean() < 0.13 and (unexplained[1] < unexplained[0]).all()
