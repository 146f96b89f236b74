"""From partial derivatives to derivatives along straight lines, and back (polarisation)."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from math import factorial

import torch
from torch import Tensor

from jetprop.jets.basis import Basis, Trace
from jetprop.jets.jet import Jet

__all__ = ["along", "lines", "partials", "polarising"]


def along(jet: Jet, directions: Tensor) -> Jet:
    """The jet along straight lines ν = t v through its point, contracted from the rows that it holds.

        ∂ᵏ/∂tᵏ = Σ_(i1 … ik) v_i1 … v_ik ∂ᵏ/∂ν_i1 … ∂ν_ik

    Differentiable in the rows; directions are constants.

    Args:
        jet: over a full basis of D directions, any order.
        directions: `[K, D]`, the same for all samples, or `[batch, K, D]`.

    Returns:
        Rows for `Basis.directional(K, order)`, the order that of the jet.

    Raises:
        ValueError: the basis is not full, or the directions do not fit it.

    Example:
        >>> import torch
        >>> from jetprop import Jet
        >>> from jetprop.jets import along
        >>> x = Jet.seed(torch.tensor([[3.0, 5.0]]), order=2)
        >>> along(x.prod(-1), torch.tensor([[1.0, 1.0]])).rows[:, 0]        # (3 + t)(5 + t)
        tensor([15., 8., 2.])
    """
    basis, rows = jet.basis, jet.rows
    size = len(basis.directions)
    if not _is_full(basis):
        raise ValueError(f"contraction needs all derivatives up to the order, a full basis; got {basis!r}")
    per_sample = directions.dim() == 3
    if (
        directions.dim() not in (2, 3)
        or directions.shape[-1] != size
        or (per_sample and len(directions) != rows.shape[1])
    ):
        raise ValueError(
            f"directions of shape {tuple(directions.shape)} do not fit a jet of {size} directions and batch "
            f"{rows.shape[1]}: expected [K, {size}] or [{rows.shape[1]}, K, {size}]"
        )
    v = directions.to(rows).movedim(-2, 0)  # [K, D] or [K, batch, D]
    out = [rows[:1]]
    for order in range(1, basis.order + 1):
        found = basis.rows_of_order(order)
        powers, counts = _monomials(basis, order)
        weight = v.new_tensor(counts) * torch.stack([v[..., list(p)].prod(-1) for p in powers], -1)
        part = rows[found[0] : found[-1] + 1]
        shaped = part.reshape(*part.shape[:2], -1)
        contracted = torch.einsum("kbr,rbp->kbp" if per_sample else "kr,rbp->kbp", weight, shaped)
        out.append(contracted.reshape(len(v), *part.shape[1:]))
    return Jet._of(torch.cat(out), lines(len(v), basis.order))


@lru_cache(maxsize=64)
def _is_full(basis: Basis) -> bool:
    return not any(isinstance(label, Trace) for label in basis) and basis == Basis.full(basis.directions, basis.order)


@lru_cache(maxsize=64)
def lines(count: int, order: int) -> Basis:
    """`Basis.directional(count, order)`, made once."""
    return Basis.directional(count, order)


@lru_cache(maxsize=64)
def _monomials(basis: Basis, order: int) -> tuple[list[tuple[int, ...]], list[float]]:
    """For each row of this order, which coordinates of v it is multiplied by, and how often it occurs in the sum."""
    place = {direction: i for i, direction in enumerate(basis.directions)}
    powers: list[tuple[int, ...]] = []
    counts: list[float] = []
    for row in basis.rows_of_order(order):
        label = basis[row]
        assert not isinstance(label, Trace)
        powers.append(tuple(place[d] for d in label))
        repeats = 1
        for times in Counter(label).values():
            repeats *= factorial(times)
        counts.append(factorial(order) / repeats)
    return powers, counts


def polarising(dimension: int, order: int) -> Tensor:
    """Directions along which pure derivatives of this order determine all partial derivatives up to it.

    They are the multi-indices of that order as vectors, (k, 0, …), (k − 1, 1, 0, …), …, divided by k: as many as there
    are partial derivatives of order k, which is the least possible, and unisolvent for polynomials up to degree k.

    Args:
        dimension: D ≥ 1.
        order: k ≥ 1.

    Returns:
        `[K, D]` in float64, K = C(D + k − 1, k).

    Source:
        Griewank, Utke & Walther, Evaluating higher derivative tensors by forward propagation of univariate Taylor
        series, Math. Comp. 69 (2000), section 3.

    Example:
        >>> from jetprop.jets import polarising
        >>> polarising(2, 2)
        tensor([[1.0000, 0.0000],
                [0.5000, 0.5000],
                [0.0000, 1.0000]], dtype=torch.float64)
    """
    if dimension < 1 or order < 1:
        raise ValueError(f"polarisation needs a dimension and an order ≥ 1, got {dimension} and {order}")
    basis = Basis.full(dimension, order)
    labels = [basis[row] for row in basis.rows_of_order(order)]
    counts = [[label.count(i) for i in range(dimension)] for label in labels if isinstance(label, tuple)]
    return torch.tensor(counts, dtype=torch.float64) / order


def partials(jet: Jet, directions: Tensor) -> Jet:
    """All partial derivatives from pure ones along straight lines: the inverse of `along`.

    For each order m, the equations ∂ᵐ/∂t_jᵐ = Σ_|α|=m (m!/α!) v_jᵅ ∂ᵅ of all lines j are solved for the partial
    derivatives ∂ᵅ, exactly where the rows belong to one function, by least squares otherwise. Differentiable in the
    rows; directions are constants.

    Args:
        jet: over `Basis.directional(K, order)`.
        directions: `[K, D]`, the lines, `polarising(D, order)` or any others that suffice.

    Returns:
        Rows for `Basis.full(D, order)`.

    Raises:
        ValueError: the basis is not one of lines, their number differs, or they do not determine all derivatives.

    Example:
        >>> import torch
        >>> from jetprop import Jet, Basis
        >>> from jetprop.jets import partials, polarising
        >>> v = polarising(2, 2)
        >>> x = Jet.seed(torch.tensor([3.0, 5.0]), v.float(), order=2, basis=Basis.directional(3, 2))
        >>> partials(x[0] * x[1], v).d(0, 1)
        tensor(1.)
    """
    basis, rows = jet.basis, jet.rows
    if directions.dim() != 2 or basis != lines(len(directions), basis.order):
        raise ValueError(
            f"expected a jet over Basis.directional(K, order) and directions [K, D], got {basis!r} and "
            f"{list(directions.shape)}"
        )
    size = directions.shape[1]
    full = Basis.full(size, basis.order)
    out = [rows[:1]]
    for order in range(1, basis.order + 1):
        powers, counts = _monomials(full, order)
        v = directions.to(torch.float64)
        matrix = v.new_tensor(counts) * torch.stack([v[:, list(p)].prod(-1) for p in powers], -1)
        if torch.linalg.matrix_rank(matrix) < len(powers):
            raise ValueError(
                f"{len(directions)} directions do not determine the {len(powers)} partial derivatives of order {order} "
                f"in {size} dimensions; take polarising({size}, {basis.order})"
            )
        along_lines = torch.stack([rows[basis.row(*[j] * order)] for j in range(len(directions))])
        inverse = torch.linalg.pinv(matrix).to(rows)
        out.append(
            (inverse @ along_lines.flatten(1)).unflatten(1, rows.shape[1:]) if rows.dim() > 1 else inverse @ along_lines
        )
    return Jet._of(torch.cat(out), full)
