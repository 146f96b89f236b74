"""Whether somebody looks on: a compiler, or a transform of `torch.func`.

Both take the operations apart themselves: they want plain differentiable operations rather than functions with a
backward pass of their own, and tensors whose entries nobody asks for.
"""

from __future__ import annotations

import torch

__all__ = ["traced", "transformed"]


def transformed() -> bool:
    """Whether the code runs inside `torch.func.grad`, `vmap`, `jacrev` or their like."""
    return torch._C._are_functorch_transforms_active()


def traced() -> bool:
    """Whether the code runs inside such a transform, or is being compiled."""
    return torch.compiler.is_compiling() or transformed()
