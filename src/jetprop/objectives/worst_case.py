"""The perturbation of a given size that raises a loss most, to first order."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from jetprop.objectives.penalties import check_not_negative

__all__ = ["check_p", "dual_norm", "worst_perturbation"]


def check_p(p: float) -> None:
    """Raise a ValueError unless p is in [1, ∞]."""
    if not p >= 1:  # NaN too
        raise ValueError(f"p is the exponent of a norm, a number in [1, ∞], got {p!r}")


def worst_perturbation(gradient: Tensor, p: float, sigma: float) -> Tensor:
    """The ε that maximises g·ε under ‖ε‖_p ≤ σ, for each sample.

        ε = σ sign(g) (|g| / ‖g‖_p*)^(1/(p−1)),   1/p + 1/p* = 1

    p = ∞: σ sign(g). p = 1: σ sign(g_i) at the first i with the largest `|g_i|`, zero elsewhere. sign(0) = 0, and g = 0
    gives ε = 0.

    Args:
        gradient: g, `[batch, …]`; the norms are over all values of a sample.
        p: in [1, ∞].
        sigma: σ ≥ 0.

    Returns:
        Like g, a constant.

    Raises:
        ValueError: p or sigma out of range.

    Source:
        lyu2015, (3), (8), (11), (12) and appendix A; (11) lacks the absolute value and the sign. Computed from
        `|g|/max`, which neither overflows nor divides by zero for p near 1.

    Example:
        >>> import math, torch
        >>> from jetprop.objectives import worst_perturbation
        >>> g = torch.tensor([[3.0, -4.0, 0.0]])
        >>> worst_perturbation(g, 2, 1.0), worst_perturbation(g, math.inf, 1.0), worst_perturbation(g, 1, 1.0)
        (tensor([[ 0.6000, -0.8000,  0.0000]]), tensor([[ 1., -1.,  0.]]), tensor([[ 0., -1.,  0.]]))
    """
    check_p(p)
    check_not_negative("sigma", sigma)
    g = gradient.detach().flatten(1)
    if p == 1:
        first = torch.zeros_like(g).scatter_(1, g.abs().argmax(1, keepdim=True), 1.0)
        return (sigma * first * g.sign()).reshape(gradient.shape)
    size = g.abs()
    size = size / size.amax(1, keepdim=True).clamp_min(torch.finfo(g.dtype).tiny)
    if not math.isinf(p):
        size = size ** (1 / (p - 1))
        size = size / torch.linalg.vector_norm(size, p, dim=1, keepdim=True).clamp_min(torch.finfo(g.dtype).tiny)
    else:
        size = torch.ones_like(size)
    return (sigma * size * g.sign()).reshape(gradient.shape)


def dual_norm(gradient: Tensor, p: float) -> Tensor:
    """‖g‖_p* of each sample, `[batch]`; p* is the dual of p.

    Args:
        gradient: g, `[batch, …]`.
        p: in [1, ∞].

    Example:
        >>> import math, torch
        >>> from jetprop.objectives import dual_norm
        >>> g = torch.tensor([[3.0, -4.0]])
        >>> dual_norm(g, 1), dual_norm(g, 2), dual_norm(g, math.inf)
        (tensor([4.]), tensor([5.]), tensor([7.]))
    """
    check_p(p)
    dual = math.inf if p == 1 else 1.0 if math.isinf(p) else p / (p - 1)
    g = gradient.flatten(1)
    # times and divided by the largest entry: p* may be so large that powers overflow
    largest = g.abs().amax(1, keepdim=True).clamp_min(torch.finfo(g.dtype).tiny)
    return largest.squeeze(1) * torch.linalg.vector_norm(g / largest, dual, dim=1)
