"""Less memory for a little time: activations worked out again in the backward pass instead of kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jetprop.jets.kernels import ElementwiseNode, apply_tower

__all__ = ["recomputed_activations"]


class _Recipe(NamedTuple):
    """How to make an activation anew: its place in the graph, which holds its input, and its shape."""

    node: Any
    shape: torch.Size


@contextmanager
def recomputed_activations() -> Iterator[None]:
    """Do not keep what elementwise functions return for the backward pass: f(z) is computed again from z.

    Of a layer f(Wx + b) backward needs z = Wx + b, for the slopes of f, and f(z), for the weight gradient of the next
    layer. Without this context both are kept, with it only z: half of what the hidden layers take, for one more
    elementwise kernel a layer. Values and gradients are the same, to the last bit, also those of higher order.

    What is saved while the context is open is concerned, so only the forward pass has to stand inside. Autograd knows
    one such hook at a time (`torch.autograd.graph.saved_tensors_hooks`): the innermost. Inside a function compiled by
    the caller's own `torch.compile`, its partitioner decides what is kept, whatever stands around it.

    Example:
        >>> import torch
        >>> from jetprop import Jet
        >>> from jetprop.jets import recomputed_activations
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        >>> with recomputed_activations():
        ...     loss = model(Jet.seed(torch.ones(4, 2), order=2)).rows.square().sum()
        >>> loss.backward()
    """
    with torch.autograd.graph.saved_tensors_hooks(_keep, _restore):
        yield


def _keep(tensor: Tensor) -> Tensor | _Recipe:
    whole = tensor if tensor._base is None else tensor._base
    unchanged = whole._version == 0 and tensor.is_contiguous() and tensor.numel() == whole.numel()
    if unchanged and isinstance(whole.grad_fn, ElementwiseNode):
        return _Recipe(whole.grad_fn, tensor.shape)
    return tensor


def _restore(kept: Tensor | _Recipe) -> Tensor:
    if isinstance(kept, Tensor):
        return kept
    (z,) = kept.node.saved_tensors
    return apply_tower(z, kept.node.tower, kept.node.basis, kept.node.name).view(kept.shape)
