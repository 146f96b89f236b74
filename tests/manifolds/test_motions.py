import pytest
import torch

from jetprop.jets.basis import Basis
from jetprop.manifolds import Cube, Poses, rigid_motion
from jetprop.manifolds.pairs import pairs_of
from manifolds.independent import contracted, moved

CUBE = Cube()


def by_autograd(points, centre):
    """The 28 rows of every point under (8), by nested reverse mode: `[28, V, 3]`."""
    nu = torch.zeros(points.numel(), 6, dtype=torch.float64, requires_grad=True)
    coordinate = torch.arange(points.numel())
    value = moved(points.expand(points.numel(), -1, 3), centre, nu).flatten(1)[coordinate, coordinate]
    (first,) = torch.autograd.grad(value.sum(), nu, create_graph=True)
    second = [torch.autograd.grad(first[:, i].sum(), nu, retain_graph=True)[0] for i in range(6)]
    rows = [value, *first.unbind(1), *(second[i][:, j] for i in range(6) for j in range(i, 6))]
    return torch.stack(rows).detach().reshape(28, *points.shape)


def test_rows_are_the_derivatives_of_the_motion():
    poses = CUBE.poses(3, start=5)
    points = CUBE.vertices(poses)
    rows = rigid_motion(points, poses.centre, Basis.full(6, 2)).rows
    for k in range(3):
        torch.testing.assert_close(rows[:, k], by_autograd(points[k], poses.centre[k]), atol=1e-14, rtol=0)


def test_only_rotations_have_second_derivatives_of_vertices():
    jet = CUBE.sample(2, dtype=torch.float64)[1]
    still = [jet.d(i, j) for i in range(6) for j in range(max(i, 3), 6)]
    assert len(still) == 15 and not torch.stack(still).any()


def test_moved_is_the_motion():
    poses = CUBE.poses(4)
    nu = torch.randn(4, 6, dtype=torch.float64)
    points = CUBE.vertices(poses)
    expected = torch.stack([moved(p[None], c, v[None])[0] for p, c, v in zip(points, poses.centre, nu, strict=True)])
    torch.testing.assert_close(CUBE.vertices(poses.moved(nu)), expected, atol=1e-14, rtol=0)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    "basis",
    [Basis.directional(3, 2), Basis.full(3, 2), Basis.laplacian(3), Basis.laplacian(3, weights={0: 2.0, 2: -1.0}),
     Basis.full(2, 1), Basis.full((0, 2), 2), Basis.full(2, 2) | Basis.laplacian(3)],
    ids=str,
)  # fmt: skip
def test_directions_contract_the_full_rows(basis, shared):
    poses = CUBE.poses(4)
    directions = torch.randn(*(() if shared else (4,)), 3, 6, dtype=torch.float64)
    points = CUBE.vertices(poses)
    full = rigid_motion(points, poses.centre, Basis.full(6, 2))
    got = rigid_motion(points, poses.centre, basis, directions)
    torch.testing.assert_close(got.rows, contracted(full, basis, directions.expand(4, 3, 6)), atol=1e-13, rtol=0)


def test_it_is_differentiable():
    poses = CUBE.poses(1)
    points, centre, directions = CUBE.vertices(poses)[:, :2], poses.centre, torch.randn(2, 6, dtype=torch.float64)
    inputs = [t.clone().requires_grad_() for t in (points, centre, directions)]
    assert torch.autograd.gradcheck(lambda x, c, d: rigid_motion(x, c, Basis.full(2, 2), d).rows, inputs)


def test_bad_input_is_refused():
    poses = CUBE.poses(2)
    points, basis = CUBE.vertices(poses), Basis.full(6, 1)
    with pytest.raises(ValueError, match=r"\[D, 6\], shared, or \[n, D, 6\] with n = 2"):
        rigid_motion(points, poses.centre, basis, torch.zeros(3, 6, 6))
    with pytest.raises(ValueError, match=r"got \[6, 5\]"):
        rigid_motion(points, poses.centre, basis, torch.zeros(6, 5))
    with pytest.raises(ValueError, match="only 2 are given"):
        rigid_motion(points, poses.centre, basis, torch.zeros(2, 6))
    with pytest.raises(ValueError, match="directions must be finite"):
        rigid_motion(points, poses.centre, basis, torch.full((6, 6), torch.nan))
    with pytest.raises(ValueError, match=r"up to order 2, got a basis of order 3 .*truncated\(2\)"):
        pairs_of(Basis.full(2, 3))
    with pytest.raises(ValueError, match=r"these are not: \[1\]"):
        Poses(poses.rotation, torch.tensor([[0.0, 0, 0], [0, torch.inf, 0]]))
    with pytest.raises(ValueError, match=r"n ≥ 1, got \[0, 3, 3\] and \[0, 3\]"):
        poses[:0]
    with pytest.raises(ValueError, match=r"got \[2, 3, 3\] and \[3, 3\]"):
        Poses(poses.rotation, torch.zeros(3, 3))
