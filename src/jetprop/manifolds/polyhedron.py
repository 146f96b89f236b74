"""Convex bodies that move and deform: images, chosen vertices, and their derivatives along both, in closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import torch
from torch import Tensor

from jetprop.jets.basis import Basis
from jetprop.jets.jet import Jet
from jetprop.manifolds.camera import Camera
from jetprop.manifolds.cube import Cube
from jetprop.manifolds.motions import DEGREES_OF_FREEDOM, Poses, rigid_motion
from jetprop.manifolds.polygons import Mesh, render_polygons
from jetprop.manifolds.raster import Raster
from jetprop.manifolds.requested import check_directions, requested_basis
from jetprop.manifolds.sequences import r_sequence

__all__ = ["Mode", "Polyhedron", "ShapedPoses"]

FLAT = 1e-9
"""How far vertices may lie off the plane of their face, as a part of the body's size."""


class Mode(NamedTuple):
    """One way in which a body deforms: its vertices move by the coefficient times `velocities`.

    Args:
        velocities: `[V, 3]`, in the frame of the body, per unit of the coefficient.
        lowest: least coefficient in `Polyhedron.poses`.
        highest: largest one.
    """

    velocities: Tensor
    lowest: float
    highest: float


@dataclass(frozen=True, eq=False)
class ShapedPoses:
    """Where n bodies are and how they are deformed.

    Args:
        rotation: `[n, 3, 3]`, as of `Poses`.
        centre: `[n, 3]`.
        shape: coefficients of the modes, `[n, M]`, float64.

    Raises:
        ValueError: shapes do not fit, or a number is not finite.
    """

    rotation: Tensor
    centre: Tensor
    shape: Tensor

    def __post_init__(self) -> None:
        placed = Poses(self.rotation, self.centre)
        shape = self.shape.to(placed.centre)
        for name, value in (("rotation", placed.rotation), ("centre", placed.centre), ("shape", shape)):
            object.__setattr__(self, name, value)
        if shape.dim() != 2 or len(shape) != len(placed) or not bool(shape.isfinite().all()):
            raise ValueError(f"shapes are finite coefficients [{len(placed)}, modes], got {list(shape.shape)}")

    @property
    def placed(self) -> Poses:
        """Rotation and centre alone."""
        return Poses(self.rotation, self.centre)

    def __len__(self) -> int:
        return len(self.centre)

    def __getitem__(self, samples: slice | Tensor) -> ShapedPoses:
        """Some of the poses."""
        return ShapedPoses(self.rotation[samples], self.centre[samples], self.shape[samples])

    def moved(self, nu: Tensor) -> ShapedPoses:
        """After the motion (8) by `nu[…, :6]`, with `nu[…, 6:]` added to the shape; `[n, 6 + M]` or `[6 + M]`."""
        nu = nu.to(self.centre).expand(len(self), 6 + self.shape.shape[1])
        placed = self.placed.moved(nu[:, :6])
        return ShapedPoses(placed.rotation, placed.centre, self.shape + nu[:, 6:])


@dataclass(frozen=True, eq=False)
class Polyhedron:
    """Images of a convex body in all positions and shapes, and some of its vertices (a `Charted` manifold).

    In its own frame the body's vertices are rest + Σ_m shape_m · mode_m. Degrees of freedom are the six motions of
    `Cube`, in the same order, then the coefficients of the modes:

        x' = d + ν₄₋₆ + R_Z(ν₃) R_Y(ν₂) R_X(ν₁) R (rest + Σ_m (shape_m + ν_6+m) mode_m).

    A body and the same body twice as large, twice as far from the camera, have one image. No combination of modes may
    therefore be a change of size (nor a rotation or a shift); that is refused.

    An image holds at most two numbers for each vertex that is seen, which bounds what can be told from it.
    `Polyhedron.box` is a body of this kind.

    Args:
        mesh: the faces, planar in every shape.
        rest: vertices about the centre that the body turns about, `[V, 3]`.
        modes: name and `Mode` of each deformation, in order.
        intensities: of the faces.
        corners: numbers of the vertices that are the target, in order.
        shift: in `poses` each coordinate of the centre lies in ± this.
        angle: in `poses` the body is turned by up to ± this, radians.
        camera: where from.
        raster: pixels and smoothing.

    Raises:
        ValueError: sizes do not fit, a range is empty, the modes contain a change of size or a rigid motion, or the
            body is not convex in the middle of its ranges.

    Example:
        >>> from jetprop.manifolds import Polyhedron
        >>> image, target = Polyhedron.box().sample(4, order=2)
        >>> image.rows.shape, target.rows.shape
        (torch.Size([36, 4, 41, 41]), torch.Size([36, 4, 12]))
    """

    mesh: Mesh
    rest: Tensor
    modes: Mapping[str, Mode]
    intensities: tuple[float, ...]
    corners: tuple[int, ...]
    shift: float = 0.52
    angle: float = math.pi / 8
    camera: Camera = field(default_factory=Camera)
    raster: Raster = field(default_factory=Raster)

    def __post_init__(self) -> None:
        _check(self)
        middle = torch.tensor([[(mode.lowest + mode.highest) / 2 for mode in self.modes.values()]], dtype=torch.float64)
        self._outward(self._body(middle))

    @classmethod
    def box(
        cls,
        width: float | tuple[float, float] = 0.4,
        height: float | tuple[float, float] = 0.4,
        depth: float | tuple[float, float] = (0.3, 0.5),
        intensities: tuple[float, ...] = (1, 2 / 3, 1 / 6, 1 / 3, 1 / 2, 5 / 6),
        shift: float = 0.52,
        angle: float = math.pi / 8,
        camera: Camera | None = None,
        raster: Raster | None = None,
    ) -> Self:
        """A box, some of whose sides are to be found; at least one is known, which tells near from large.

        At rest its edges lie as those of `Cube`, whose image it has where all three sides are equal. The target is one
        vertex and its three neighbours, `[n, 12]`.

        With two sides unknown the image says little about some joint motion in one pose of eight (the condition is
        above 10³, where an oracle flags it); with one unknown, in none.

        Args:
            width: the side along the cube's axis v1 + v2; its range if it is a degree of freedom.
            height: along v2 + v3.
            depth: along -(v1 + v3).
            intensities: of the faces towards these axes and of the opposite ones, as of `Cube`.
            shift: see the class.
            angle: see the class.
            camera: see the class.
            raster: see the class.

        Raises:
            ValueError: as the class; all three sides are ranges.
        """
        v1, v2, v3 = Cube(side=1.0).vertices(Poses(torch.eye(3)[None], torch.zeros(1, 3)))[0, :3]
        signs = torch.tensor([[x, y, z] for x in (1, -1) for y in (1, -1) for z in (1, -1)], dtype=torch.float64)
        rest, modes = torch.zeros(8, 3, dtype=torch.float64), {}
        for k, (name, side, axis) in enumerate(
            (("width", width, v1 + v2), ("height", height, v2 + v3), ("depth", depth, -(v1 + v3)))
        ):
            half = signs[:, k : k + 1] / 2 * axis
            if isinstance(side, int | float):
                rest = rest + side * half
            else:
                modes[name] = Mode(half, *side)
        #  Vertex number 4x + 2y + z, a bit 1 where the sign is -.
        mesh = Mesh(((0, 1, 3, 2), (0, 1, 5, 4), (0, 2, 6, 4), (4, 5, 7, 6), (2, 3, 7, 6), (1, 3, 7, 5)))
        return cls(
            mesh, rest, modes, intensities, (0, 4, 2, 1), shift, angle, camera or Camera(), raster or Raster()
        )  # fmt: skip

    @property
    def dimension(self) -> int:
        """Six, and one for each mode."""
        return 6 + len(self.modes)

    @property
    def degrees_of_freedom(self) -> tuple[str, ...]:
        """Names of the directions of `Basis.full(dimension, order)`."""
        return (*DEGREES_OF_FREEDOM, *self.modes)

    def poses(self, n: int, start: int = 0, device: torch.device | str | None = None) -> ShapedPoses:
        """Poses number `start`, …: points of the R_d sequence, six coordinates as of `Cube`, the rest the shape."""
        x = r_sequence(n, self.dimension, start, device)
        low, high = x.new_tensor([(mode.lowest, mode.highest) for mode in self.modes.values()]).unbind(1)
        placed = Poses.within(x[:, :6], self.shift, self.angle)
        return ShapedPoses(placed.rotation, placed.centre, low + (high - low) * x[:, 6:])

    def vertices(self, poses: ShapedPoses) -> Tensor:
        """All vertices, `[n, V, 3]`, in scene units."""
        return self._body(poses.shape) @ poses.rotation.mT + poses.centre[:, None]

    def seen(self, poses: ShapedPoses) -> Tensor:
        """Which faces look towards the camera, `[n, faces]` (bool).

        Raises:
            ValueError: a body is not convex.
        """
        normal = self._outward(self._body(poses.shape)) @ poses.rotation.mT
        corner = self.vertices(poses)[:, [face[0] for face in self.mesh.faces]]
        return (normal * (self.camera.position.to(corner) - corner)).sum(-1) > 0

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
        """Images and targets of `poses(n, start)`, see `render`."""
        poses = self.poses(n, start, device)
        return self.render(poses, order, dtype=dtype, basis=basis, directions=directions)

    def render(
        self,
        poses: ShapedPoses,
        order: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        basis: Basis | None = None,
        directions: Tensor | None = None,
    ) -> tuple[Jet, Jet]:
        """Images of bodies in any poses and shapes, and the target's vertices, with derivatives in closed form.

        Args:
            poses: where the bodies are, and their shapes.
            order: 0, 1 or 2; None means that of `basis`, or 2.
            dtype: float32 or float64.
            basis: which derivatives, as of `Cube.render`, over `dimension` degrees of freedom.
            directions: `[D, dimension]` or `[n, D, dimension]`.

        Returns:
            The image jet, rows `[R, n, rows, columns]`, and the target jet, rows `[R, n, 3 · corners]`.

        Raises:
            ValueError: the order is above 2 or contradicts the basis, the directions or shapes do not fit, a body is
                not convex or reaches the plane of the camera, or a tensor requires a gradient.
            TypeError: `poses` are no `ShapedPoses`.
        """
        if not isinstance(poses, ShapedPoses):
            raise TypeError(f"render takes ShapedPoses, got {type(poses).__name__}")
        basis = requested_basis(order, basis, directions, self.dimension, highest=2)
        along = check_directions(directions, basis, len(poses), self.degrees_of_freedom).to(poses.centre.device)
        moving = self._moving(poses, basis, along)
        targets = Jet(moving.rows[:, :, list(self.corners)].flatten(2).to(dtype), basis)
        shown = self.seen(poses) * torch.tensor(self.intensities, dtype=torch.float64, device=along.device)
        return render_polygons(self.camera.project(moving), self.mesh, shown, self.raster, dtype), targets

    def _moving(self, poses: ShapedPoses, basis: Basis, along: Tensor) -> Jet:
        """The jet of all vertices: those of the deforming body in the scene's frame, and then its motion."""
        turned = torch.einsum("nab,mvb->nmva", poses.rotation, self._velocities.to(along))
        spread = along[..., 6:].expand(len(poses), -1, -1)
        first = torch.einsum("ndm,nmva->dnva", spread[:, list(basis.directions)], turned)
        rows = first.new_zeros(len(basis), *first.shape[1:])
        rows[0] = self.vertices(poses)
        if basis.order:
            rows[1 : 1 + len(first)] = first
        return rigid_motion(Jet(rows, basis), poses.centre, basis, along[..., :6])

    def _body(self, shape: Tensor) -> Tensor:
        """Vertices in the frame of the body, `[n, M]` → `[n, V, 3]`."""
        if shape.shape[1] != len(self.modes):
            raise ValueError(
                f"shapes are coefficients of {', '.join(self.modes)}, [n, {len(self.modes)}]; got {list(shape.shape)}"
            )
        return self.rest.to(shape) + torch.einsum("nm,mva->nva", shape, self._velocities.to(shape))

    def _outward(self, body: Tensor) -> Tensor:
        """Outward normals of the faces of bodies `[n, V, 3]`, `[n, F, 3]`, refused where a body is not convex."""
        a, b, c = (body[:, [face[k] for face in self.mesh.faces]] for k in range(3))
        normal = torch.linalg.cross(b - a, c - b)
        normal = normal / normal.norm(dim=-1, keepdim=True)
        height = torch.einsum("nfa,nva->nfv", normal, body) - (normal * a).sum(-1, keepdim=True)
        side = -height.sum(-1, keepdim=True).sign()
        height, size = side * height, body.flatten(1).abs().amax(1)[:, None, None]
        own = torch.zeros(len(self.mesh.faces), body.shape[1], dtype=torch.bool, device=body.device)
        for f, face in enumerate(self.mesh.faces):
            own[f, list(face)] = True
        wrong = ~torch.where(own, height.abs() <= FLAT * size, height < -FLAT * size).all(2).all(1)
        if bool(wrong.any()):
            raise ValueError(
                f"{int(wrong.sum())} of {len(wrong)} bodies are not convex with plane faces (first: sample "
                f"{int(wrong.nonzero()[0])}); keep the shapes within their ranges, or choose other modes"
            )
        return side * normal

    @property
    def _velocities(self) -> Tensor:
        return torch.stack([mode.velocities.to(torch.float64) for mode in self.modes.values()])


def _check(body: Polyhedron) -> None:
    vertices, names = body.mesh.vertex_count, ", ".join(body.modes)
    if body.rest.shape != (vertices, 3) or not body.modes:
        raise ValueError(
            f"a body has vertices [{vertices}, 3] and at least one mode, got {list(body.rest.shape)}, {names}"
        )
    for name, mode in body.modes.items():
        if mode.velocities.shape != (vertices, 3):
            raise ValueError(f"mode {name!r} moves vertices [{vertices}, 3], got {list(mode.velocities.shape)}")
        if not (math.isfinite(mode.lowest) and math.isfinite(mode.highest) and mode.lowest < mode.highest):
            raise ValueError(f"the range of {name!r} is finite and not empty, got {mode.lowest!r} to {mode.highest!r}")
    if len(body.intensities) != len(body.mesh.faces) or not all(math.isfinite(i) for i in body.intensities):
        raise ValueError(f"intensities are {len(body.mesh.faces)} finite numbers, one a face, got {body.intensities!r}")
    if not body.corners or not all(0 <= corner < vertices for corner in body.corners):
        raise ValueError(f"corners are numbers of vertices, 0 to {vertices - 1}, at least one; got {body.corners!r}")
    for name in ("shift", "angle"):
        value = getattr(body, name)
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is a finite number ≥ 0, got {value!r}")
    middle = torch.tensor([[(mode.lowest + mode.highest) / 2 for mode in body.modes.values()]], dtype=torch.float64)
    shape = body._body(middle)[0]
    eye = torch.eye(3, dtype=torch.float64)
    still = [*eye[:, None].expand(3, vertices, 3), *torch.linalg.cross(eye[:, None], shape[None]), shape]
    fields = torch.stack([*still, *body._velocities]).flatten(1)
    fields = fields / fields.norm(dim=1, keepdim=True).clamp_min(1e-12)
    if len(fields) > fields.shape[1] or not bool(torch.linalg.svdvals(fields)[-1] > 1e-6):
        raise ValueError(
            f"some combination of the modes ({names}) is a change of size, a rotation or a shift, or nothing at all: "
            f"the image cannot tell it from moving the body. Leave one mode out, or fix one length"
        )
