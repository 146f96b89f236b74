"""A pinhole camera, and how derivatives pass through its projection."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from jetprop.jets.jet import Jet
from jetprop.manifolds.pairs import pairs_of

__all__ = ["Camera"]

Vector3 = tuple[float, float, float]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, (47) of avrutskiy2023.

    (u, v, 1) ∝ P (x, y, z, 1) with P = [[f, 0, c_x], [0, f, c_y], [0, 0, 1]] [R | t]. The defaults are the paper's:
    u = 5 x / (z - 5). With t_z = -5 the camera sits at z = +5 and looks down the z axis, and because the depth z - 5 is
    negative the image is turned upside down; that is how the paper's images are.

    Args:
        focal: the focal length f, not zero.
        origin: (c_x, c_y), the image of the optical axis.
        rotation: R, three rows; any invertible matrix.
        translation: t. (The paper calls it the position of the camera; that is `-R⁻¹ t`, see `position`.)

    Raises:
        ValueError: a number is not finite, f is zero, or R is singular.

    Example:
        >>> from jetprop.manifolds import Camera
        >>> Camera().position.tolist()
        [0.0, 0.0, 5.0]
    """

    focal: float = 5.0
    origin: tuple[float, float] = (0.0, 0.0)
    rotation: tuple[Vector3, Vector3, Vector3] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    translation: Vector3 = (0.0, 0.0, -5.0)

    def __post_init__(self) -> None:
        shapes = [list(torch.tensor(part).shape) for part in (self.origin, self.rotation, self.translation)]
        if shapes != [[2], [3, 3], [3]]:
            raise ValueError(f"a camera needs origin [2], rotation [3, 3] and translation [3], got {shapes}")
        if not bool(self.matrix.isfinite().all()):
            raise ValueError(f"a camera needs finite numbers, got {self}")
        if self.focal == 0 or float(torch.linalg.det(self._rotation).abs()) < 1e-12:
            raise ValueError(f"a camera needs a focal length other than 0 and an invertible rotation, got {self}")

    @cached_property
    def matrix(self) -> Tensor:
        """P, `[3, 4]`, float64."""
        (cx, cy), f = self.origin, self.focal
        inner = torch.tensor([[f, 0, cx], [0, f, cy], [0, 0, 1]], dtype=torch.float64)
        return inner @ torch.cat([self._rotation, self._translation[:, None]], dim=1)

    @cached_property
    def position(self) -> Tensor:
        """The point through which all rays pass, -R⁻¹ t, `[3]`, float64."""
        return -torch.linalg.solve(self._rotation, self._translation) + 0.0  # no -0.0

    def project(self, points: Jet) -> Jet:
        """Project points with their derivatives.

        With q = P (x, 1) and u = q_xy / q_z, Leibniz' rule for q_xy = u q_z gives u row by row:
        u_r = (q_r - Σ_{(s,t) ≠ (r,0)} c^r_st u_s q_z,t) / q_z.

        Args:
            points: a jet of order ≤ 2 with rows `[R, n, V, 3]`, in scene units.

        Returns:
            A jet over the same basis, rows `[R, n, V, 2]`: (u, v) on the image plane, float64; differentiable.

        Raises:
            ValueError: a body reaches the plane of the camera, where the projection is undefined.

        Source:
            avrutskiy2023, appendix B, which prints the first derivatives for the default camera.
        """
        pairs = pairs_of(points.basis)
        matrix = self.matrix.to(points.rows.device)
        q = points.rows.to(torch.float64) @ matrix[:, :3].mT
        q = torch.cat([q[:1] + matrix[:, 3], q[1:]])
        plane, depth = q[..., :2], q[..., 2:]
        behind = ~(depth[0].amin((-2, -1)) * depth[0].amax((-2, -1)) > 0)
        if bool(behind.any()):
            raise ValueError(
                f"{int(behind.sum())} of {behind.numel()} bodies touch the plane through the camera at "
                f"{self.position.tolist()} (first: sample {int(behind.nonzero()[0])}), where the projection is "
                f"undefined; move them away from it, or move the camera"
            )
        inverse = 1 / depth[:1]
        value = plane[:1] * inverse
        rows = (plane[1:] - value * depth[1:]) * inverse
        if pairs.second:
            first = rows[: pairs.first]
            (u, u_), (z, z_) = pairs.take(first), pairs.take(depth[1 : 1 + pairs.first])
            rows = torch.cat([first, rows[pairs.first :] - pairs.sum(u * z_ + u_ * z) * inverse])
        return Jet(torch.cat([value, rows]), points.basis)

    @cached_property
    def _rotation(self) -> Tensor:
        return torch.tensor(self.rotation, dtype=torch.float64)

    @cached_property
    def _translation(self) -> Tensor:
        return torch.tensor(self.translation, dtype=torch.float64)
