"""Rigid motions: where a body is, and the derivatives of its points along its six degrees of freedom.

The motion of avrutskiy2023, (8), rotates about the body's centre and shifts it:

    x' = d + ν₄₋₆ + R_Z(ν₃) R_Y(ν₂) R_X(ν₁) (x - d).

At ν = 0 its derivatives are constant matrices. With G_i the generators of the rotations about x, y, z:
∂x'/∂ν_i = G_i (x - d), and ∂²x'/∂ν_i∂ν_j = G_j G_i (x - d) for i ≤ j ≤ 3, because the later axis stands on the left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from jetprop.jets.basis import Basis, Trace
from jetprop.jets.jet import Jet
from jetprop.manifolds.pairs import pairs_of
from jetprop.manifolds.requested import check_directions

__all__ = ["DEGREES_OF_FREEDOM", "Poses", "rigid_motion"]

DEGREES_OF_FREEDOM = ("rotation x", "rotation y", "rotation z", "translation x", "translation y", "translation z")
"""The order of ν in (8)."""


@dataclass(frozen=True, eq=False)
class Poses:
    """Where n copies of a body are: x = rotation · x₀ + centre for each point x₀ of the body at rest.

    Args:
        rotation: rotation matrices `[n, 3, 3]`, float64.
        centre: centres `[n, 3]`, in the units of the scene, float64, on the same device.

    Raises:
        ValueError: shapes do not fit, or a number is not finite.

    Example:
        >>> import torch
        >>> from jetprop.manifolds import Poses
        >>> turn = Poses.about(torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([torch.pi / 2]))
        >>> (turn.rotation @ torch.tensor([1.0, 0, 0], dtype=torch.float64)).round(decimals=3).tolist()
        [[0.0, 1.0, 0.0]]
    """

    rotation: Tensor
    centre: Tensor

    def __post_init__(self) -> None:
        rotation, centre = self.rotation.to(torch.float64), self.centre.to(torch.float64)
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "centre", centre)
        n = centre.shape[0] if centre.dim() else 0
        if n == 0 or rotation.shape != (n, 3, 3) or centre.shape != (n, 3):
            raise ValueError(
                f"poses are rotations [n, 3, 3] and centres [n, 3], n ≥ 1, got {list(rotation.shape)} and "
                f"{list(centre.shape)}"
            )
        if not bool(rotation.isfinite().all() & centre.isfinite().all()):
            bad = (~(rotation.isfinite().all((1, 2)) & centre.isfinite().all(1))).nonzero().flatten().tolist()
            raise ValueError(f"poses must be finite; these are not: {bad[:8]}{' …' if len(bad) > 8 else ''}")

    @classmethod
    def about(cls, axis: Tensor, angle: Tensor, centre: Tensor | None = None) -> Poses:
        """Turned by `angle` (radians, `[n]`) about the unit vector `axis` (`[n, 3]`), then put at `centre` (or 0).

        Rodrigues' formula, R = 1 + sin φ [r]ₓ + (1 - cos φ) [r]ₓ².
        """
        axis, angle = axis.to(torch.float64), angle.to(torch.float64)[:, None, None]
        cross = torch.einsum("ni,iab->nab", axis, _generators(axis.device))
        eye = torch.eye(3, dtype=torch.float64, device=axis.device)
        rotation = eye + angle.sin() * cross + (1 - angle.cos()) * (cross @ cross)
        return cls(rotation, torch.zeros_like(axis) if centre is None else centre)

    @classmethod
    def within(cls, x: Tensor, shift: float, angle: float) -> Poses:
        """Poses from points of the unit cube, `[n, 6]`, as the paper scales them.

        (x₁, x₂, x₃) give the centre, within ± `shift`; x₄ the angle φ, within ± `angle` (radians); x₅ and x₆ the axis
        (√(1-ρ²) cos θ, √(1-ρ²) sin θ, ρ) with ρ in ±1 and θ in [0, π].

        Source:
            avrutskiy2023, (4) and section 2.3.
        """
        symmetric = 2 * x - 1
        rho, theta = symmetric[:, 4], math.pi * x[:, 5]
        radius = (1 - rho * rho).sqrt()
        axis = torch.stack([radius * theta.cos(), radius * theta.sin(), rho], dim=1)
        return cls.about(axis, angle * symmetric[:, 3], shift * symmetric[:, :3])

    def __len__(self) -> int:
        return self.centre.shape[0]

    def __getitem__(self, samples: slice | Tensor) -> Poses:
        """Some of the poses."""
        return Poses(self.rotation[samples], self.centre[samples])

    def place(self, body: Tensor) -> Tensor:
        """The points of a body at rest, `[V, 3]`, in these poses: `[n, V, 3]`."""
        return body @ self.rotation.mT + self.centre[:, None]

    def moved(self, nu: Tensor) -> Poses:
        """These poses after the finite motion (8) by `nu`, `[n, 6]` or `[6]`: radians, then lengths."""
        nu = nu.to(self.centre).expand(len(self), 6)
        eye = torch.eye(3, dtype=torch.float64, device=nu.device)
        rotation = self.rotation
        for generator, angle in zip(_generators(nu.device), nu[:, :3].unbind(1), strict=True):
            angle = angle[:, None, None]
            turn = eye + angle.sin() * generator + (1 - angle.cos()) * (generator @ generator)
            rotation = turn @ rotation
        return Poses(rotation, self.centre + nu[:, 3:])


def rigid_motion(points: Tensor | Jet, centre: Tensor, basis: Basis, directions: Tensor | None = None) -> Jet:
    """The derivatives of points of a body along its degrees of freedom, at ν = 0, in closed form.

    Args:
        points: points of n bodies, `[n, V, 3]`; or of bodies that deform along the same directions while they move, as
            a jet over `basis`, rows `[R, n, V, 3]`: the point that (8) moves is then a function of ν itself.
        centre: the centres they turn about, `[n, 3]`.
        basis: which derivatives, up to order 2.
        directions: `[D, 6]` or `[n, D, 6]`; direction i of the basis is row i. None: the six degrees of freedom.

    Returns:
        A jet over `basis`, rows `[R, n, V, 3]`, float64; differentiable in all tensors given.

    Raises:
        ValueError: the basis goes beyond order 2 or is not that of `points`, or the directions do not fit it.

    Source:
        avrutskiy2023, (8) and (39). Second derivatives are those of (8) as composed there, which is what (38) yields
        for i ≤ j; contracted with given directions, Σ_ij D_i D'_j ∂²x'/∂ν_i∂ν_j.
    """
    pairs_of(basis)
    centre = centre.to(torch.float64)
    directions = check_directions(directions, basis, len(centre), DEGREES_OF_FREEDOM).to(centre.device)
    turns, shifts = _operators(basis, directions)
    shifts = shifts[:, None, None] if directions.dim() == 2 else shifts[:, :, None]
    if isinstance(points, Jet):
        if points.basis != basis:
            raise ValueError(
                f"the deformation is over {points.basis!r}, the motion over {basis!r}; they need one basis"
            )
        body = torch.cat([points.rows[:1] - centre[:, None], points.rows[1:]]).to(torch.float64)
        rows = _product(turns, body, basis) + shifts
    else:
        body = points.to(torch.float64) - centre[:, None]
        spread = torch.einsum("rab,nvb->rnva", turns, body) if directions.dim() == 2 else body @ turns.mT
        rows = spread + shifts
    return Jet(torch.cat([rows[:1] + centre[:, None], rows[1:]]), basis)


def _product(turns: Tensor, body: Tensor, basis: Basis) -> Tensor:
    """Leibniz' rule for a rotation, rows `[R, (n,) 3, 3]`, of points, rows `[R, n, V, 3]`."""
    rows = torch.zeros_like(body)
    for row, left, right, factor in basis.terms:
        rows[row] += factor * (body[right] @ turns[left].mT)
    return rows


def _operators(basis: Basis, directions: Tensor) -> tuple[Tensor, Tensor]:
    """For each row the matrix that acts on x - d, `[R, (n,) 3, 3]`, and the shift that is added, `[R, (n,) 3]`."""
    generators = _generators(directions.device)
    #  products[i, j] = ∂²R/∂ν_i∂ν_j, symmetric in i and j: the later axis on the left.
    later, earlier = ([pick(i, j) for i in range(3) for j in range(3)] for pick in (max, min))
    products = (generators[later] @ generators[earlier]).unflatten(0, (3, 3))
    turning, shifting = directions[..., :3], directions[..., 3:]
    still = torch.zeros_like(shifting[..., 0, :])
    turns, shifts = [], []
    for label in basis:
        if isinstance(label, Trace):
            turn = sum(w * _second(turning[..., i, :], turning[..., i, :], products) for i, w in label.weights)
        elif len(label) == 2:
            turn = _second(turning[..., label[0], :], turning[..., label[1], :], products)
        elif len(label) == 1:
            turn = torch.einsum("...i,iab->...ab", turning[..., label[0], :], generators)
        else:
            turn = torch.eye(3, dtype=torch.float64, device=directions.device).expand(*still.shape, 3)
        turns.append(turn)
        shifts.append(shifting[..., label[0], :] if not isinstance(label, Trace) and len(label) == 1 else still)
    return torch.stack(turns), torch.stack(shifts)  # type: ignore[arg-type]


def _second(left: Tensor, right: Tensor, products: Tensor) -> Tensor:
    return torch.einsum("...i,...j,ijab->...ab", left, right, products)


def _generators(device: torch.device) -> Tensor:
    """G_i with G_i x = e_i × x, `[3, 3, 3]`."""
    eye = torch.eye(3, dtype=torch.float64)
    return torch.stack([torch.linalg.cross(e.expand(3, 3), eye, dim=1).mT for e in eye]).to(device)
