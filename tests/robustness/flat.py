"""A flat manifold, on which everything is known in closed form: images a + Aν, targets c + Bν."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jetprop.jets import Basis, Jet

F64 = torch.float64


@dataclass(frozen=True, eq=False)
class Coordinates:
    nu: Tensor

    def __len__(self) -> int:
        return len(self.nu)

    def __getitem__(self, samples) -> Coordinates:
        return Coordinates(self.nu[samples])

    def moved(self, nu: Tensor) -> Coordinates:
        return Coordinates(self.nu + nu.to(self.nu))


class Flat:
    """d degrees of freedom, images of `shape`, `outputs` outputs, all drawn from a seed."""

    def __init__(self, d: int = 3, shape: tuple[int, ...] = (4, 5), outputs: int = 4, seed: int = 0) -> None:
        random = torch.Generator().manual_seed(seed)
        self.dimension, self.shape = d, shape
        self.tangents = torch.randn(d, *shape, generator=random, dtype=F64)
        self.origin = torch.randn(*shape, generator=random, dtype=F64)
        self.slopes = torch.randn(d, outputs, generator=random, dtype=F64)

    def poses(self, n: int, start: int = 0, device=None) -> Coordinates:
        random = torch.Generator().manual_seed(1)
        return Coordinates(torch.randn(start + n, self.dimension, generator=random, dtype=F64)[start:])

    def render(self, poses, order=None, *, dtype=torch.float32, basis=None, directions=None):
        assert directions is None
        basis = Basis.full(self.dimension, 2 if order is None else order) if basis is None else basis
        nu = Jet.seed(poses.nu, basis=basis)
        image = (nu @ self.tangents.flatten(1)).reshape(len(poses), *self.shape) + self.origin
        target = nu @ self.slopes
        return Jet(image.rows.to(dtype), basis), Jet(target.rows.to(dtype), basis)

    def sample(self, n, start=0, order=None, *, dtype=torch.float32, device=None, basis=None, directions=None):
        return self.render(self.poses(n, start), order, dtype=dtype, basis=basis, directions=directions)

    def answer(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """ν and the target of the nearest image, by least squares."""
        columns = self.tangents.flatten(1).mT
        nu = torch.linalg.lstsq(columns, (image - self.origin).flatten(1).mT).solution.mT
        return nu, nu @ self.slopes
