"""Distances and angles between vectors."""

from __future__ import annotations

from typing import Any

import torch

from jetprop.jets.dispatch import rule
from jetprop.jets.jet import Jet
from jetprop.jets.rules.operands import autocast_as, is_jet

__all__: list[str] = []


@rule("cosine_similarity", "composition")
def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Jet:
    """x·y / (‖x‖ ‖y‖) along an axis, no norm below `eps`."""
    x1, x2 = (autocast_as(lambda v, _: torch.cosine_similarity(v, v, 0), x) if is_jet(x) else x for x in (x1, x2))
    shape, dtype = torch.broadcast_shapes(x1.shape, x2.shape), torch.promote_types(x1.dtype, x2.dtype)
    x1, x2 = x1.to(dtype), x2.to(dtype)
    return (_direction(x1, shape, dim, eps) * _direction(x2, shape, dim, eps)).sum(dim)


def _direction(x: Any, shape: torch.Size, dim: int, eps: float) -> Any:
    x = x.expand(shape)
    return x / (x * x).sum(dim, keepdim=True).clamp_min(eps**2).sqrt()


@rule("pairwise_distance", "composition")
def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Jet:
    """‖x − y + ε‖ in the p-norm along the last axis."""
    return torch.linalg.vector_norm(x1 - x2 + eps, p, -1, keepdim)
