"""What training and robustness code asks of a data manifold."""

from __future__ import annotations

from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from jetprop.jets.basis import Basis
from jetprop.jets.jet import Jet

__all__ = ["Charted", "Manifold", "Points"]


@runtime_checkable
class Manifold(Protocol):
    """A family of inputs with known targets, both differentiable along the same degrees of freedom.

    Implement it to train derivatives on your own generator: `sample` hands out inputs and targets as jets over one
    basis, row r of both being the same derivative. How the numbers come about (closed form, automatic
    differentiation, a simulator) is the generator's affair. `jetprop.manifolds.Cube` is the model to follow.
    """

    @property
    def dimension(self) -> int:
        """How many degrees of freedom the manifold has."""
        ...

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
        """Inputs and targets number `start`, …, `start + n - 1` of a fixed sequence.

        Args:
            n: how many samples.
            start: how many to skip. A sample depends on its number alone, never on `n` or on its neighbours.
            order: the highest derivative; None means that of `basis`, or 2.
            dtype: floating dtype of the rows.
            device: where the rows are made.
            basis: which derivatives; by default `Basis.full(dimension, order)`, or with `directions`
                `Basis.directional(D, order)`.
            directions: directions `[D, dimension]`, or `[n, D, dimension]` one set for each sample, in the space of
                the degrees of freedom: direction i of the basis is row i. By default the degrees of freedom themselves.

        Returns:
            The input jet, rows `[R, n, …]`, and the target jet, rows `[R, n, outputs]`, R the length of the basis.
        """
        ...


@runtime_checkable
class Points(Protocol):
    """n points of a manifold: a dataclass of float64 tensors whose leading axis is n, as `Poses`."""

    def __len__(self) -> int:
        """How many points, n."""
        ...

    def __getitem__(self, samples: slice | Tensor) -> Self:
        """Some of the points: a slice, indices or a mask."""
        ...

    def moved(self, nu: Tensor) -> Self:
        """These points after finite steps in the local coordinates, `nu` `[n, dimension]`; `moved(0)` changes nothing.

        The coordinates are those along which `Charted.render` differentiates, at ν = 0.
        """
        ...


@runtime_checkable
class Charted(Manifold, Protocol):
    """A manifold that can be rendered at any point, and knows how to step from one point to another.

    This is what projecting onto a manifold takes (`jetprop.Oracle`). Around every point there are local coordinates ν,
    which need not be global: rotations have none that are good everywhere.
    """

    def poses(self, n: int, start: int = 0, device: torch.device | str | None = None) -> Any:  # noqa: ANN401
        """Points number `start`, …, `start + n - 1` of the sequence that `sample` draws from: `Points`."""
        ...

    def render(
        self,
        poses: Any,  # noqa: ANN401
        order: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        basis: Basis | None = None,
        directions: Tensor | None = None,
    ) -> tuple[Jet, Jet]:
        """The input jet and the target jet at given points, as `Manifold.sample` describes them.

        Raises:
            ValueError: a point has no image.
        """
        ...
