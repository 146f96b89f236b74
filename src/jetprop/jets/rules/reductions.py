"""Reductions and cumulative operations beside the sums: extrema, moments, products, differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from jetprop.jets.dispatch import RULES, rule
from jetprop.jets.jet import Jet
from jetprop.jets.rules.operands import aligned, autocast_as, axes, axis, common_basis, is_jet, jet_of

__all__ = ["among_the_extreme"]


def among_the_extreme(x: Jet, extreme: Tensor, dim: Any, keepdim: bool) -> Jet:
    """The rows of an extremum, the mean over the entries that tie, as PyTorch spreads a gradient.

    Args:
        x: where it was sought.
        extreme: its value, axes kept.
        dim: the axes.
        keepdim: whether the result keeps them.
    """
    if not x.dim():
        return x.clone()
    chosen = torch.where(extreme.isnan(), x.value.isnan(), x.value.detach() == extreme)
    over = axes(dim, x.dim())
    rows = torch.where(chosen, x.rows, 0).sum(over, keepdim)
    return Jet._of(rows / chosen.sum([a - 1 for a in over], keepdim), x.basis)


def _extreme(name: str) -> Callable:
    find = getattr(torch, name)

    def apply(x: Jet, dim: Any = (), keepdim: bool = False) -> Jet:
        return among_the_extreme(x, find(x.value.detach(), dim, keepdim=True), dim, keepdim)

    return apply


for _name in ("amax", "amin"):
    rule(_name, "selection")(_extreme(_name))


@rule("aminmax", "selection")
def aminmax(x: Jet, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """Both extrema."""
    over = () if dim is None else dim
    return torch.return_types.aminmax((x.amin(over, keepdim), x.amax(over, keepdim)))


def _without_nan(x: Jet) -> Jet:
    return Jet._of(x.rows.masked_fill(x.value.isnan(), 0), x.basis)


@rule("nansum", "linear")
def nansum(x: Jet, dim: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Jet:
    """The sum of the entries that are numbers."""
    return _without_nan(x).sum(dim, keepdim, dtype=dtype)


@rule("nanmean", "linear")
def nanmean(x: Jet, dim: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Jet:
    """The mean of the entries that are numbers."""
    over = tuple(range(x.dim())) if dim is None else dim
    return nansum(x, dim, keepdim, dtype=dtype) / (~x.value.isnan()).sum(over, keepdim)


def _with_mean(name: str) -> Callable:
    def apply(x: Jet, dim: Any = None, unbiased: Any = True, keepdim: bool = False, **options: Any) -> tuple[Jet, Jet]:
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        spread = RULES[name].apply(x, dim, unbiased, keepdim, **options)
        return spread, x.mean(dim, keepdim)

    return apply


for _name in ("var", "std"):
    rule(f"{_name}_mean", "composition")(_with_mean(_name))


# ---- cumulative operations ------------------------------------------------------------------------------------------


def _scan(combine: Callable[[Any, Any], Any], x: Jet, dim: int) -> Jet:
    """Entry k becomes the combination of entries 0 to k, in ⌈log₂ n⌉ steps over whole tensors."""
    if x.dim() == 0:
        return x.clone()
    place, step = axis(dim, x.dim()) - 1, 1
    count = x.shape[place]
    while step < count:
        reached = combine(x.narrow(place, step, count - step), x.narrow(place, 0, count - step))
        x, step = torch.cat([x.narrow(place, 0, step), reached], place), 2 * step  # type: ignore[assignment]
    return x


@rule("cumprod", "composition")
def cumprod(x: Jet, dim: int, *, dtype: torch.dtype | None = None) -> Jet:
    """Cumulative products; entries may be zero."""
    x = autocast_as(torch.cumprod, x if dtype is None else x.to(dtype))
    return _scan(lambda later, before: later * before, x, dim)


@rule("logcumsumexp", "composition")
def logcumsumexp(x: Jet, dim: int) -> Jet:
    """`ln Σ eˣ` over the entries so far."""
    return _scan(torch.logaddexp, x, dim)


def _cumulative_extreme(name: str) -> Callable:
    find = getattr(torch, name)

    def apply(x: Jet, dim: int) -> Any:
        values, indices = find(x.value.detach(), dim)
        out = x.clone() if x.dim() == 0 else torch.gather(x, dim, indices)  # type: ignore[call-overload]
        return type(find(values[:0] if values.dim() else values, dim))((out, indices))

    return apply


for _name in ("cummax", "cummin"):
    rule(_name, "selection")(_cumulative_extreme(_name))


# ---- differences and integrals along an axis ------------------------------------------------------------------------


@rule("diff", "linear")
def diff(x: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Jet:
    """The n-th forward difference along an axis."""
    like = next(part for part in (x, prepend, append) if is_jet(part))
    common_basis(x, prepend, append)
    parts = [jet_of(part, like).rows for part in (prepend, x, append) if part is not None]
    place = axis(dim, like.dim())
    return Jet._of(torch.diff(torch.cat(parts, place), n, place), like.basis)


def _by_trapezoids(name: str) -> Callable:
    integrate = getattr(torch, name)

    def apply(y: Any, x: Any = None, *, dx: float | Tensor | None = None, dim: int = -1) -> Jet:
        if is_jet(x):
            raise TypeError(f"{name}: expected a tensor of abscissae, got a jet; only the ordinates may be one")
        place = axis(dim, y.dim())
        if x is not None and x.dim() > y.dim():
            raise ValueError(
                f"{name}: the abscissae have {x.dim()} axes and the ordinates {y.dim()}; give the ordinates as many"
            )
        if x is None:
            return Jet._of(integrate(y.rows, dx=1 if dx is None else dx, dim=place), y.basis)
        rows = aligned(y.rows, x.dim())
        wide = x if x.dim() < 2 else x.unsqueeze(0)
        return Jet._of(integrate(rows, wide, dim=dim if dim < 0 else place), y.basis)

    return apply


rule("trapezoid", "linear", "trapz")(_by_trapezoids("trapezoid"))
rule("cumulative_trapezoid", "linear")(_by_trapezoids("cumulative_trapezoid"))
