"""Derivatives along directions in plain PyTorch, nested by hand: what one would write without jets.

Both return rows in the order of `Basis.directional`: the value, then for each order the derivatives along each
direction. Attention takes its composed form here, for the fused one cannot be differentiated so often.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["double_backward", "nested_forward"]

Levels = tuple[Tensor, ...]


def nested_forward(model: nn.Module, x: Tensor, directions: Tensor, order: int) -> Tensor:
    """`torch.func.jvp` nested to the order, with `vmap` over the directions; differentiable in the parameters.

    Silently wrong through PyTorch's own layer norm and batch norm.

    Args:
        model: the network.
        x: `[batch, …]`.
        directions: `[D, batch, …]`.
        order: at least 1.

    Returns:
        `[1 + D order, batch, …]`.
    """

    def along(v: Tensor) -> Levels:
        def value(x: Tensor) -> tuple[Tensor, Levels]:
            y = model(x)
            return y, (y,)

        def raised(f: Callable[[Tensor], tuple[Tensor, Levels]]) -> Callable[[Tensor], tuple[Tensor, Levels]]:
            def derivative(x: Tensor) -> tuple[Tensor, Levels]:
                _, tangent, below = torch.func.jvp(f, (x,), (v,), has_aux=True)  # type: ignore[misc]
                return tangent, (*below, tangent)

            return derivative

        f = value
        for _ in range(order):
            f = raised(f)
        return f(x)[1]

    with sdpa_kernel(SDPBackend.MATH):
        levels = torch.func.vmap(along)(directions)
    return torch.cat([levels[0][:1], *levels[1:]])


def double_backward(model: nn.Module, x: Tensor, directions: Tensor, order: int) -> Tensor:
    """Vector-Jacobian products differentiated in their vector, nested to the order; as `nested_forward` otherwise.

    From the third level of differentiation on, the backward pass of the loss included, wrong through PyTorch's own
    layer norm and batch norm.
    """
    t = [x.new_zeros((), requires_grad=True) for _ in directions]
    with sdpa_kernel(SDPBackend.MATH):
        value = model(x + sum(s * v for s, v in zip(t, directions, strict=True)))
    levels = [_derivatives(value, t)]
    for _ in range(order - 1):
        levels.append([_derivatives(y, [s])[0] for y, s in zip(levels[-1], t, strict=True)])
    return torch.stack([value, *(y for level in levels for y in level)])


def _derivatives(y: Tensor, t: list[Tensor]) -> list[Tensor]:
    """∂y/∂t_i of numbers t_i."""
    v = torch.zeros_like(y, requires_grad=True)
    back = torch.autograd.grad(y, t, v, create_graph=True)
    return [torch.autograd.grad(b, v, create_graph=True)[0] for b in back]
