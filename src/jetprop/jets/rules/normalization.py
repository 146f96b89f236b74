"""Normalisations and gates, composed of the other rules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from jetprop.jets.dispatch import RULES, rule
from jetprop.jets.jet import Jet

from jetprop.jets.rules.selection import where  # noqa: F401 - registers the selections first

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
    """
    weight, bias = _channelwise(weight, x.dim()), _channelwise(bias, x.dim())
    if not training:
        assert running_mean is not None and running_var is not None
        scale = _channelwise(torch.rsqrt(running_var + eps), x.dim())
        scale = scale if weight is None else scale * weight
        out = (x - _channelwise(running_mean, x.dim())) * scale
        return out if bias is None else out + bias
    over = tuple(d for d in range(x.dim()) if d != 1)
    mean = x.mean(over, keepdim=True)
    centred = x - mean
    variance = (centred * centred).mean(over, keepdim=True)
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.value.detach().flatten().to(running_mean.dtype), momentum)
        if running_var is not None:
            count = x.numel() // x.shape[1]
            unbiased = variance.value.detach().flatten() * (count / max(count - 1, 1))
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    out = centred * RULES["rsqrt"].apply(variance + eps)
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


@rule("glu", "composition")
def glu(x: Jet, dim: int = -1) -> Jet:
    """The first half times the sigmoid of the second."""
    a, b = x.chunk(2, dim)
    return a * b.sigmoid()


@rule("logsumexp", "composition")
def logsumexp(x: Jet, dim: int | tuple[int, ...], keepdim: bool = False) -> Jet:
    """ln Σ eˣ, shifted by the largest entry."""
    top = x.value.detach().amax(dim, keepdim=True)
    out = (x - top).exp().sum(dim, keepdim=True).log() + top
    return out if keepdim else out.squeeze(dim)


@rule("log_softmax", "composition", "_log_softmax")
def log_softmax(x: Jet, dim: int = -1, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Jet:
    """X − logsumexp x."""
    x = x if dtype is None else x.to(dtype)
    return x - logsumexp(x, dim, keepdim=True)


@rule("softmax", "composition", "_softmax")
def softmax(x: Jet, dim: int = -1, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Jet:
    """Eˣ / Σ eˣ."""
    x = x if dtype is None else x.to(dtype)
    e = (x - x.value.detach().amax(dim, keepdim=True)).exp()
    return e / e.sum(dim, keepdim=True)


@rule("softmin", "composition")
def softmin(x: Jet, dim: int = -1, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Jet:
    """Softmax of −x."""
    return softmax(-x, dim, dtype=dtype)


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
    return squares / (count - (correction if correction is not None else float(unbiased)))


@rule("std", "composition")
def std(
    x: Jet, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> Jet:
    """The standard deviation along axes."""
    return var(x, dim, unbiased, keepdim, correction=correction).sqrt()
