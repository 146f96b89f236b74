"""A manifold whose oracle is known in closed form: the sphere of radius R, O(𝓕) = 𝓕/‖𝓕‖."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jetprop import Basis, Jet
from jetprop.manifolds import r_sequence

F64 = torch.float64


@dataclass(frozen=True, eq=False)
class Points:
    """Unit vectors `[n, 3]`."""

    unit: Tensor

    def __len__(self) -> int:
        return len(self.unit)

    def __getitem__(self, samples: slice | Tensor) -> Points:
        return Points(self.unit[samples])

    def moved(self, nu: Tensor) -> Points:
        return Points(self.along(nu.expand(len(self), 2)))

    def along(self, nu):
        """The point at local coordinates: central projection from the tangent plane, whose axes are skew."""
        first = torch.linalg.cross(self.unit, torch.tensor([[0.3, -0.5, 0.8]], dtype=F64).expand_as(self.unit))
        second = 0.5 * first + 3 * torch.linalg.cross(self.unit, first)
        moved = nu[:, :1] * first + nu[:, 1:] * second + self.unit
        return moved / (moved * moved).sum(-1, keepdim=True).sqrt()


@dataclass(frozen=True)
class Sphere:
    """A `Charted` manifold: images R x, targets x; where x₃ < `edge` the image is black."""

    radius: float = 2.0
    edge: float = -2.0
    dimension: int = 2

    def poses(self, n, start=0, device=None):
        x = r_sequence(n, 3, start) - 0.5
        return Points(x / x.norm(dim=1, keepdim=True))

    def sample(self, n, start=0, order=None, *, dtype=torch.float32, device=None, basis=None, directions=None):
        return self.render(self.poses(n, start), order, dtype=dtype)

    def render(self, poses, order=None, *, dtype=torch.float32, basis=None, directions=None):
        if bool((poses.unit[:, 2] < -0.999).any()):
            raise ValueError("the south pole has no image")
        target = poses.along(Jet.seed(torch.zeros(len(poses), 2, dtype=F64), basis=Basis.full(2, order or 0)))
        shown = (poses.unit[:, 2:] >= self.edge).to(F64)
        return Jet((target.rows * self.radius * shown).to(dtype), target.basis), Jet(
            target.rows.to(dtype), target.basis
        )


def nearest(inputs: Tensor) -> Tensor:
    """The oracle."""
    return inputs / inputs.norm(dim=-1, keepdim=True)
