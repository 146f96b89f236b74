import pytest
import torch

from jetprop.jets.basis import Basis
from jetprop.jets.jet import Jet
from jetprop.manifolds import Camera, Cube, Poses, rigid_motion

TURNED = ((0.6, 0.0, 0.8), (0.0, 1.0, 0.0), (-0.8, 0.0, 0.6))


def test_the_paper_s_camera():
    x = torch.tensor([[[0.1, -0.2, 0.3]]], dtype=torch.float64)
    uv = Camera().project(Jet(x[None], Basis.full(0, 0))).value
    torch.testing.assert_close(uv, 5 * x[..., :2] / (x[..., 2:] - 5))
    assert Camera().position.tolist() == [0, 0, 5]


def test_first_derivatives_as_printed_in_appendix_b():
    poses = Cube().poses(5)
    moving = rigid_motion(Cube().vertices(poses), poses.centre, Basis.full(6, 1))
    got = Camera().project(moving)
    x, y, z = moving.value.unbind(-1)
    for i in range(6):
        dx, dy, dz = moving.d(i).unbind(-1)
        expected = torch.stack([5 / (z - 5) * d - 5 * c * dz / (z - 5) ** 2 for c, d in ((x, dx), (y, dy))], -1)
        torch.testing.assert_close(got.d(i), expected, atol=1e-14, rtol=0)


def test_rows_agree_with_autograd_for_any_camera():
    camera = Camera(3.0, (0.1, -0.05), TURNED, (0.2, -0.1, 4.0))
    basis = Basis.full(2, 2) | Basis.laplacian(2)
    points = torch.randn(len(basis), 2, 3, 3, dtype=torch.float64) * 0.3
    got = camera.project(Jet(points, basis))

    def along(t):  # the quadratic curve with these derivatives; its mixed terms are those of `points`
        i, j, ii, ij, jj = (points[row] for row in range(1, 6))
        x = points[0] + t[0] * i + t[1] * j + t[0] ** 2 / 2 * ii + t[0] * t[1] * ij + t[1] ** 2 / 2 * jj
        q = x @ camera.matrix[:, :3].mT + camera.matrix[:, 3]
        return q[..., :2] / q[..., 2:]

    zero = torch.zeros(2, dtype=torch.float64)
    first = torch.autograd.functional.jacobian(along, zero)
    second = torch.autograd.functional.jacobian(
        lambda t: torch.autograd.functional.jacobian(along, t, create_graph=True), zero
    )
    torch.testing.assert_close(got.d(0), first[..., 0])
    torch.testing.assert_close(got.d(0, 1), second[..., 0, 1])
    torch.testing.assert_close(got.d(1, 1), second[..., 1, 1])
    # the Trace row of the input is independent of its pure second derivatives: project is linear in it
    trace = len(basis) - 1
    pure = basis.row(0, 0), basis.row(1, 1)
    difference = points[trace] - points[pure[0]] - points[pure[1]]
    q = points[0] @ camera.matrix[:, :3].mT + camera.matrix[:, 3]
    d = difference @ camera.matrix[:, :3].mT
    extra = (d[..., :2] - got.value * d[..., 2:]) / q[..., 2:]
    torch.testing.assert_close(got.rows[trace], got.d(0, 0) + got.d(1, 1) + extra)


def test_it_is_differentiable():
    basis = Basis.full(1, 2)
    points = torch.randn(3, 1, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda rows: Camera().project(Jet(rows, basis)).rows, points)
    assert torch.autograd.gradcheck(Cube().complete, torch.randn(2, 9, dtype=torch.float64, requires_grad=True))


def test_the_position_is_where_rays_meet():
    camera = Camera(2.0, (0.3, 0.1), TURNED, (0.2, -0.1, 4.0))
    ray = torch.randn(3, dtype=torch.float64)
    points = (camera.position + torch.tensor([[1.0], [2.0], [5.0]]) * ray)[None]
    uv = camera.project(Jet(points[None], Basis.full(0, 0))).value[0]
    torch.testing.assert_close(uv, uv[:1].expand(3, 2))


def test_bad_cameras_and_bodies_are_refused():
    message = "focal length other than 0 and an invertible rotation"
    with pytest.raises(ValueError, match=message):
        Camera(focal=0.0)
    with pytest.raises(ValueError, match=message):
        Camera(rotation=((1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)))
    with pytest.raises(ValueError, match="finite"):
        Camera(translation=(0.0, 0.0, float("nan")))
    with pytest.raises(ValueError, match=r"got \[\[2\], \[3, 3\], \[2\]\]"):
        Camera(translation=(0.0, 0.0))  # type: ignore[arg-type]
    near = Poses(torch.eye(3)[None].expand(2, 3, 3), torch.tensor([[0.0, 0, 0], [0, 0, 4.9]]))
    with pytest.raises(ValueError, match=r"1 of 2 bodies touch the plane .* \(first: sample 1\)"):
        Cube().render(near)
