"""Linear operations: all rows at once, constants on the value row only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from jetprop.jets import kernels
from jetprop.jets.dispatch import rule
from jetprop.jets.jet import Jet
from jetprop.jets.kernels import add_to_value
from jetprop.jets.rules.operands import autocast_to, axes, common_basis, is_jet, jet_of, same_device
from jetprop.jets.rules.products import bilinear, plus

__all__ = ["spatial"]


@rule("linear", "linear")
def linear(x: Any, weight: Any, bias: Any = None) -> Jet:
    """`X Wᵀ + b`: one matrix product for the value and all derivatives."""
    if is_jet(bias):
        return plus(F.linear(x, weight), bias)
    if is_jet(weight) or not is_jet(x) or x.is_complex():
        out = bilinear(lambda a, b: F.linear(a, b), x, weight)
        return out if bias is None else plus(out, bias)
    same_device("linear", x, weight)
    device = x.rows.device.type
    if not torch.is_autocast_enabled(device):
        return Jet._of(kernels.linear(x.rows, weight, bias), x.basis)
    rows, weight, *biases = autocast_to(x.rows, weight, *([] if bias is None else [bias]))
    with torch.autocast(device, enabled=False):
        return Jet._of(kernels.linear(rows, weight, biases[0] if biases else None), x.basis)


def _convolution(convolve: Callable, space: int) -> Callable:
    name = convolve.__name__

    def apply(x: Jet | Tensor, weight: Jet | Tensor, bias: Any = None, *args: Any, **kwargs: Any) -> Jet:
        if is_jet(bias):
            return plus(convolve(x, weight, None, *args, **kwargs), bias.reshape(-1, *[1] * space))
        if is_jet(weight) or not is_jet(x):
            out = bilinear(lambda a, b: convolve(a, b, None, *args, **kwargs), x, weight)
            return out if bias is None else plus(out, bias.reshape(-1, *[1] * space))
        same_device(name, x, weight)
        batched = x.dim() == space + 2
        rows = x.rows.flatten(0, 1) if batched else x.rows
        out = convolve(rows, weight, None, *args, **kwargs)
        if bias is not None:
            (bias,) = autocast_to(bias)
            out = add_to_value(out, bias.reshape(-1, *[1] * space), x.shape[0] if batched else 1, fresh=True)
        return Jet._of(out.unflatten(0, x.rows.shape[:2]) if batched else out, x.basis)

    apply.__doc__ = f"{name}: rows join the batch."
    return apply


for _space in (1, 2, 3):
    rule(f"conv{_space}d", "linear")(_convolution(getattr(F, f"conv{_space}d"), _space))
    rule(f"conv_transpose{_space}d", "linear")(_convolution(getattr(F, f"conv_transpose{_space}d"), _space))


def spatial(operation: Callable, space: int) -> Callable:
    """A linear operation on images, whose leading axes (rows, batch) are joined for the call.

    Args:
        operation: takes `[N, C, …]` with `space` trailing spatial axes.
        space: their number.
    """

    def apply(x: Jet, *args: Any, **kwargs: Any) -> Jet:
        batched = x.dim() == space + 2
        out = operation(x.rows.flatten(0, 1) if batched else x.rows, *args, **kwargs)
        return Jet._of(out.unflatten(0, x.rows.shape[:2]) if batched else out, x.basis)

    return apply


for _space in (1, 2, 3):
    for _name in (f"avg_pool{_space}d", f"adaptive_avg_pool{_space}d"):
        rule(_name, "linear")(spatial(getattr(F, _name), _space))


def _reduction(name: str) -> Callable:
    reduce = getattr(torch, name)

    def apply(
        x: Jet, dim: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None, axis: Any = None
    ) -> Jet:
        over = axes(dim if axis is None else axis, x.dim())
        rows = reduce(x.rows, over, keepdim, dtype=dtype) if x.dim() else x.rows.to(dtype or x.dtype, copy=True)
        return Jet._of(rows, x.basis)

    return apply


for _name in ("sum", "mean"):
    rule(_name, "linear")(_reduction(_name))


@rule("cumsum", "linear")
def cumsum(x: Jet, dim: int, *, dtype: torch.dtype | None = None) -> Jet:
    """Cumulative sums along an axis."""
    (place,) = axes(dim, x.dim())
    if x.dim() == 0:
        return Jet._of(x.rows.to(dtype or x.dtype, copy=True), x.basis)
    return Jet._of(torch.cumsum(x.rows, place, dtype=dtype), x.basis)


@rule("neg", "linear", "negative")
def neg(x: Jet) -> Jet:
    """`−x`."""
    return Jet._of(-x.rows, x.basis)


@rule("positive", "linear")
def positive(x: Jet) -> Jet:
    """The same jet."""
    return x


@rule("dropout", "linear")
def dropout(x: Jet, p: float = 0.5, training: bool = True, inplace: bool = False) -> Jet:
    """One mask for all rows, drawn as PyTorch would draw it for the value."""
    if not training or p == 0:
        return x
    rows = x.rows * F.dropout(torch.ones_like(x.value), p, training=True)
    if inplace:
        x.rows.copy_(rows)
        return x
    return Jet._of(rows, x.basis)


@rule("pad", "linear")
def pad(x: Jet, pad: list[int], mode: str = "constant", value: float | None = None) -> Jet:
    """Padding; a constant other than zero goes to the value row alone."""
    if len(pad) > 2 * x.dim():
        raise ValueError(f"pad: {len(pad)} lengths are too many for a value with {x.dim()} axes, two each")
    if mode == "constant":
        rows = F.pad(x.rows, pad)
        if value:
            frame = F.pad(torch.zeros_like(x.value), pad, value=value)
            rows = add_to_value(rows, frame)
        return Jet._of(rows, x.basis)
    return spatial(lambda rows: F.pad(rows, pad, mode), len(pad) // 2)(x)


@rule("cat", "linear", "concat", "concatenate")
def cat(tensors: Any, dim: int = 0, *, axis: int | None = None) -> Jet:
    """Concatenation of jets and constants."""
    return _joined(torch.cat, tensors, dim if axis is None else axis, extra=0)


@rule("stack", "linear")
def stack(tensors: Any, dim: int = 0) -> Jet:
    """Stacking of jets and constants."""
    return _joined(torch.stack, tensors, dim, extra=1)


def _joined(join: Callable, tensors: Any, dim: int, extra: int) -> Jet:
    basis = common_basis(*tensors)
    like = next(t for t in tensors if is_jet(t))
    (place,) = axes(dim, like.dim() + extra)
    return Jet._of(join([jet_of(t, like).rows for t in tensors], place), basis)
