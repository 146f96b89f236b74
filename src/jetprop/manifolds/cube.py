"""The cube of avrutskiy2023: images of a cube in all positions, and its vertices, as jets along its six motions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from jetprop.jets.basis import Basis
from jetprop.jets.jet import Jet
from jetprop.manifolds.camera import Camera
from jetprop.manifolds.motions import DEGREES_OF_FREEDOM, Poses, rigid_motion
from jetprop.manifolds.polygons import Mesh, render_polygons
from jetprop.manifolds.raster import Raster
from jetprop.manifolds.requested import requested_basis
from jetprop.manifolds.sequences import r_sequence

__all__ = ["Cube", "Wireframe"]

#  Vertices 0, 1, 2 are v1, v2, v3, 3, 4, 5 the opposite ones, 6 is v1 + v2 + v3 and 7 is opposite to it. Faces run
#  counter-clockwise seen from outside, in the order of `_AXES`.
_MESH = Mesh(((0, 5, 1, 6), (3, 2, 6, 1), (1, 5, 7, 3), (3, 7, 4, 2), (0, 4, 7, 5), (0, 6, 2, 4)))
_AXES = ((1, 1, 0), (0, 1, 1), (-1, 0, -1), (-1, -1, 0), (0, -1, -1), (1, 0, 1))
"""Outward axes of the faces as combinations of v1, v2, v3; each has the length of the side."""


class Wireframe(NamedTuple):
    """A cube as lines, to be drawn over its image.

    Args:
        points: the eight vertices on the image plane, `[n, 8, 2]`, (u, v); `Raster.pixel` turns them into pixels.
        edges: the twelve edges as pairs of vertex numbers, `[12, 2]`.
        visible: which edges bound a face that is seen, `[n, 12]`.
    """

    points: Tensor
    edges: Tensor
    visible: Tensor


@dataclass(frozen=True)
class Cube:
    """Images of a cube and the coordinates of its first three vertices, with derivatives (a `Manifold`).

    At rest the vertices v1, v2, v3 are the columns of the paper's C₀. They are pairwise diagonals of faces, the other
    vertices are -v1, -v2, -v3 and ±(v1 + v2 + v3) about the centre, and v2 points to the camera. Degrees of freedom
    are those of (8): rotations about x, y, z through the centre, then translations along x, y, z.

    Args:
        side: length of an edge.
        intensities: of the faces with outward axes v1 + v2, v2 + v3, -(v1 + v3), which are seen at rest, and of the
            faces opposite to them, which the paper leaves open.
        shift: in `poses` each coordinate of the centre lies in ± this.
        angle: in `poses` the cube is turned by up to ± this, radians.
        camera: where from.
        raster: pixels and smoothing.

    Raises:
        ValueError: a size is not positive and finite, or there are not six intensities.

    Source:
        avrutskiy2023, sections 2.2, 2.3, 3.1, 4.1, appendices A and B.

    Example:
        >>> from jetprop.manifolds import Cube
        >>> images, targets = Cube().sample(4, order=2)
        >>> images.rows.shape, targets.rows.shape
        (torch.Size([28, 4, 41, 41]), torch.Size([28, 4, 9]))
    """

    side: float = 0.4
    intensities: tuple[float, ...] = (1, 2 / 3, 1 / 6, 1 / 3, 1 / 2, 5 / 6)
    shift: float = 0.52
    angle: float = math.pi / 8
    camera: Camera = field(default_factory=Camera)
    raster: Raster = field(default_factory=Raster)

    def __post_init__(self) -> None:
        for name in ("side", "shift", "angle"):
            value = getattr(self, name)
            if not (math.isfinite(value) and (value > 0 if name == "side" else value >= 0)):
                raise ValueError(f"{name} is a finite number {'> 0' if name == 'side' else '≥ 0'}, got {value!r}")
        if len(self.intensities) != 6 or not all(math.isfinite(i) for i in self.intensities):
            raise ValueError(f"intensities are six finite numbers, one for each face, got {self.intensities!r}")

    @property
    def dimension(self) -> int:
        """Six, see `degrees_of_freedom`."""
        return 6

    @property
    def degrees_of_freedom(self) -> tuple[str, ...]:
        """Names of the directions of `Basis.full(6, order)`."""
        return DEGREES_OF_FREEDOM

    def poses(self, n: int, start: int = 0, device: torch.device | str | None = None) -> Poses:
        """Poses number `start`, …, `start + n - 1` of the data set.

        They are `Poses.within` of the points of the R₆ sequence.

        Args:
            n: how many, ≥ 1. The paper trains on `poses(97020)` and tests on `poses(20160, start=97020)`.
            start: how many to skip.
            device: where they are made.

        Source:
            avrutskiy2023, (4) and section 2.3.
        """
        return Poses.within(r_sequence(n, 6, start, device), self.shift, self.angle)

    def vertices(self, poses: Poses) -> Tensor:
        """All eight vertices, `[n, 8, 3]`, in the order v1, v2, v3, -v1, -v2, -v3, v1 + v2 + v3 and its opposite."""
        return poses.place(self._at_rest().to(poses.centre.device))

    def outputs(self, poses: Poses) -> Tensor:
        """What a network has to say about a cube: (x₁, y₁, z₁, x₂, …, z₃), `[n, 9]`, float64."""
        return self.vertices(poses)[:, :3].flatten(1)

    def sample(
        self,
        n: int,
        start: int = 0,
        order: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        basis: Basis | None = None,
        directions: Tensor | None = None,
    ) -> tuple[Jet, Jet]:
        """Images and targets of `poses(n, start)`, see `render`.

        Returns:
            The image jet, rows `[R, n, 41, 41]`, and the target jet, rows `[R, n, 9]`, over one basis.
        """
        poses = self.poses(n, start, device)
        return self.render(poses, order, dtype=dtype, basis=basis, directions=directions)

    def render(
        self,
        poses: Poses,
        order: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        basis: Basis | None = None,
        directions: Tensor | None = None,
    ) -> tuple[Jet, Jet]:
        """Images of cubes in any poses, and their first three vertices, with derivatives in closed form.

        Faces that the camera sees are drawn, whatever the pose. Where a face is seen edge-on the image has a kink, and
        the derivatives are those of one side.

        Args:
            poses: where the cubes are. `nearest` makes poses of a network's outputs.
            order: 0, 1 or 2; None means that of `basis`, or 2.
            dtype: float32 or float64.
            basis: which derivatives; by default `Basis.full(6, order)`, or with `directions`
                `Basis.directional(D, order)`. Only these are rendered.
            directions: `[D, 6]`, or `[n, D, 6]` one set for each cube, in the space of the degrees of freedom
                (radians, then lengths); direction i of the basis is row i. The derivatives along a direction D are
                those of t ↦ T̂(tD), T̂ the motion (8).

        Returns:
            The image jet, rows `[R, n, 41, 41]` (`image[row, column]`: v along rows, u along columns), and the target
            jet, rows `[R, n, 9]`, over one basis. No autograd graph.

        Raises:
            ValueError: the order is above 2 or contradicts the basis, the directions do not fit, a cube reaches the
                plane of the camera, or a tensor requires a gradient.
            TypeError: `poses` are no `Poses`.

        Source:
            avrutskiy2023, sections 3.1 and 4.1, appendices A and B.
        """
        if not isinstance(poses, Poses):
            raise TypeError(
                f"render takes Poses, got {type(poses).__name__}; Cube.nearest makes them of outputs [n, 9]"
            )
        basis = requested_basis(order, basis, directions, self.dimension, highest=2)
        moving = rigid_motion(self.vertices(poses), poses.centre, basis, directions)
        targets = Jet(moving.rows[:, :, :3].flatten(2).to(dtype), basis)
        intensities = self.seen(poses) * torch.tensor(self.intensities, dtype=torch.float64, device=poses.centre.device)
        images = render_polygons(self.camera.project(moving), _MESH, intensities, self.raster, dtype)
        return images, targets

    def seen(self, poses: Poses) -> Tensor:
        """Which faces look towards the camera, `[n, 6]` (bool), in the order of `intensities`."""
        axes = torch.tensor(_AXES, dtype=torch.float64) @ self._at_rest()[:3]
        return self._towards_camera(axes.to(poses.rotation.device) @ poses.rotation.mT, poses.centre)

    def complete(self, outputs: Tensor) -> Tensor:
        """All eight vertices from the first three, `[n, 9]` → `[n, 8, 3]`; differentiable.

        v1, v2, v3 are corners of a regular tetrahedron around the centre, whose fourth corner is -(v1 + v2 + v3). The
        centre therefore lies on the axis of the triangle, side/(2√3) away from its plane; since
        det(v1, v2, v3) > 0 it lies at the foot *minus* that along (p2 - p1) × (p3 - p1). For outputs that are not
        exactly a cube's the first three vertices stay as given.

        Source:
            avrutskiy2023, section 2.2: "since they are ordered, the remaining ones can be easily reconstructed".
        """
        corners = _corners(outputs)
        p1, p2, p3 = corners.unbind(1)
        normal = torch.linalg.cross(p2 - p1, p3 - p1)
        height = self.side / (2 * math.sqrt(3))
        centre = corners.mean(1) - height * normal / normal.norm(dim=-1, keepdim=True)
        long = (corners - centre[:, None]).sum(1)
        last = torch.stack([centre + long, centre - long], dim=1)
        return torch.cat([corners, 2 * centre[:, None] - corners, last], dim=1)

    def nearest(self, outputs: Tensor) -> Poses:
        """The poses whose first three vertices are nearest to the outputs, `[n, 9]`, in the least-squares sense.

        Kabsch's algorithm: with the mean taken off, the rotation is U diag(1, 1, ±1) Vᵀ of the covariance's singular
        value decomposition, the sign making it proper.

        Raises:
            ValueError: the shape is wrong, or an output is not finite.
        """
        corners = _corners(outputs).to(torch.float64)
        if not bool(corners.isfinite().all()):
            raise ValueError("outputs must be finite to have a nearest cube; they hold inf or nan")
        rest = self._at_rest()[:3].to(corners.device)
        middle = corners.mean(1)
        covariance = (corners - middle[:, None]).mT @ (rest - rest.mean(0))
        left, _, right = torch.linalg.svd(covariance)
        sign = torch.linalg.det(left @ right).sign()
        left = torch.cat([left[..., :2], left[..., 2:] * sign[:, None, None]], dim=-1)
        rotation = left @ right
        return Poses(rotation, middle - rotation @ rest.mean(0))

    def wireframe(self, outputs: Tensor) -> Wireframe:
        """The cube that outputs `[n, 9]` describe, as lines on the image plane."""
        corners = self.complete(outputs.detach().to(torch.float64))
        flat = self.camera.project(Jet(corners[None], Basis.full(0, 0))).value
        centre = (corners[:, 6] + corners[:, 7]) / 2
        axes = torch.tensor(_AXES, dtype=torch.float64, device=corners.device) @ (corners[:, :3] - centre[:, None])
        visible = self._towards_camera(axes, centre).to(torch.float64) @ _MESH.incidence.abs().to(corners) > 0
        return Wireframe(flat, torch.tensor(_MESH.edges, device=corners.device), visible)

    def _towards_camera(self, axes: Tensor, centre: Tensor) -> Tensor:
        """Axes `[n, 6, 3]` have the length of the side, so the middle of a face is half an axis from the centre."""
        ray = self.camera.position.to(centre) - (centre[:, None] + axes / 2)
        return (axes * ray).sum(-1) > 0

    def _at_rest(self) -> Tensor:
        """The eight vertices of C₀, `[8, 3]`, float64."""
        columns = [
            [-1 / math.sqrt(6), 0.0, -1 / math.sqrt(6)],
            [-1 / math.sqrt(2), 0.0, 1 / math.sqrt(2)],
            [-1 / (2 * math.sqrt(3)), math.sqrt(3) / 2, -1 / (2 * math.sqrt(3))],
        ]
        first = self.side * torch.tensor(columns, dtype=torch.float64).mT
        last = first.sum(0, keepdim=True)
        return torch.cat([first, -first, last, -last])


def _corners(outputs: Tensor) -> Tensor:
    if outputs.dim() != 2 or outputs.shape[1] != 9:
        raise ValueError(f"outputs are [n, 9], (x1, y1, z1, x2, …, z3) for each cube; got {list(outputs.shape)}")
    return outputs.unflatten(1, (3, 3))
