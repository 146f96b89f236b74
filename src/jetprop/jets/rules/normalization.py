"""Normalisations: centred, divided by the root of the mean square, scaled and shifted.

Unless running statistics are used, all are one operation, `standardised`. With c = x − μ (or x itself), y = cρ and
ρ = 1/√(mean c² + ε), all of them jets, the differential is dy = ρ (dc − y mean(y dc)): the formula that holds for
numbers holds for jets, whose products obey the same laws. The backward pass is its transpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from jetprop.jets import towers
from jetprop.jets.basis import Basis
from jetprop.jets.dispatch import rule, spell
from jetprop.jets.jet import Jet
from jetprop.jets.kernels import Tower, add_to_value, apply_tower, multiply, pullback
from jetprop.jets.rules import selection as _selection  # noqa: F401 - registers the selections first
from jetprop.jets.rules.operands import autocast_as, axes, is_jet
from jetprop.jets.tracing import traced

__all__ = ["standardised"]

SQUARE: Tower = towers.square  # type: ignore[assignment]
RSQRT: Tower = towers.rsqrt  # type: ignore[assignment]


def _standardise(x: Tensor, over: tuple[int, ...], eps: float, centre: bool, basis: Basis) -> tuple[Tensor, Tensor]:
    """Y = cρ and ρ, from the rows of x."""
    c = x - x.mean(over, keepdim=True) if centre else x
    shifted = add_to_value(apply_tower(c, SQUARE, basis, "square").mean(over, keepdim=True), x.new_tensor(eps))
    rho = apply_tower(shifted, RSQRT, basis, "rsqrt")
    return multiply(c, rho.expand_as(c), basis), rho


class _Standardised(Function):
    """`_standardise` with its own backward pass; saved are the two results."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, over: tuple[int, ...], eps: float, centre: bool, basis: Basis
    ) -> tuple[Tensor, Tensor]:
        ctx.over, ctx.centre, ctx.basis = over, centre, basis
        ctx.set_materialize_grads(False)
        y, rho = _standardise(x, over, eps, centre, basis)
        ctx.save_for_backward(y, rho)
        return y, rho

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, g_rho: Tensor | None) -> tuple:
        y, rho = ctx.saved_tensors
        over, basis = ctx.over, ctx.basis
        count = prod([y.shape[a] for a in over])
        out, along = torch.zeros_like(y), torch.zeros_like(rho)
        if g is not None:
            out = pullback(g, rho.expand_as(y), basis)
            along = pullback(out, y, basis).sum(over, keepdim=True)
        if g_rho is not None:
            along = along + pullback(g_rho, apply_tower(rho, SQUARE, basis, "square"), basis)
        out = out - pullback((along / count).expand_as(y), y, basis)
        return (out - out.mean(over, keepdim=True) if ctx.centre else out), None, None, None, None


def standardised(x: Jet, over: Sequence[int], eps: float, centre: bool = True) -> Jet:
    """(x − μ)/√(mean (x − μ)² + ε), computed in single precision at least.

    Args:
        x: the jet.
        over: the axes of the value that the means are taken over.
        eps: ε.
        centre: whether μ is the mean; otherwise 0.
    """
    # A compiler derives and fuses the backward pass itself, and is slow at functions that call others.
    standardise = _standardise if traced() else _Standardised.apply
    y, _ = standardise(_opmath(x).rows, tuple(axes(list(over), x.dim())), eps, centre, x.basis)
    return Jet._of(y, x.basis)


def _opmath(x: Any) -> Any:
    """Half precision as single precision, in which PyTorch computes it."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _scaled(x: Any, weight: Any, bias: Any, ndim: int, dtype: torch.dtype) -> Any:
    """x·w + b, parameters aligned to the last `ndim` axes."""
    if weight is not None:
        x = x * weight.reshape(*weight.shape, *[1] * (ndim - weight.dim()))
    if bias is not None:
        bias = bias.reshape(*bias.shape, *[1] * (ndim - bias.dim()))
        if is_jet(x) and not is_jet(bias) and x.dtype == bias.dtype:
            x = Jet._of(add_to_value(x.rows, bias, fresh=weight is not None), x.basis)
        else:
            x = x + bias
    return x.to(dtype)


def _normalised_axes(name: str, x: Jet, shape: Sequence[int]) -> range:
    """The last axes, which are to have this shape."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if not shape or tuple(x.shape[-len(shape) :]) != shape:
        raise ValueError(
            f"{name}: expected a value whose last axes have normalized_shape {shape}, got shape {tuple(x.shape)}"
        )
    return range(-len(shape), 0)


@rule("layer_norm", "composition")
def layer_norm(
    x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enable: bool = True
) -> Jet:
    """(x − μ)/√(v + ε)·w + b over the last axes of each sample."""
    if not is_jet(x):
        out, dtype = torch.layer_norm(x, normalized_shape, None, None, eps, cudnn_enable), x.dtype
    else:
        x = autocast_as(lambda v, _: torch.layer_norm(v, v.shape), x)
        out, dtype = standardised(x, _normalised_axes("layer_norm", x, normalized_shape), eps), x.dtype
    return _scaled(out, weight, bias, 0, dtype)


@rule("rms_norm", "composition")
def rms_norm(x: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Jet:
    """x/√(mean x² + ε)·w over the last axes of each sample; ε is the dtype's own unless given."""
    if not is_jet(x):
        return _scaled(torch.rms_norm(x, normalized_shape, None, eps), weight, None, 0, x.dtype)
    x = autocast_as(lambda v, _: torch.rms_norm(v, v.shape), x)
    over = _normalised_axes("rms_norm", x, normalized_shape)
    eps = torch.finfo(_opmath(x).dtype).eps if eps is None else eps
    return _scaled(standardised(x, over, eps, centre=False), weight, None, 0, x.dtype)


@rule("group_norm", "composition")
def group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Jet:
    """(x − μ)/√(v + ε)·w + b over a group of channels of each sample, all positions.

    Raises:
        ValueError: channels that the groups do not divide, or one value for each group only.
    """
    if not is_jet(x):
        out, dtype = torch.group_norm(x, num_groups, None, None, eps, cudnn_enabled), x.dtype
        return _scaled(out, weight, bias, x.dim() - 1, dtype)
    if x.dim() < 2 or x.shape[1] % num_groups:
        raise ValueError(
            f"group_norm: expected a value [N, C, …] with C a multiple of num_groups={num_groups}, "
            f"got shape {tuple(x.shape)}"
        )
    if x.shape[0] * x.shape[1] * prod(x.shape[2:]) == num_groups:
        raise ValueError(
            f"group_norm: expected more than one value for each group, got shape {tuple(x.shape)} and "
            f"num_groups={num_groups}"
        )
    x = autocast_as(lambda v, _: torch.group_norm(v.expand(2, 2), 1), x)
    grouped = x.reshape(x.shape[0], num_groups, x.shape[1] // num_groups * prod(x.shape[2:]))
    return _scaled(standardised(grouped, (-1,), eps).reshape(x.shape), weight, bias, x.dim() - 1, x.dtype)


@rule("instance_norm", "composition")
def instance_norm(
    x: Any,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Jet:
    """(x − μ)/√(v + ε)·w + b over the positions of each channel of each sample.

    With `use_input_stats`, running statistics, if there are any, move as they would for the value alone; without, they
    are μ and v.

    Raises:
        ValueError: one value for each channel only, or no running statistics where they are to be used.
    """
    if not use_input_stats:
        return _with_constants("instance_norm", x, running_mean, running_var, weight, bias, eps)
    if not is_jet(x):
        out = torch.instance_norm(x, None, None, running_mean, running_var, use_input_stats, momentum, eps, True)
        return _scaled(out, weight, bias, x.dim() - 1, x.dtype)
    over = tuple(range(2, x.dim()))
    _move("instance_norm", x, over, running_mean, running_var, momentum)
    return _scaled(standardised(x, over, eps), weight, bias, x.dim() - 1, x.dtype)


@rule("batch_norm", "composition")
def batch_norm(
    x: Any,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Jet:
    """(x − μ)/√(v + ε)·w + b over all axes but the channels.

    With `training`, μ and v are those of the batch, differentiated through, and the running statistics move as they
    would for the value alone; without, they are the running ones, constants.

    Raises:
        ValueError: one value for each channel only while training, or no running statistics otherwise.
    """
    if not training:
        return _with_constants("batch_norm", x, running_mean, running_var, weight, bias, eps)
    if not is_jet(x):
        out = torch.batch_norm(x, None, None, running_mean, running_var, training, momentum, eps, True)
        return _scaled(out, weight, bias, x.dim() - 1, x.dtype)
    over = tuple(d for d in range(x.dim()) if d != 1)
    _move("batch_norm", x, over, running_mean, running_var, momentum)
    return _scaled(standardised(x, over, eps), weight, bias, x.dim() - 1, x.dtype)


def _with_constants(name: str, x: Any, mean: Any, variance: Any, weight: Any, bias: Any, eps: float) -> Jet:
    """The affine map w/√(v + ε)·x + (b − w μ/√(v + ε)) of each channel."""
    if mean is None or variance is None:
        raise ValueError(
            f"{name}: expected running_mean and running_var, or the statistics of the input to be used; got neither"
        )
    scale = (variance + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    return _scaled(_opmath(x), scale, shift, x.dim() - 1, x.dtype)


def _move(
    name: str, x: Jet, over: tuple[int, ...], mean: Tensor | None, variance: Tensor | None, momentum: float
) -> None:
    """Move running statistics towards those of the value; refuse statistics of single numbers."""
    count = prod([x.shape[d] for d in over])
    if count == 1:
        raise ValueError(
            f"{name}: expected more than one value for each channel when their statistics are used, "
            f"got shape {tuple(x.shape)}"
        )
    with torch.no_grad():
        value = _opmath(x).value
        if mean is not None:
            mean.lerp_(value.mean(over).reshape(-1, mean.shape[0]).mean(0).to(mean.dtype), momentum)
        if variance is not None:
            moved = value.var(over).reshape(-1, variance.shape[0]).mean(0)
            variance.lerp_(moved.to(variance.dtype), momentum)


def _as_torch_has_it(norm: Any) -> Any:
    """The namesakes in `torch`, which take the parameters before the statistics."""

    def apply(
        x: Any,
        weight: Any,
        bias: Any,
        running_mean: Any,
        running_var: Any,
        use_input_stats: bool,
        momentum: float,
        eps: float,
        cudnn_enabled: bool = True,
    ) -> Jet:
        return norm(x, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)

    return apply


spell(torch.batch_norm, _as_torch_has_it(batch_norm))
spell(torch.instance_norm, _as_torch_has_it(instance_norm))


@rule("var", "composition")
def var(
    x: Jet, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> Jet:
    """The variance along axes."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    dims = tuple(range(x.dim())) if dim is None else dim
    centred = x - x.mean(dims, keepdim=True)
    squares = (centred.conj() * centred).real if x.is_complex() else centred * centred
    squares = squares.sum(dims, keepdim)
    count = x.numel() // max(squares.numel(), 1)
    return squares / max(count - (correction if correction is not None else float(unbiased)), 0)


@rule("std", "composition")
def std(
    x: Jet, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> Jet:
    """The standard deviation along axes; where it is 0, so are its derivatives, as in PyTorch."""
    variance = var(x, dim, unbiased, keepdim, correction=correction)
    zero = variance.value == 0
    return torch.where(zero, 0, torch.where(zero, 1, variance).sqrt())  # type: ignore[return-value]
