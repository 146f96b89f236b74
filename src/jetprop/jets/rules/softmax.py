"""Softmax and its relatives, and the gated linear unit.

With y = softmax(x) as a jet, dy = y (dx − Σ y dx), as for numbers; the backward pass is the transpose.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from jetprop.jets import towers
from jetprop.jets.algebra import compose, composition
from jetprop.jets.basis import Basis
from jetprop.jets.dispatch import rule
from jetprop.jets.jet import Jet
from jetprop.jets.kernels import Tower, apply_tower, multiply, pullback
from jetprop.jets.rules import selection as _selection  # noqa: F401 - registers the selections first
from jetprop.jets.rules.operands import autocast_as, axis
from jetprop.jets.tracing import traced

__all__ = ["softmax_of_live"]

RECIPROCAL: Tower = towers.reciprocal  # type: ignore[assignment]


def _growing(z: Tensor, order: int) -> list[Tensor | None]:
    """The tower of eᶻ from its value: not that of a function of the value, so not to be differentiated."""
    return [z] * (order + 1)


def _grown(value: Tensor, x: Tensor, basis: Basis) -> Tensor:
    """The rows of y₀ e^(x − x₀)."""
    if traced():
        rows = compose(composition(basis), _growing(value, basis.order), x.unbind(0))
        return torch.stack([row for row in rows if row is not None])
    return apply_tower(torch.cat([value.unsqueeze(0), x[1:]]), _growing, basis, "softmax")


def _softmax_rows(x: Tensor, dim: int, masked: bool, basis: Basis) -> Tensor:
    """eˣ / Σ eˣ along one axis: y₀ by PyTorch, then q = y₀ e^(x − x₀), and q / Σ q, where Σ q₀ is 1 already.

    Where y₀ is 0 all along (everything masked), so are all rows.
    """
    value = torch.softmax(x[0], dim - 1)
    if masked:
        value = value.masked_fill((x[0] == -torch.inf).all(dim - 1, keepdim=True), 0)
    q = _grown(value, x, basis)
    total = q[1:].sum(dim, keepdim=True)
    total = torch.cat([total.new_ones(1, *total.shape[1:]), total])
    return multiply(q, apply_tower(total, RECIPROCAL, basis, "reciprocal").expand_as(q), basis)


class _Softmax(Function):
    """`_softmax_rows` with its own backward pass, which needs the result only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, masked: bool, basis: Basis) -> Tensor:
        ctx.dim, ctx.basis = dim, basis
        y = _softmax_rows(x, dim, masked, basis)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:
        (y,) = ctx.saved_tensors
        along = pullback(g, y, ctx.basis).sum(ctx.dim, keepdim=True)
        return pullback(g - along, y, ctx.basis), None, None, None


def softmax_of_live(x: Jet, dim: int, masked: bool = True) -> Jet:
    """`eˣ / Σ eˣ`, and, unless `masked` is false, 0 where all entries along the axis are −∞."""
    # A compiler derives and fuses the backward pass itself, and is slow at functions that call others.
    apply = _softmax_rows if traced() else _Softmax.apply
    return Jet._of(apply(x.rows, axis(dim, x.dim()), masked, x.basis), x.basis)


def _softmax_axis(x: Jet, dim: int | None) -> int:
    """PyTorch's deprecated choice where no axis is named."""
    if dim is not None:
        return dim
    warnings.warn("softmax without dim is deprecated in PyTorch; name the axis", UserWarning, stacklevel=4)
    return 0 if x.dim() in (0, 1, 3) else 1


def _converted(x: Jet, *dtypes: Any) -> Jet:
    """In the dtype that was asked for, which `torch.softmax` takes in the place of `_stacklevel`."""
    return next((x.to(dtype) for dtype in dtypes if isinstance(dtype, torch.dtype)), x)


@rule("softmax", "composition")
def softmax(x: Jet, dim: int | None = None, _stacklevel: Any = 3, dtype: torch.dtype | None = None) -> Jet:
    """`eˣ / Σ eˣ`."""
    dim, x = _softmax_axis(x, dim), autocast_as(torch.softmax, _converted(x, _stacklevel, dtype))
    if x.dim() == 0:
        return softmax(x.unsqueeze(0), 0).squeeze(0)
    return softmax_of_live(x, dim, masked=False)


@rule("softmin", "composition")
def softmin(x: Jet, dim: int | None = None, _stacklevel: Any = 3, dtype: torch.dtype | None = None) -> Jet:
    """Softmax of −x."""
    return softmax(-x, dim, _stacklevel, dtype)


@rule("logsumexp", "composition")
def logsumexp(x: Jet, dim: int | tuple[int, ...], keepdim: bool = False) -> Jet:
    """`ln Σ eˣ`, shifted by the largest entry."""
    x = autocast_as(torch.logsumexp, x)
    if not x.numel():
        return x.exp().sum(dim, keepdim).log()
    top = x.value.detach().amax(dim, keepdim=True)
    top = top.masked_fill(top.isinf(), 0)
    out = (x - top).exp().sum(dim, keepdim=True).log() + top
    return out if keepdim else out.squeeze(dim)


@rule("log_softmax", "composition")
def log_softmax(x: Jet, dim: int | None = None, _stacklevel: Any = 3, dtype: torch.dtype | None = None) -> Jet:
    """`x − logsumexp x`, both shifted by the largest entry, whose digits would be lost in the difference."""
    dim, x = _softmax_axis(x, dim), autocast_as(torch.log_softmax, _converted(x, _stacklevel, dtype))
    if x.numel():
        x = x - x.value.detach().amax(dim, keepdim=True)
    return x - x.exp().sum(dim, keepdim=True).log()


@rule("glu", "composition")
def glu(x: Jet, dim: int = -1) -> Jet:
    """The first half times the sigmoid of the second."""
    if x.shape[dim] % 2:
        raise ValueError(f"glu: expected an even length along dim {dim}, got a value of shape {tuple(x.shape)}")
    a, b = x.chunk(2, dim)
    return a * b.sigmoid()
