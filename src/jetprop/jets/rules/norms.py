"""Norms of vectors and matrices, and distances.

At 0, where a norm has no derivatives, every derivative row is 0: the subgradient that PyTorch takes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from jetprop.jets.algebra import compose, composition
from jetprop.jets.dispatch import RULES, rule, spell
from jetprop.jets.jet import Jet
from jetprop.jets.rules.operands import axes, is_jet, jet_of
from jetprop.jets.rules.products import product_of, stacked_rows

__all__ = ["root", "vector_norm"]


def root(value: Tensor, power: Jet, p: float) -> Jet:
    """The p-th root of a jet, its value known beforehand; 0 has derivative rows 0.

    With v the value, the k-th derivative of the root is 1/p (1/p − 1) … (1/p − k + 1) · v¹⁻ᵏᵖ.

    Args:
        value: the root of the value.
        power: a real jet.
        p: not 0.
    """
    safe = torch.where(value == 0, 1, value)
    tower, factor = [value], 1.0
    for k in range(1, power.basis.order + 1):
        factor *= 1 / p - (k - 1)
        tower.append(factor * safe ** (1 - k * p))
    first, *others = compose(composition(power.basis), tower, power.rows.unbind(0))
    return stacked_rows([first, *(o if o is None else torch.where(value == 0, 0, o) for o in others)], power.basis)


@rule("vector_norm", "composition")
def vector_norm(
    x: Jet, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Jet:
    """(Σ `|xᵢ|ᵖ`)^(1/p) along axes, or of all entries; the largest or smallest magnitude for p = ±∞.

    Entries that are 0 have derivatives only if p is an even number, or larger than the order carried.
    """
    p = float(ord)
    value = torch.linalg.vector_norm(x.value, p, dim, keepdim, dtype=dtype)
    x = x.to((value + 0j).dtype if x.is_complex() else value.dtype)
    if x.dim() == 0:
        x, dim, keepdim = x.unsqueeze(0), 0, False
    if p == 0:
        return jet_of(value, x)
    over = [place - 1 for place in axes(dim, x.dim())]
    if math.isinf(p):
        return x.abs().amax(over, keepdim) if p > 0 else x.abs().amin(over, keepdim)
    if p == 1:
        return x.abs().sum(over, keepdim)
    return root(value, _powers(x, p).sum(over, keepdim), p)


def _powers(x: Jet, p: float) -> Jet:
    """`|x|ᵖ`, entry by entry."""
    if p == 2:
        return product_of(x.conj(), x).real if x.is_complex() else product_of(x, x)
    if not x.is_complex():
        even = p > 0 and p % 2 == 0
        x = x if even else x * torch.sign(x.value)
    else:
        x = x.abs()
    if p > 1:
        return RULES["power of a jet"].apply(x, p)
    zero = x.value == 0  # entries without slope, in PyTorch too
    return torch.where(zero, 0, RULES["power of a jet"].apply(torch.where(zero, 1, x), p))  # type: ignore[return-value]


@rule("matrix_norm", "composition")
def matrix_norm(
    x: Jet, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Jet:
    """Frobenius's norm; the largest or smallest sum of magnitudes of a column (±1) or of a row (±∞).

    Or of singular values, all different then: their sum ("nuc"), the largest (2) or the smallest (−2).
    """
    rows, columns = (place - 1 for place in axes(dim, x.dim()))
    if ord == "fro":
        return vector_norm(x, 2, (rows, columns), keepdim, dtype=dtype)
    if ord == "nuc" or (not isinstance(ord, str) and abs(ord) == 2):
        matrices = x if dtype is None else x.to(dtype)
        of_matrix = RULES["svdvals"].apply(matrices.movedim((rows, columns), (-2, -1)))
        found = of_matrix.sum(-1) if ord == "nuc" else of_matrix[..., 0 if ord > 0 else -1]
        return found.unsqueeze(min(rows, columns)).unsqueeze(max(rows, columns)) if keepdim else found
    if isinstance(ord, str) or abs(ord) not in (1, math.inf):
        raise ValueError(f"matrix_norm: expected ord 'fro', 'nuc', ±1, ±2 or ±inf, got {ord!r}")
    summed, among = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = vector_norm(x, 1, summed, keepdim=True, dtype=dtype)
    found = sums.amax(among, True) if ord > 0 else sums.amin(among, True)
    return found if keepdim else found.squeeze((rows, columns))


@rule("norm", "composition")
def norm(x: Jet, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: torch.dtype | None = None) -> Jet:
    """`torch.norm`: a vector's norm along any axes, or of all entries."""
    if isinstance(p, str) and p != "fro":
        return matrix_norm(x, p, (-2, -1) if dim is None else dim, keepdim)
    return vector_norm(x, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype)


def _norm_of_linalg(
    x: Jet, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Jet:
    """`torch.linalg.norm`: a matrix's norm if an order is given and there are two axes."""
    if ord is not None and dim is None and x.dim() not in (1, 2):
        raise ValueError(f"norm: expected one or two axes where ord={ord!r} is given without dim, got {x.dim()}")
    dims = range(x.dim()) if dim is None else (dim,) if isinstance(dim, int) else dim
    if ord is not None and len(dims) == 2:
        return matrix_norm(x, ord, tuple(dims), keepdim, dtype=dtype)
    return vector_norm(x, 2 if ord is None else ord, dim, keepdim, dtype=dtype)


spell(torch.linalg.norm, _norm_of_linalg)


@rule("dist", "composition")
def dist(x: Jet | Tensor, y: Jet | Tensor, p: float = 2) -> Jet:
    """The norm of the difference of all entries."""
    return vector_norm(_difference(x, y), p)


def _difference(x: Jet | Tensor, y: Jet | Tensor) -> Jet:
    difference = x - y
    assert is_jet(difference)
    return difference


@rule("cdist", "composition")
def cdist(
    x1: Jet | Tensor, x2: Jet | Tensor, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary"
) -> Jet:
    """The distances of all points of one set from all points of another.

    They are formed from differences, the more accurate way, whatever `compute_mode` allows.
    """
    modes = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")
    if compute_mode not in modes:
        raise ValueError(f"cdist: expected compute_mode among {modes}, got {compute_mode!r}")
    return vector_norm(_difference(x1.unsqueeze(-2), x2.unsqueeze(-3)), p, -1)


@rule("pdist", "composition")
def pdist(x: Jet, p: float = 2.0) -> Jet:
    """The distances between all pairs of rows, as a vector: those of the first row from the later ones first."""
    if x.dim() != 2:
        raise ValueError(f"pdist: expected a matrix of points, one in each row, got shape {tuple(x.shape)}")
    first, second = torch.triu_indices(x.shape[0], x.shape[0], 1, device=x.device)
    return vector_norm(_difference(x.index_select(0, first), x.index_select(0, second)), p, -1)
