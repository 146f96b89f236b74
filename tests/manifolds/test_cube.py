import math
from typing import Any

import pytest
import torch

from jetprop.jets.basis import Basis
from jetprop.manifolds import Camera, Cube, Manifold, Poses
from manifolds.independent import AXES, FIRST, contracted, derivatives, turn

CUBE = Cube()
F64 = torch.float64
TURNED = ((0.6, 0.0, 0.8), (0.0, 1.0, 0.0), (-0.8, 0.0, 0.6))


def looking(frame):
    """A cube, off centre, whose axes are the columns of `frame`, turned a little about the line of sight."""
    rest = AXES.mT / 0.4
    rest = rest * torch.linalg.det(rest).sign()  # the opposite faces, where needed to make the axes right-handed
    turned = turn(2, torch.tensor([0.3], dtype=F64)) @ frame @ rest.mT
    return Poses(turned, torch.tensor([[0.11, -0.07, 0.2]]))


EYE = torch.eye(3, dtype=F64)
VIEWS = {
    "three faces": CUBE.poses(1, start=3),
    "two faces": looking(turn(0, torch.tensor([0.6], dtype=F64))),
    "one face": looking(EYE),
    "hidden faces": CUBE.poses(1).moved(torch.tensor([2.5, 0.4, 0, 0, 0, 0])),
}


def interesting(image, count):
    """The pixels that change most, and some others: (row, column), `[count, 2]`."""
    busy = image.rows[1:].abs().amax((0, 1)).flatten().topk(3 * count).indices[::4]
    chosen = torch.cat([busy, torch.randint(1681, (count - len(busy),))])
    return torch.stack([chosen // 41, chosen % 41], 1)


@pytest.mark.parametrize("view", VIEWS)
def test_every_row_agrees_with_nested_reverse_mode(view):
    poses = VIEWS[view]
    check_against_quadrature(CUBE, poses, 24)


def test_every_row_agrees_for_a_general_camera():
    """Positive depth, a turned camera and an off-centre image, which also turns the faces' orientation round."""
    camera = Camera(3.0, (0.12, -0.2), TURNED, (0.2, -0.1, 4.0))
    check_against_quadrature(Cube(camera=camera), CUBE.poses(1, start=8), 24)


def check_against_quadrature(cube, poses, count):
    image, _ = cube.render(poses, 2, dtype=F64)
    where = interesting(image, count)
    uv = -1 + 0.05 * where.flip(1).to(F64)
    expected = derivatives(poses.rotation[0], poses.centre[0], uv, cube.camera.matrix)
    got = image.rows[:, 0, where[:, 0], where[:, 1]]
    scale = image.rows.abs().amax((1, 2, 3))
    assert ((got - expected).abs().amax(1) / scale).max() < 1e-9


@pytest.mark.parametrize(("view", "faces"), [("three faces", 3), ("two faces", 2), ("one face", 1)])
def test_the_views_are_what_they_are_called(view, faces):
    assert CUBE.seen(VIEWS[view]).sum() == faces


def test_second_derivatives_agree_with_the_finite_differences_of_the_paper():
    """(38) with ε = 5·10⁻⁶, for all pairs i ≤ j."""
    poses, step = CUBE.poses(2, start=11), 5e-6
    image, target = CUBE.render(poses, 2, dtype=F64)
    for i in range(6):
        nu = step * torch.eye(6, dtype=F64)[i]
        ahead, behind = (CUBE.render(poses.moved(sign * nu), 1, dtype=F64) for sign in (1, -1))
        for jet, plus, minus in zip((image, target), ahead, behind, strict=True):
            difference = (plus.rows - minus.rows) / (2 * step)
            pairs = {(i,): difference[0], **{(i, j): difference[1 + j] for j in range(i, 6)}}
            for label, expected in pairs.items():
                error = (jet.d(*label) - expected).abs().max()
                assert error < 1e-6 * max(1, jet.d(*label).abs().max()), label


@pytest.mark.parametrize(("order", "rate"), [(1, 4), (2, 8)])
def test_taylor_remainders_shrink_at_their_order(order, rate):
    poses = CUBE.poses(3)
    nu = torch.tensor([0.3, -0.2, 0.25, 0.02, -0.015, 0.3], dtype=F64)
    along = CUBE.render(poses, order, dtype=F64, directions=nu[None])
    steps = [2.0**-k for k in (3, 4, 5)]
    remainders = []
    for t in steps:
        moved = CUBE.render(poses.moved(t * nu), 0, dtype=F64)
        series = [sum(t**k / math.factorial(k) * jet.rows[k] for k in range(order + 1)) for jet in along]
        remainders.append([(m.value - s).flatten(1).norm(dim=1) for m, s in zip(moved, series, strict=True)])
    for finer, coarser in ((1, 0), (2, 1)):
        for kind in (0, 1):
            ratio = remainders[coarser][kind] / remainders[finer][kind]
            assert (ratio > 0.8 * rate).all() and (ratio < 1.25 * rate).all()


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    "basis",
    [None, Basis.full(2, 2), Basis.laplacian(2), Basis.full(2, 1), Basis.laplacian(2, weights={1: 0.5})],
    ids=str,
)
def test_directions_contract_the_full_rows(basis, shared):
    directions = torch.randn(*(() if shared else (3,)), 2, 6, dtype=F64)
    full = CUBE.sample(3, 20, dtype=F64)
    got = CUBE.sample(3, 20, dtype=F64, basis=basis, directions=directions)
    wanted = Basis.directional(2, 2) if basis is None else basis
    for jet, whole in zip(got, full, strict=True):
        assert jet.basis == wanted
        expected = contracted(whole, wanted, directions.expand(3, 2, 6))
        torch.testing.assert_close(jet.rows, expected, atol=1e-10 * float(expected.abs().max()), rtol=0)


def test_lower_orders_and_a_given_basis_are_parts_of_the_whole():
    image, target = CUBE.sample(3, dtype=F64)
    for order in (0, 1):
        for whole, part in zip((image, target), CUBE.sample(3, order=order, dtype=F64), strict=True):
            assert part.basis == Basis.full(6, order)
            torch.testing.assert_close(part.rows, whole.rows[: len(part.rows)], atol=1e-12, rtol=1e-12)
    part, _ = CUBE.sample(3, dtype=F64, basis=Basis.full((1, 4), 2))
    torch.testing.assert_close(part.d(1, 4), image.d(1, 4))
    laplacian, _ = CUBE.sample(3, dtype=F64, basis=Basis.laplacian(6))
    torch.testing.assert_close(laplacian.rows[-1], sum(image.d(i, i) for i in range(6)))


def test_single_precision_is_good_to_1e_5_of_each_row():
    single, double = CUBE.sample(40)[0].rows, CUBE.sample(40, dtype=F64)[0].rows
    assert single.dtype == torch.float32
    error = (single.double() - double).abs().amax((2, 3)) / double.abs().amax((2, 3))
    assert error.max() < 1e-5
    assert torch.equal(CUBE.sample(40)[1].rows, CUBE.sample(40, dtype=F64)[1].rows.float())


def test_single_precision_holds_for_edges_seen_end_on():
    tilt = torch.tensor([[0.0], [1e-4], [1e-3], [0.01], [0.1]]) * torch.tensor([1.0, 2, 0, 0, 0, 0])
    end_on = looking(turn(0, torch.tensor([0.6], dtype=F64)) @ turn(1, torch.tensor([math.pi / 2], dtype=F64)))
    poses = Poses(end_on.rotation.expand(5, 3, 3), torch.zeros(5, 3)).moved(tilt)
    single, double = CUBE.render(poses)[0].rows, CUBE.render(poses, dtype=F64)[0].rows
    error = (single.double() - double).abs().amax((2, 3)) / double.abs().amax((2, 3))
    assert error.max() < 1e-5


def test_a_sample_depends_on_its_number_alone():
    whole = CUBE.sample(9, dtype=F64)
    part = CUBE.sample(2, start=5, dtype=F64)
    for a, b in zip(whole, part, strict=True):
        torch.testing.assert_close(a.rows[:, 5:7], b.rows, atol=1e-10, rtol=0)
    far = Poses(torch.eye(3)[None], torch.tensor([[0.0, 0.0, 3.0]]))  # an image twice as large, in the same batch
    both = Poses(torch.cat([CUBE.poses(1).rotation, far.rotation]), torch.cat([CUBE.poses(1).centre, far.centre]))
    torch.testing.assert_close(CUBE.render(both, dtype=F64)[0].rows[:, :1], whole[0].rows[:, :1], atol=1e-9, rtol=0)


def test_poses_follow_the_sequence_and_the_ranges():
    poses = CUBE.poses(3000)
    assert torch.equal(CUBE.poses(10, start=2990).centre, poses.centre[2990:])
    assert poses.centre.abs().max() < 0.52
    angle = ((poses.rotation.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1).acos()
    assert angle.max() <= math.pi / 8 and angle.max() > 0.99 * math.pi / 8
    torch.testing.assert_close(poses.rotation @ poses.rotation.mT, torch.eye(3, dtype=F64).expand(3000, 3, 3))
    first, alpha = CUBE.poses(1), 1.0
    for _ in range(60):
        alpha = (1 + alpha) ** (1 / 7)
    x = [(0.5 + alpha**-j) % 1 for j in range(1, 7)]
    torch.testing.assert_close(first.centre[0], torch.tensor([1.04 * (c - 0.5) for c in x[:3]], dtype=F64))
    rho, theta, phi = 2 * x[4] - 1, math.pi * x[5], math.pi / 8 * (2 * x[3] - 1)
    radius = math.sqrt(1 - rho**2)
    axis = torch.tensor([radius * math.cos(theta), radius * math.sin(theta), rho], dtype=F64)
    torch.testing.assert_close(first.rotation[0] @ axis, axis)  # the axis stays
    side = torch.linalg.cross(axis, torch.tensor([1.0, 0, 0], dtype=F64))
    sine = torch.linalg.cross(side, first.rotation[0] @ side) @ axis / side.dot(side)
    assert sine.item() == pytest.approx(math.sin(phi), abs=1e-12)


def test_vertices_are_the_paper_s():
    torch.testing.assert_close(CUBE.vertices(Poses(torch.eye(3)[None], torch.zeros(1, 3)))[0, :3], FIRST.mT)
    poses = CUBE.poses(5)
    vertices = CUBE.vertices(poses)
    distances = torch.cdist(vertices, vertices).flatten(1).sort(1).values[:, 8:]
    assert ((distances[:, :24] - 0.4).abs() < 1e-12).all()  # twelve edges, counted twice
    torch.testing.assert_close(CUBE.outputs(poses), CUBE.sample(5, order=0, dtype=F64)[1].value)


def test_three_vertices_determine_the_cube():
    for cube in (CUBE, Cube(side=0.25)):
        poses = cube.poses(20).moved(torch.randn(20, 6))
        outputs = cube.outputs(poses)
        torch.testing.assert_close(cube.complete(outputs), cube.vertices(poses), atol=1e-12, rtol=0)
        found = cube.nearest(outputs)
        torch.testing.assert_close(found.rotation, poses.rotation, atol=1e-12, rtol=0)
        torch.testing.assert_close(found.centre, poses.centre, atol=1e-12, rtol=0)


def test_nearest_is_a_minimum():
    outputs = CUBE.outputs(CUBE.poses(5)) + 0.05 * torch.randn(5, 9, dtype=F64)
    found = CUBE.nearest(outputs)
    torch.testing.assert_close(torch.linalg.det(found.rotation), torch.ones(5, dtype=F64))
    least = (CUBE.outputs(found) - outputs).norm(dim=1)
    for nu in 1e-3 * torch.cat([torch.eye(6), -torch.eye(6)]):
        assert ((CUBE.outputs(found.moved(nu)) - outputs).norm(dim=1) > least).all()


def test_the_wireframe_outlines_the_image():
    outputs = CUBE.outputs(CUBE.poses(4))
    points, edges, visible = CUBE.wireframe(outputs)
    assert edges.shape == (12, 2) and (visible.sum(1) == 9).all()
    lengths = (CUBE.complete(outputs)[:, edges[:, 0]] - CUBE.complete(outputs)[:, edges[:, 1]]).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full((4, 12), 0.4, dtype=F64))
    image = CUBE.sample(4, order=0, dtype=F64)[0].value
    column, row = CUBE.raster.pixel(points).mean(1).unbind(1)
    inside = image[torch.arange(4), row.round().long(), column.round().long()]
    assert (inside > 0.1).all()
    lit = (image > 1e-3).nonzero()
    for k in range(4):
        pixels = lit[lit[:, 0] == k, 1:].flip(1)
        corners = CUBE.raster.pixel(points[k])
        assert (pixels.amin(0) > corners.amin(0) - 2.5).all() and (pixels.amax(0) < corners.amax(0) + 2.5).all()
    assert CUBE.wireframe(CUBE.outputs(VIEWS["one face"])).visible.sum() == 4


def test_the_cube_is_a_manifold():
    assert isinstance(CUBE, Manifold)
    assert CUBE.dimension == len(CUBE.degrees_of_freedom) == 6


def test_it_runs_where_it_is_told(device):
    image, target = CUBE.sample(3, device=device)
    assert image.rows.device.type == target.rows.device.type == device.type
    torch.testing.assert_close(image.rows.cpu(), CUBE.sample(3)[0].rows, atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(n=0), "n is an integer ≥ 1, got 0"),
        (dict(n=2, start=-1), "start is an integer ≥ 0, got -1"),
        (dict(n=2, order=3), "up to order 2, got order=3"),
        (dict(n=2, order=1, basis=Basis.full(6, 2)), "order=1 contradicts the basis, which is of order 2"),
        (dict(n=2, basis=Basis.full(6, 3)), "got a basis of order 3"),
        (dict(n=2, basis=Basis.full(7, 1)), "only 6 are given"),
        (dict(n=2, dtype=torch.float16), "got dtype=torch.float16"),
        (dict(n=2, directions=torch.zeros(2, 5)), r"got \[2, 5\]"),
        (dict(n=2, directions=torch.zeros(3, 2, 6)), r"got \[3, 2, 6\]"),
        (dict(n=2, directions=torch.zeros(6)), r"got \[6\]"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CUBE.sample(**arguments)


def test_bad_cubes_and_outputs_are_refused():
    wrong: list[dict[str, Any]] = [dict(side=0.0), dict(shift=-1.0), dict(angle=math.nan), dict(intensities=(1, 2, 3))]
    for bad in wrong:
        with pytest.raises(ValueError, match="got"):
            Cube(**bad)
    with pytest.raises(TypeError, match="render takes Poses, got Tensor; Cube.nearest makes them"):
        CUBE.render(torch.zeros(2, 9))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="requires a gradient"):
        CUBE.render(CUBE.poses(2).moved(torch.zeros(6, requires_grad=True)))
    with pytest.raises(ValueError, match=r"\[n, 9\].*got \[9\]"):
        CUBE.complete(torch.zeros(9))
    with pytest.raises(ValueError, match="outputs must be finite"):
        CUBE.nearest(torch.full((1, 9), torch.nan))
