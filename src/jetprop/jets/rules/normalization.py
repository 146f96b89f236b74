"""Normalisations and gates, composed of the other rules."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from jetprop.jets.dispatch import RULES, SPELLINGS, rule
from jetprop.jets.jet import Jet
from jetprop.jets.rules import selection as _selection  # noqa: F401 - registers the selections first
from jetprop.jets.rules.operands import autocast_as

__all__: list[str] = []


def _channelwise(parameter: Any, ndim: int) -> Any:
    return parameter if parameter is None else parameter.reshape(-1, *[1] * (ndim - 2))


@rule("batch_norm", "composition")
def batch_norm(
    x: Jet,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
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
    dtype, weight, bias = x.dtype, _channelwise(weight, x.dim()), _channelwise(bias, x.dim())
    x = x.float() if dtype in (torch.float16, torch.bfloat16) else x  # as PyTorch computes it
    if training:
        out = _standardised(x, running_mean, running_var, momentum, eps)
        out = out if weight is None else out * weight
    else:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: expected running_mean and running_var, or training=True; got neither")
        scale = _channelwise(torch.rsqrt(running_var + eps), x.dim())
        out = (x - _channelwise(running_mean, x.dim())) * (scale if weight is None else scale * weight)
    return (out if bias is None else out + bias).to(dtype)


def _batch_norm_of_torch(
    x: Jet,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> Jet:
    return batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)


SPELLINGS[torch.batch_norm] = _batch_norm_of_torch  # the namesake in torch.nn.functional takes them in another order


def _standardised(x: Jet, running_mean: Tensor | None, running_var: Tensor | None, momentum: float, eps: float) -> Jet:
    """(x − μ)/√(v + ε) with the statistics of the batch, which the running ones follow."""
    count = x.numel() // x.shape[1]
    if count == 1:
        raise ValueError(
            f"batch_norm: expected more than one value for each channel when training, got shape {tuple(x.shape)}"
        )
    over = tuple(d for d in range(x.dim()) if d != 1)
    mean = x.mean(over, keepdim=True)
    centred = x - mean
    variance = (centred * centred).mean(over, keepdim=True)
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.value.flatten().to(running_mean.dtype), momentum)
        if running_var is not None:
            running_var.lerp_(variance.value.flatten().to(running_var.dtype) * (count / (count - 1)), momentum)
    return centred * RULES["rsqrt"].apply(variance + eps)


@rule("glu", "composition")
def glu(x: Jet, dim: int = -1) -> Jet:
    """The first half times the sigmoid of the second."""
    if x.shape[dim] % 2:
        raise ValueError(f"glu: expected an even length along dim {dim}, got a value of shape {tuple(x.shape)}")
    a, b = x.chunk(2, dim)
    return a * b.sigmoid()


@rule("logsumexp", "composition")
def logsumexp(x: Jet, dim: int | tuple[int, ...], keepdim: bool = False) -> Jet:
    """`ln Σ eˣ`, shifted by the largest entry."""
    x = autocast_as(torch.logsumexp, x)
    top = x.value.detach().amax(dim, keepdim=True)
    out = (x - top).exp().sum(dim, keepdim=True).log() + top
    return out if keepdim else out.squeeze(dim)


def _softmax_axis(x: Jet, dim: int | None) -> int:
    """PyTorch's deprecated choice where no axis is named."""
    if dim is not None:
        return dim
    warnings.warn("softmax without dim is deprecated in PyTorch; name the axis", UserWarning, stacklevel=4)
    return 0 if x.dim() in (0, 1, 3) else 1


def _converted(x: Jet, *dtypes: Any) -> Jet:
    """In the dtype that was asked for, which `torch.softmax` takes in the place of `_stacklevel`."""
    return next((x.to(dtype) for dtype in dtypes if isinstance(dtype, torch.dtype)), x)


@rule("log_softmax", "composition")
def log_softmax(x: Jet, dim: int | None = None, _stacklevel: Any = 3, dtype: torch.dtype | None = None) -> Jet:
    """`x − logsumexp x`."""
    dim, x = _softmax_axis(x, dim), autocast_as(torch.log_softmax, _converted(x, _stacklevel, dtype))
    return x - logsumexp(x, dim, keepdim=True)


@rule("softmax", "composition")
def softmax(x: Jet, dim: int | None = None, _stacklevel: Any = 3, dtype: torch.dtype | None = None) -> Jet:
    """`eˣ / Σ eˣ`."""
    dim, x = _softmax_axis(x, dim), autocast_as(torch.softmax, _converted(x, _stacklevel, dtype))
    e = (x - x.value.detach().amax(dim, keepdim=True)).exp()
    return e / e.sum(dim, keepdim=True)


@rule("softmin", "composition")
def softmin(x: Jet, dim: int | None = None, _stacklevel: Any = 3, dtype: torch.dtype | None = None) -> Jet:
    """Softmax of −x."""
    return softmax(-x, dim, _stacklevel, dtype)


@rule("var", "composition")
def var(
    x: Jet, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> Jet:
    """The variance along axes."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    dims = tuple(range(x.dim())) if dim is None else dim
    centred = x - x.mean(dims, keepdim=True)
    squares = (centred * centred).sum(dims, keepdim)
    count = x.numel() // max(squares.numel(), 1)
    return squares / max(count - (correction if correction is not None else float(unbiased)), 0)


@rule("std", "composition")
def std(
    x: Jet, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> Jet:
    """The standard deviation along axes."""
    return var(x, dim, unbiased, keepdim, correction=correction).sqrt()
