"""What is put together from axes and copies: stacks, splits, grids, quarter turns, and statistics of variables in rows.

All are written in terms of `cat`, `tensor_split`, `flip` and their like, which keep the axis of rows in front.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from jetprop.jets.dispatch import rule
from jetprop.jets.jet import Jet
from jetprop.jets.rules.contractions import matmul
from jetprop.jets.rules.operands import axes, axis, is_jet, jet_of

__all__: list[str] = []


# ---- stacks ---------------------------------------------------------------------------------------------------------


def _with_axes(x: Any, count: int) -> Any:
    """At least `count` axes, the new ones where NumPy puts them."""
    if x.dim() >= count:
        return x
    if count < 3:
        return x.reshape([1] * (count - x.dim()) + list(x.shape))
    return x.reshape({0: (1, 1, 1), 1: (1, -1, 1), 2: (*x.shape, 1)}[x.dim()])


def _at_least(count: int) -> Callable:
    def apply(*tensors: Any) -> Any:
        if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
            tensors = tuple(tensors[0])
        found = tuple(_with_axes(x, count) for x in tensors)
        return found[0] if len(found) == 1 else found

    apply.__doc__ = f"Values with {count} axes or more."
    return apply


for _count in (1, 2, 3):
    # Python's functions take any number of arguments, and hand a list to operators of the same name.
    rule(f"atleast_{_count}d", "selection", getattr(torch._VF, f"atleast_{_count}d"))(_at_least(_count))


def _stack(count: int, along: int) -> Callable:
    def apply(tensors: Sequence[Any]) -> Jet:
        parts = [_with_axes(x, count) for x in tensors]
        return torch.cat(parts, min(along, parts[0].dim() - 1))  # type: ignore[return-value]

    apply.__doc__ = f"Joined along axis {along}, with {count} axes at least."
    return apply


rule("hstack", "selection")(_stack(1, 1))
rule("vstack", "selection", "row_stack")(_stack(2, 0))
rule("dstack", "selection")(_stack(3, 2))


@rule("column_stack", "selection")
def column_stack(tensors: Sequence[Any]) -> Jet:
    """Vectors as columns, matrices side by side."""
    return torch.cat([x.reshape(-1, 1) if x.dim() < 2 else x for x in tensors], 1)  # type: ignore[return-value]


@rule("meshgrid", "selection", torch._VF.meshgrid)  # type: ignore[attr-defined]
def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Any, ...]:
    """Vectors spread over the axes of a grid, one for each; with indexing "xy", the first two exchanged."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    if indexing not in ("ij", "xy"):
        raise ValueError(f"meshgrid: expected indexing 'ij' or 'xy', got {indexing!r}")
    places = list(range(len(tensors)))
    if indexing == "xy" and len(tensors) > 1:
        places[:2] = 1, 0
    sizes = [0] * len(tensors)
    for place, x in zip(places, tensors, strict=True):
        sizes[place] = x.numel()
    shapes = ([-1 if k == place else 1 for k in range(len(tensors))] for place in places)
    return tuple(x.reshape(shape).expand(sizes) for x, shape in zip(tensors, shapes, strict=True))


# ---- splits and turns -----------------------------------------------------------------------------------------------


def _split(name: str, least: int, along: int) -> Callable:
    def apply(x: Jet, indices_or_sections: Any) -> tuple[Jet, ...]:
        if x.dim() < least:
            raise ValueError(f"{name}: expected a value with at least {least} axes, got shape {tuple(x.shape)}")
        dim = min(along, x.dim() - 1)
        if isinstance(indices_or_sections, int) and x.shape[dim] % indices_or_sections:
            raise ValueError(
                f"{name}: {indices_or_sections} parts do not divide the length {x.shape[dim]} of axis {dim}"
            )
        return torch.tensor_split(x, indices_or_sections, dim)  # type: ignore[return-value]

    apply.__doc__ = f"Parts along axis {along}: so many of one length, or cut at indices."
    return apply


for _name, _least, _along in (("hsplit", 1, 1), ("vsplit", 2, 0), ("dsplit", 3, 2)):
    rule(_name, "selection")(_split(_name, _least, _along))


@rule("fliplr", "selection")
def fliplr(x: Jet) -> Jet:
    """Axis 1 reversed."""
    return x.flip(1)


@rule("flipud", "selection")
def flipud(x: Jet) -> Jet:
    """Axis 0 reversed."""
    return x.flip(0)


@rule("rot90", "selection")
def rot90(x: Jet, k: int = 1, dims: Sequence[int] = (0, 1)) -> Jet:
    """Quarter turns in a plane of two axes, from the first towards the second."""
    first, second = dims
    if axis(first, x.dim()) == axis(second, x.dim()):
        raise ValueError(f"rot90: expected two different axes, got {tuple(dims)}")
    if k % 4 == 2:
        return x.flip(first, second)
    if k % 2 == 0:
        return x.clone()
    turned = x.flip(second) if k % 4 == 1 else x.flip(first)
    return turned.transpose(first, second)


@rule("select_scatter", "selection")
def select_scatter(x: Any, src: Any, dim: int, index: int) -> Jet:
    """A copy with another entry of an axis."""
    out = jet_of(x, src).clone() if is_jet(src) else x.clone()
    out.select(dim, index).copy_(src)
    return out


@rule("slice_scatter", "selection")
def slice_scatter(
    x: Any, src: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Jet:
    """A copy with other entries in a range of an axis."""
    out = jet_of(x, src).clone() if is_jet(src) else x.clone()
    place = (slice(None),) * (axis(dim, x.dim()) - 1)
    out[(*place, slice(start, end, step))] = src
    return out


# ---- variables in rows, observations in columns ---------------------------------------------------------------------


@rule("cov", "composition")
def cov(x: Jet, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None) -> Jet:
    """The covariances of variables, one in each row, by weighted observations, one in each column.

    With f the counts and a the weights, the sum of squares is divided by Σfa − correction·Σfa²/Σfa.
    """
    if is_jet(fweights) or is_jet(aweights):
        raise TypeError("cov with jets as weights has no rule; only the observations may be one")
    variables: Any = x.reshape(1, -1) if x.dim() < 2 else x
    if x.dim() > 2:
        raise ValueError(f"cov: expected two axes at most, got shape {tuple(x.shape)}")
    w = torch.ones(variables.shape[1], dtype=variables.value.real.dtype, device=x.device)
    w = w if fweights is None else w * fweights
    counted = w if aweights is None else w * aweights
    centred = variables - (variables * counted).sum(1, True) / counted.sum()
    squares = counted.sum() if aweights is None else (counted * aweights).sum() / counted.sum()
    norm = counted.sum() - correction * (1 if aweights is None else squares)
    return matmul(centred, (centred * counted).mT.conj()).div(norm.clamp_min(0)).squeeze()


@rule("corrcoef", "composition")
def corrcoef(x: Jet) -> Jet:
    """The covariances divided by the roots of the variances."""
    c = cov(x)
    if c.dim() == 0:
        return c / c
    spread = c.diagonal().real.sqrt() if c.is_complex() else c.diagonal().sqrt()
    return c / spread.unsqueeze(1) / spread


@rule("gradient", "linear")
def gradient(x: Jet, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> list[Jet]:
    """Differences of neighbours along axes, central inside and of `edge_order` at the ends."""
    over = axes(dim, x.dim())
    found = torch.gradient(x.rows, spacing=spacing, dim=over, edge_order=edge_order)
    return [Jet._of(rows, x.basis) for rows in found]


@rule("mvlgamma", "composition", "multigammaln")
def mvlgamma(x: Jet, p: int) -> Jet:
    """`ln Γ_p(x) = p(p − 1)/4 ln π + Σ_j ln Γ(x + (1 − j)/2)`."""
    shifts = 0.5 * torch.arange(0, -p, -1, dtype=x.dtype, device=x.device)
    return torch.lgamma(x.unsqueeze(-1) + shifts).sum(-1) + p * (p - 1) / 4 * math.log(math.pi)  # type: ignore[return-value]
