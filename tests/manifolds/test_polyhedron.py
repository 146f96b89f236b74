import math
from dataclasses import replace
from itertools import combinations_with_replacement
from typing import Any

import pytest
import torch
from scipy.optimize import least_squares

from jetprop import Oracle
from jetprop.jets import Basis, Jet, along
from jetprop.manifolds import Charted, Cube, Mesh, Mode, Points, Polyhedron, Poses, ShapedPoses, rigid_motion
from jetprop.training import DataConfig, open_manifold

F64 = torch.float64
BOX = Polyhedron.box(width=(0.3, 0.5), height=(0.3, 0.5), depth=0.4)
EYE = torch.eye(3, dtype=F64)


def octahedron(**options):
    """Six vertices on the axes; the modes lengthen one axis and lean another."""
    rest = 0.35 * torch.cat([EYE, -EYE])
    mesh = Mesh(tuple((x, y, z) for x in (0, 3) for y in (1, 4) for z in (2, 5)))
    long, lean = torch.zeros(6, 3, dtype=F64), torch.zeros(6, 3, dtype=F64)
    long[0, 0], long[3, 0] = 1, -1
    lean[1, 0], lean[4, 0] = 1, -1
    modes = {"long": Mode(long, -0.05, 0.1), "lean": Mode(lean, -0.1, 0.1)}
    return Polyhedron(mesh, rest, modes, tuple(k / 8 for k in range(1, 9)), (0, 1, 2), **options)


BODIES = {"box": BOX, "octahedron": octahedron(angle=0.6)}


def test_a_box_of_equal_sides_is_the_cube():
    poses = BOX.poses(4)
    cubes = ShapedPoses(poses.rotation, poses.centre, torch.full((4, 2), 0.4, dtype=F64))
    image, _ = BOX.render(cubes, 2, dtype=F64)
    expected, _ = Cube().render(cubes.placed, 2, dtype=F64)
    assert image.basis == Basis.full(8, 2)
    for i, j in combinations_with_replacement(range(6), 2):
        row = expected.d(i, j)
        torch.testing.assert_close(image.d(i, j), row, atol=1e-10 * float(row.abs().max()), rtol=0)
    for k in range(6):
        torch.testing.assert_close(image.d(k), expected.d(k), atol=1e-9, rtol=0)
    torch.testing.assert_close(image.value, expected.value, atol=1e-12, rtol=0)


@pytest.mark.parametrize("body", BODIES)
def test_derivatives_agree_with_finite_differences_at_two_steps(body):
    """Central differences of values and of first derivatives: the error falls fourfold as the step is halved."""
    body, d = BODIES[body], BODIES[body].dimension
    poses = body.poses(2, start=6)
    jets = body.render(poses, 2, dtype=F64)
    for i in range(d):
        errors = []
        for step in (2e-3, 1e-3):
            nu = step * torch.eye(d, dtype=F64)[i]
            ahead, behind = (body.render(poses.moved(sign * nu), 1, dtype=F64) for sign in (1, -1))
            found = []
            for jet, plus, minus in zip(jets, ahead, behind, strict=True):
                difference = (plus.rows - minus.rows) / (2 * step)
                #  ∂_i at ν ≠ 0 is not ∂_j of the composed rotations where i > j among them: i comes first.
                pairs = [(i,), *((i, j) for j in range(d) if j >= i or i >= 3)]
                rows = [difference[0], *(difference[1 + j] for _, j in pairs[1:])]
                found.append([float((jet.d(*p) - row).abs().max()) for p, row in zip(pairs, rows, strict=True)])
            errors.append(found)
        coarse, fine = (torch.tensor(e[0]) for e in errors)
        assert (coarse / fine > 3.5).all() and (coarse / fine < 4.5).all()
        assert torch.tensor(errors[1][1]).max() < 1e-5  # targets: at most third derivatives of sines, times step²


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("shared", [True, False])
def test_directions_contract_the_full_rows(body, shared):
    body = BODIES[body]
    directions = torch.randn(*(() if shared else (3,)), 2, body.dimension, dtype=F64)
    for jet, whole in zip(
        body.sample(3, 9, dtype=F64, directions=directions), body.sample(3, 9, dtype=F64), strict=True
    ):
        expected = along(whole, directions)
        assert jet.basis == expected.basis
        torch.testing.assert_close(jet.rows, expected.rows, atol=1e-10 * float(expected.rows.abs().max()), rtol=0)
    laplacian, _ = body.sample(2, basis=Basis.laplacian(body.dimension), dtype=F64)
    whole, _ = body.sample(2, dtype=F64)
    expected = torch.stack([whole.d(i, i) for i in range(body.dimension)]).sum(0)
    torch.testing.assert_close(laplacian.rows[-1], expected, atol=1e-9 * float(expected.abs().max()), rtol=0)


def test_targets_are_vertices_and_lengths_are_the_shape():
    poses = BOX.poses(5)
    corners = BOX.sample(5, order=0, dtype=F64)[1].value.unflatten(1, (4, 3))
    lengths = (corners[:, 1:] - corners[:, :1]).norm(dim=-1)
    torch.testing.assert_close(lengths[:, :2], poses.shape)
    torch.testing.assert_close(lengths[:, 2], torch.full((5,), 0.4, dtype=F64))
    torch.testing.assert_close(corners, BOX.vertices(poses)[:, [0, 4, 2, 1]])
    torch.testing.assert_close(BOX.vertices(poses).mean(1), poses.centre)
    assert (poses.shape > 0.3).all() and (poses.shape < 0.5).all() and BOX.seen(poses).sum(1).max() == 3


def test_one_picture_for_a_body_twice_as_large_twice_as_far():
    """Why a free size is refused: points p and e + 2(p - e), e the camera, have one projection."""
    poses, eye = Poses.within(torch.full((1, 6), 0.4, dtype=F64), 0.1, 0.3), Cube().camera.position
    far = Poses(poses.rotation, eye + 2 * (poses.centre - eye))
    near_image, far_image = (Cube(side=side).render(p, 0, dtype=F64)[0].value for side, p in ((0.2, poses), (0.4, far)))
    torch.testing.assert_close(near_image, far_image, atol=1e-10, rtol=0)
    with pytest.raises(ValueError, match="change of size"):
        Polyhedron.box(width=(0.3, 0.5), height=(0.3, 0.5), depth=(0.3, 0.5))


def test_one_free_side_is_seen_everywhere_two_not_quite():
    assert not Oracle(*Polyhedron.box().sample(200, order=1, dtype=F64)).singular.any()
    flagged = Oracle(*BOX.sample(200, order=1, dtype=F64)).singular.double().mean()
    assert 0 < flagged < 0.25


def test_the_oracle_finds_what_least_squares_finds():
    body = Polyhedron.box()
    poses = body.poses(2, start=30)
    noisy = body.render(poses, 0, dtype=F64)[0].value + 0.02 * torch.randn(2, 41, 41, dtype=F64)
    found = Oracle.at(body, poses).project(noisy)
    assert found.valid.all()
    for k in range(2):

        def residual(nu, k=k):
            moved = poses[k : k + 1].moved(torch.from_numpy(nu))
            return (body.render(moved, 0, dtype=F64)[0].value[0] - noisy[k]).flatten().numpy()

        best = least_squares(residual, torch.zeros(7, dtype=F64).numpy(), jac="3-point", xtol=1e-12, gtol=1e-10)
        target = body.render(poses[k : k + 1].moved(torch.from_numpy(best.x)), 0, dtype=F64)[1].value[0]
        torch.testing.assert_close(found.target[k], target, atol=1e-5, rtol=0)


def test_it_is_a_manifold_that_can_be_rendered_anywhere(device):
    body = BODIES["octahedron"]
    assert isinstance(body, Charted) and isinstance(body.poses(2), Points)
    assert body.degrees_of_freedom[6:] == ("long", "lean") and body.dimension == 8
    image, target = body.sample(2, device=device)
    assert image.rows.shape == (45, 2, 41, 41) and target.device.type == device.type
    whole, part = body.sample(4, dtype=F64)[0], body.sample(2, start=2, dtype=F64)[0]
    torch.testing.assert_close(whole.rows[:, 2:], part.rows, atol=1e-9, rtol=0)


def test_recipes_take_it_by_name():
    options = {"width": [0.3, 0.5], "depth": 0.35}
    body = open_manifold(DataConfig(manifold="jetprop.manifolds:Polyhedron.box", options=options))
    assert isinstance(body, Polyhedron) and list(body.modes) == ["width"]


def test_bodies_that_are_not_convex_are_refused():
    poses = BOX.poses(2)
    inside_out = ShapedPoses(poses.rotation, poses.centre, torch.tensor([[0.4, 0.4], [0.0, 0.4]]))
    with pytest.raises(ValueError, match=r"1 of 2 bodies are not convex .* sample 1"):
        BOX.render(inside_out)
    bent = BOX.modes["width"].velocities.clone()
    bent[0] += torch.tensor([0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="not convex with plane faces"):
        replace(BOX, modes={"bent": Mode(bent, 0.3, 0.5), "height": BOX.modes["height"]})


def test_bad_bodies_and_calls_are_refused():
    turn = torch.linalg.cross(EYE[0].expand(6, 3), octahedron().rest)
    wrong: list[tuple[dict[str, Any], str]] = [
        (dict(rest=torch.zeros(5, 3)), r"vertices \[6, 3\]"),
        (dict(modes={}), "at least one mode"),
        (dict(modes={"a": Mode(torch.zeros(5, 3), 0, 1)}), r"'a' moves vertices \[6, 3\], got \[5, 3\]"),
        (dict(modes={"a": Mode(octahedron().modes["long"].velocities, 1, 1)}), "not empty, got 1 to 1"),
        (dict(modes={"a": Mode(turn, -0.1, 0.1)}), "a rotation"),
        (dict(modes={"a": Mode(torch.zeros(6, 3), 0, 1)}), "nothing at all"),
        (dict(intensities=(1.0,)), "8 finite numbers"),
        (dict(corners=(6,)), "numbers of vertices, 0 to 5"),
        (dict(shift=math.nan), "shift is a finite number"),
    ]
    for options, message in wrong:
        with pytest.raises(ValueError, match=message):
            replace(octahedron(), **options)
    with pytest.raises(TypeError, match="takes ShapedPoses, got Poses"):
        BOX.render(BOX.poses(2).placed)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\[n, 2\]; got \[2, 1\]"):
        BOX.render(Polyhedron.box().poses(2))
    with pytest.raises(ValueError, match=r"finite coefficients \[2, modes\]"):
        ShapedPoses(EYE.expand(2, 3, 3), torch.zeros(2, 3), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="up to order 2, got order=3"):
        BOX.sample(2, order=3)
    with pytest.raises(ValueError, match="they need one basis"):
        rigid_motion(Jet.constant(torch.zeros(1, 4, 3), Basis.full(6, 1)), torch.zeros(1, 3), Basis.full(6, 2))
