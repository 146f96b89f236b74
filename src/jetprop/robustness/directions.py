"""Directions that move one output of the network and not the oracle's, or the other way round."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["invariance_direction", "sensitivity_direction"]


def invariance_direction(network: Tensor, oracle: Tensor) -> Tensor:
    """Along it the network's output stays and the oracle's changes.

        D_inv = ∇O − (∇N · ∇O) ∇N / ‖∇N‖²

    Each output and each sample is taken for itself. The result is *not* normalised: its norm says how much of ∇O the
    network misses, and is 0 for equal gradients. Where ∇N = 0 it is ∇O.

    Args:
        network: ∇N, `[batch, A, *image]`.
        oracle: ∇O, the same shape.

    Returns:
        `[batch, A, *image]`, length · intensity⁻¹.

    Raises:
        ValueError: the shapes differ, or are not `[batch, A, *image]`.

    Source:
        avrutskiy2023, (20).

    Example:
        >>> import torch
        >>> from jetprop.robustness import invariance_direction
        >>> invariance_direction(torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[3.0, 1.0]]]))
        tensor([[[0., 1.]]])
    """
    _check(network, oracle)
    return _without(oracle, network)


def sensitivity_direction(network: Tensor, oracle: Tensor) -> Tensor:
    """Along it the network's output changes and the oracle's stays.

        D_sen = ∇N − (∇N · ∇O) ∇O / ‖∇O‖²

    Each output and each sample is taken for itself; not normalised. Where ∇O = 0 it is ∇N.

    Args:
        network: ∇N, `[batch, A, *image]`.
        oracle: ∇O, the same shape.

    Returns:
        `[batch, A, *image]`, length · intensity⁻¹.

    Raises:
        ValueError: the shapes differ, or are not `[batch, A, *image]`.

    Source:
        avrutskiy2023, (21).

    Example:
        >>> import torch
        >>> from jetprop.robustness import sensitivity_direction
        >>> sensitivity_direction(torch.tensor([[[3.0, 1.0]]]), torch.tensor([[[2.0, 0.0]]]))
        tensor([[[0., 1.]]])
    """
    _check(network, oracle)
    return _without(network, oracle)


def _without(gradient: Tensor, other: Tensor) -> Tensor:
    """`gradient` less its projection onto `other`."""
    dtype = torch.promote_types(gradient.dtype, other.dtype)
    x, y = gradient.to(dtype).flatten(2), other.to(dtype).flatten(2)
    y = torch.nn.functional.normalize(y, dim=-1, eps=torch.finfo(dtype).tiny)
    return (x - (x * y).sum(-1, keepdim=True) * y).reshape(gradient.shape)


def _check(network: Tensor, oracle: Tensor) -> None:
    if network.shape != oracle.shape or network.dim() < 3:
        raise ValueError(
            f"gradients of network and oracle are both [batch, outputs, *image], got {list(network.shape)} and "
            f"{list(oracle.shape)}"
        )
