"""Which derivatives a caller of `render` asks for: the basis, and the directions that it numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jetprop.jets.basis import Basis

__all__ = ["check_directions", "requested_basis"]


def requested_basis(
    order: int | None,
    basis: Basis | None,
    directions: Tensor | None,
    dimension: int,
    highest: int | None = None,
) -> Basis:
    """The basis that `render(poses, order, basis=…, directions=…)` means.

    Args:
        order: the highest derivative; None means that of `basis`, or 2.
        basis: taken as it is.
        directions: their number makes the default basis `Basis.directional(D, order)`.
        dimension: degrees of freedom of the manifold; the default basis is `Basis.full(dimension, order)`.
        highest: the highest order that the manifold knows; None where there is no limit.

    Raises:
        ValueError: the order is not one of the manifold's, or contradicts the basis.
    """
    if basis is None:
        order = 2 if order is None else order
        if isinstance(order, bool) or not isinstance(order, int) or order < 0:
            raise ValueError(f"an order is an integer ≥ 0, got order={order!r}")
        if highest is not None and order > highest:
            raise ValueError(f"derivatives are known up to order {highest}, got order={order!r}; ask for less")
        if directions is None:
            return Basis.full(dimension, order)
        return Basis.directional(directions.shape[-2] if directions.dim() > 1 else 0, order)
    if order is not None and order != basis.order:
        raise ValueError(f"order={order} contradicts the basis, which is of order {basis.order}; pass one of them")
    return basis


def check_directions(directions: Tensor | None, basis: Basis, n: int, names: Sequence[str]) -> Tensor:
    """The directions in float64, refused unless they are finite, fit the samples and suffice for the basis.

    Args:
        directions: `[D, d]`, shared, or `[n, D, d]`; None means the d degrees of freedom themselves.
        basis: numbers directions along the axis of length D.
        n: how many samples.
        names: of the d degrees of freedom.

    Raises:
        ValueError: as said.
    """
    d = len(names)
    if directions is None:
        directions = torch.eye(d, dtype=torch.float64)
    if directions.dim() not in (2, 3) or directions.shape[-1] != d or (directions.dim() == 3 and len(directions) != n):
        raise ValueError(
            f"directions are [D, {d}], shared, or [n, D, {d}] with n = {n} samples, along {', '.join(names)}; "
            f"got {list(directions.shape)}"
        )
    needed = max(basis.directions, default=-1) + 1
    if needed > directions.shape[-2]:
        raise ValueError(
            f"the basis numbers directions up to {needed - 1}, but only {directions.shape[-2]} are given; "
            f"give more, or build the basis over fewer"
        )
    if not bool(directions.isfinite().all()):
        raise ValueError("directions must be finite; they hold inf or nan")
    return directions.to(torch.float64)
